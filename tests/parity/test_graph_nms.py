"""NMS in the graph: each picture of a batch has the detections that the runtime's NumPy would choose."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from once import Once
from onnx import numpy_helper
from torch import Tensor, nn

import onnxproof
from onnxproof.job import Job
from onnxproof.runtime.readings.boxes import Cuts, decide, from_class_scores
from onnxproof.runtime.readings.oriented import decide_oriented
from onnxproof.steps.planning import plan_of
from onnxproof.validate.verdict import Verdict
from onnxproof.validate.verify import validate_files
from onnxproof.wrappers.wrap import wrap_for_job

CLASSES = 3
CUTS = Cuts(0.3, 1 / 3)
SLOW = pytest.mark.slow


class Given(nn.Module):
    """Boxes and scores as they are given."""

    def forward(self, places: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        return places + 0, marks + 0


class Cells(nn.Module):
    """A detector of one layer: a box for each cell of 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4 + CLASSES, 8, stride=8)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps = self.layer(image)
        rows = maps.flatten(2).transpose(1, 2)
        height, width = maps.shape[-2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres = 8 * torch.stack((x, y), dim=-1).reshape(-1, 2) + rows[..., :2]
        halves = 6 + 8 * torch.sigmoid(rows[..., 2:4])
        boxes = torch.cat((centres - halves, centres + halves), dim=-1)
        return {"boxes": boxes, "scores": torch.sigmoid(3 * rows[..., 4:])}


def session(bundle: onnxproof.Bundle) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(bundle.path / "model.onnx")


def crowd(random: np.random.Generator, batch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of small whole numbers: many are equal, and many lie at the threshold exactly."""
    boxes = random.integers(0, 7, (batch, count, 4)).astype(np.float32)
    upright = random.random((batch, count)) < 0.9
    boxes[upright, 2:] += boxes[upright, :2]
    scores = (random.integers(0, 11, (batch, count, CLASSES)) / 10).astype(np.float32)
    odd = random.random((batch, count)) < 0.03
    boxes[odd, random.integers(0, 4)] = np.nan
    return boxes, scores


@pytest.mark.parametrize(
    ("cuts", "exporter"),
    [
        pytest.param(CUTS, "torch.export", id="by-class", marks=SLOW),
        pytest.param(Cuts(0.3, 1 / 3, class_agnostic=True), "torch.export", id="agnostic", marks=SLOW),
        pytest.param(Cuts(0.3, 0.5, max_detections=4), "torch.export", id="at-most-four"),
        pytest.param(Cuts(0.3, 0.5, max_detections=4), "torchscript", id="torchscript", marks=SLOW),
    ],
)
def test_the_graph_decides_as_numpy(cuts: Cuts, exporter: str, tmp_path: Path) -> None:
    most = () if cuts.max_detections is None else (f"validate.max_detections={cuts.max_detections}",)
    bundle = onnxproof.export_module(
        Given(),
        inputs={
            "places": "float32[batch, n, 4] in 0..8",
            "marks": f"float32[batch, n, {CLASSES}] in 0..1",
        },
        dims={"batch": "1..8", "n": "1..200"},
        out=tmp_path / "given",
        task="detection",
        set=(
            "wrapper.decode=nms",
            f"export.exporter={exporter}",
            f"validate.score_threshold={cuts.score_threshold}",
            f"validate.iou_threshold={cuts.iou_threshold!r}",
            f"validate.class_agnostic={'true' if cuts.class_agnostic else 'false'}",
            *most,
        ),
        validate=False,
    )
    ran, random = session(bundle), np.random.default_rng(0)
    seen = 0
    for count in (1, 2, 30, 200):
        for batch in (1, 2, 5, 8):
            boxes, scores = crowd(random, batch, count)
            rows = ran.run(None, {"places": boxes, "marks": scores})
            for picture, candidates in enumerate(from_class_scores(boxes, scores)):
                wanted = decide(candidates, cuts)
                found, labels, ranked, _ = (array[rows[3] == picture] for array in rows)
                np.testing.assert_array_equal(found, wanted.boxes)
                np.testing.assert_array_equal(labels, wanted.labels)
                np.testing.assert_array_equal(ranked, wanted.scores)
                seen += len(wanted)
            assert (np.diff(rows[3]) >= 0).all()
    assert seen > 100
    nothing = ran.run(None, {"places": boxes, "marks": np.zeros_like(scores)})
    assert [len(array) for array in nothing] == [0, 0, 0, 0]


def turned_crowd(random: np.random.Generator, batch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Oriented boxes of which many overlap, some have no number, and many score alike."""
    low, high = np.array([0, 0, 4, 4, -0.8]), np.array([60, 60, 34, 34, 2.4])
    boxes = random.uniform(low, high, (batch, count, 5)).astype(np.float32)
    boxes[random.random((batch, count)) < 0.03, random.integers(0, 5)] = np.nan
    return boxes, (random.integers(0, 11, (batch, count, CLASSES)) / 10).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cuts", "exporter"),
    [
        pytest.param(Cuts(0.3, 0.4), "torch.export", id="listed"),
        pytest.param(Cuts(0.3, 0.4, max_detections=40), "torch.export", id="by-class"),
        pytest.param(Cuts(0.3, 0.4, class_agnostic=True, max_detections=9), "torchscript", id="agnostic"),
    ],
)
def test_the_graph_decides_on_oriented_boxes_as_numpy(cuts: Cuts, exporter: str, tmp_path: Path) -> None:
    """Padded if there is a largest number of rows."""
    most = cuts.max_detections
    padded = () if most is None else ("wrapper.decode=nms-padded", f"validate.max_detections={most}")
    bundle = onnxproof.export_module(
        Given(),
        inputs={
            "places": "float32[batch, n, 5] in 0..8",
            "marks": f"float32[batch, n, {CLASSES}] in 0..1",
        },
        dims={"batch": "1..8", "n": "1..200"},
        out=tmp_path / "given",
        task="oriented_detection",
        set=(
            *(padded or ("wrapper.decode=nms",)),
            f"export.exporter={exporter}",
            f"validate.score_threshold={cuts.score_threshold}",
            f"validate.iou_threshold={cuts.iou_threshold!r}",
            f"validate.class_agnostic={'true' if cuts.class_agnostic else 'false'}",
        ),
        validate=False,
    )
    ran, random = session(bundle), np.random.default_rng(0)
    seen = 0
    for count in (1, 2, 30, 200):
        for batch in (1, 2, 5, 8):
            places, marks = turned_crowd(random, batch, count)
            rows = ran.run(None, {"places": places, "marks": marks})
            assert not padded or rows[0].shape == (batch, most, 5)
            for picture, candidates in enumerate(from_class_scores(places, marks)):
                wanted = decide_oriented(candidates, cuts)
                own = (picture, slice(rows[3][picture])) if padded else rows[3] == picture
                found, labels, ranked = (array[own] for array in rows[:3])
                np.testing.assert_array_equal(found, wanted.boxes)
                np.testing.assert_array_equal(labels, wanted.labels)
                np.testing.assert_array_equal(ranked, wanted.scores)
                seen += len(wanted)
    assert seen > 200
    nothing = ran.run(None, {"places": places, "marks": np.zeros_like(marks)})
    assert not nothing[3].any()
    assert padded or [len(array) for array in nothing] == [0, 0, 0, 0]


JOB: dict[str, Any] = {
    "name": "cells",
    "model": {"family": "module", "task": "detection"},
    "inputs": {"image": "float32[batch, 3, height, width] in 0..1"},
    "dims": {"batch": "1..4", "height": "32..64 step 8", "width": "32..64 step 8"},
    "wrapper": {"decode": "nms"},
    "validate": {"effort": "quick", "threads": 1},
    "predict": {"input": "image"},
}


@pytest.fixture(scope="module")
def healthy(once: Once) -> onnx.ModelProto:
    """The graph of a detector, captured at another batch than those that it is tried at."""

    def make(folder: Path) -> None:
        job = Job.from_document(JOB, folder=Path(), source="the test")
        onnxproof.export_module(
            Cells(),
            inputs={name: str(spec) for name, spec in job.inputs.items()},
            dims={name: str(dim) for name, dim in job.dims.items()},
            out=folder / "bundle",
            task="detection",
            picture="image",
            set=("wrapper.decode=nms",),
            validate=False,
        )

    return onnx.load(once("cells-with-nms", make) / "bundle" / "model.onnx")


def judged(proto: onnx.ModelProto, folder: Path) -> Verdict:
    job = Job.from_document(JOB, folder=Path(), source="the test")
    model = wrap_for_job(job, Cells())
    onnx.save(proto, folder / "model.onnx")
    return validate_files(model, (folder / "model.onnx",), plan_of(job, model), opset=20)[0]


def nms_of(graph: onnx.GraphProto) -> onnx.NodeProto:
    node: onnx.NodeProto = next(node for node in graph.node if node.op_type == "NonMaxSuppression")
    return node


def with_iou(threshold: float, graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.array([threshold], np.float32), "overlap"))
    nms_of(graph).input[3] = "overlap"


def with_score(threshold: float, graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.array([threshold], np.float32), "least"))
    nms_of(graph).input[4] = "least"


def with_centres(graph: onnx.GraphProto) -> None:
    node = nms_of(graph)
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("center_point_box", 1))


def with_the_first_picture_alone(graph: onnx.GraphProto) -> None:
    """The index of the batch is ignored: each row is taken from the first picture."""
    node = nms_of(graph)
    name = node.output[0]
    at = next(at for at, one in enumerate(graph.node) if one is node)
    graph.initializer.append(numpy_helper.from_array(np.array([[0, 1, 1]]), "alone"))
    node.output[0] = "told"
    graph.node.insert(at + 1, onnx.helper.make_node("Mul", ["told", "alone"], [name]))


def with_the_last_first(graph: onnx.GraphProto) -> None:
    """All rows in the opposite order: the last picture's first, the worst score first."""
    for name, values in (("last", [-1]), ("before", [-(2**31)]), ("axis", [0]), ("back", [-1])):
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
    for output in graph.output:
        writer = next(node for node in graph.node if output.name in node.output)
        writer.output[list(writer.output).index(output.name)] = f"{output.name}_in_order"
        for node in graph.node:
            node.input[:] = [f"{name}_in_order" if name == output.name else name for name in node.input]
        told = [f"{output.name}_in_order", "last", "before", "axis", "back"]
        graph.node.append(onnx.helper.make_node("Slice", told, [output.name]))


@pytest.mark.slow
def test_padded_rows_are_the_same(tmp_path: Path) -> None:
    """With room for fewer than there are: the best are kept, and the verdict compares those."""
    bundles = [
        onnxproof.export_module(
            Cells(),
            inputs={"image": "float32[batch, 3, height, width] in 0..1"},
            dims={"batch": "1..3", "height": "32..48 step 8", "width": "32..48 step 8"},
            out=tmp_path / decode,
            task="detection",
            picture="image",
            set=(
                f"wrapper.decode={decode}",
                "validate.max_detections=6",
                "validate.effort=quick",
                "validate.threads=1",
            ),
            validate=decode == "nms-padded",
        )
        for decode in ("nms", "nms-padded")
    ]
    verdict = bundles[1].verdict
    assert verdict is not None
    assert verdict.status == "pass", [check for check in verdict.checks if check.status != "pass"]
    pictures = np.random.default_rng(0).random((3, 3, 48, 40)).astype(np.float32)
    listed, padded = (session(bundle).run(None, {"image": pictures}) for bundle in bundles)
    boxes, labels, scores, counts = padded
    assert (boxes.shape, counts.max()) == ((3, 6, 4), 6)
    for picture, count in enumerate(counts):
        own = listed[3] == picture
        for rows, wanted in zip((boxes, labels, scores), listed, strict=False):
            np.testing.assert_array_equal(rows[picture, :count], wanted[own])


def test_a_detector_with_nms_passes_at_every_batch(healthy: onnx.ModelProto, tmp_path: Path) -> None:
    verdict = judged(healthy, tmp_path)
    assert verdict.status == "pass", [check for check in verdict.checks if check.status != "pass"]
    assert verdict.to_json()["decisions"]["matched"] > 100


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(partial(with_iou, 0.6), {"decisions"}, id="another-iou-threshold"),
        pytest.param(with_the_first_picture_alone, {"decisions"}, id="one-picture-for-all"),
        pytest.param(with_centres, {"decisions"}, id="boxes-taken-for-centres", marks=SLOW),
        pytest.param(partial(with_score, 0.4), {"rows"}, id="a-lower-score-threshold"),
        pytest.param(with_the_last_first, {"order"}, id="the-last-row-first"),
    ],
)
def test_a_wrong_nms_fails(
    damage: Callable[[onnx.GraphProto], None], told: set[str], healthy: onnx.ModelProto, tmp_path: Path
) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(healthy)
    damage(proto.graph)
    verdict = judged(proto, tmp_path)
    assert verdict.status == "fail"
    assert told <= {check.name for check in verdict.checks if check.status == "fail"}


def test_the_order_of_a_file_from_elsewhere_is_only_noted(healthy: onnx.ModelProto, tmp_path: Path) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(healthy)
    del proto.metadata_props[:]
    with_the_last_first(proto.graph)
    onnx.save(proto, tmp_path / "theirs.onnx")
    verdict = onnxproof.check_module(
        Cells(),
        tmp_path / "theirs.onnx",
        inputs=JOB["inputs"],
        dims=JOB["dims"],
        task="detection",
        picture="image",
        set=("wrapper.decode=nms", "validate.effort=quick", "validate.threads=1"),
    )
    assert verdict.status == "pass", [check for check in verdict.checks if check.status != "pass"]
    assert "order" not in {check.name for check in verdict.checks}
    assert any("not in the order of their scores" in note for note in verdict.notes)
