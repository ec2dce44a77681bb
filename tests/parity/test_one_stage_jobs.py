"""RetinaNet, FCOS and SSD of torchvision from a job to a prediction, in both layouts; damage fails."""

import copy
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import detectors
import numpy as np
import onnx
import pytest
import torch
from damaged import Damage, behind, scaled, verdicts_on, without_the_best
from exports import bundle_of
from numpy.typing import NDArray
from once import Once
from onnx import numpy_helper
from PIL import Image
from torchvision import models

import onnxproof
from onnxproof.errors import CheckpointError, ExportError, JobError
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.pipeline import Bundle
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.runtime.prediction import Prediction

ROOT = Path(__file__).parents[2]
PICTURES = sorted((ROOT / "examples" / "digits" / "images").glob("*.png"))
Array = NDArray[Any]

CONFIGS = {"retinanet": "retinanet", "fcos": "fcos", "ssdlite": "ssd", "ssd": "ssd", "ssd300": "ssd"}
"""Which of the configs is for which of the networks in detectors.py."""

NAMES = {"retinanet": 5, "fcos": 5, "ssdlite": 5, "ssd": 3, "ssd300": 3}
"""How many classes of each have a name; an SSD's background has none."""

SIDE = 160
"""Pixels of the square that predict makes of a picture, where the network does not fix the size."""

QUICK = (
    "validate.effort=quick",
    "validate.threads=1",
    "validate.images=../examples/digits/images/scene-0[12].png",
    "model.kwargs={}",
    "predict.resize=stretch",
)
RAW_SIZES = ('dims.height="128..160 step 32"', 'dims.width="128..160 step 32"')
LAYOUTS: Mapping[str, Sequence[str]] = {
    "none": ("dims.batch=1..2",),
    "nms": ("dims.batch=1", "dims.height=96..160", "dims.width=96..200"),
    "nms-batch": ("dims.batch=1..3",),
}
SLOW = pytest.mark.slow
REPEATED = (
    *(("retinanet", "none"), ("retinanet", "nms")),
    *(("fcos", "nms"), ("fcos", "nms-batch"), ("ssdlite", "nms-batch")),
)
"""What the other kinds show in these layouts, and these kinds in others."""
EVERY = [
    pytest.param(kind, layout, marks=pytest.mark.long if (kind, layout) in REPEATED else SLOW)
    for layout in LAYOUTS
    for kind in ("retinanet", "fcos", "ssdlite")
]


@dataclass(frozen=True)
class Exported:
    """A bundle, the job that it came from, and the network that its checkpoint was taken from."""

    job: Job
    bundle: Bundle
    network: Any


Export = Callable[[str, str], Exported]


def saved(network: Any, folder: Path, names: int) -> Path:
    """The network's weights and the names of its classes, as a user keeps them."""
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "best.pth")
    (folder / "my-classes.json").write_text(json.dumps([f"thing {number}" for number in range(names)]))
    return folder


def job_of(kind: str, layout: str, weights: Path, *more: str) -> Job:
    sizes: Sequence[str] = RAW_SIZES if layout != "nms" and CONFIGS[kind] != "ssd" else ()
    if (kind, layout) == ("ssd", "none"):
        sizes = ("dims.batch=1",)  # ssdlite has the batches of this layout
    overrides = (
        f"model.checkpoint={weights}",
        f"model.builder={detectors.__file__}:plain_{kind}",
        f"wrapper.decode={layout}",
        f"predict.size={SIDE}",
        *(*QUICK, *LAYOUTS[layout], *sizes, *more),
    )
    return load_job(ROOT / "configs" / f"torchvision-{CONFIGS[kind]}.toml", overrides)


@pytest.fixture(scope="module")
def trained(once: Once) -> Callable[[str], tuple[Any, Path]]:
    """A kind's calibrated network, not to be changed, and the folder of its checkpoint."""

    @functools.cache
    def make(kind: str) -> tuple[Any, Path]:
        network = getattr(detectors, kind)()
        folder = once(f"weights of {kind}", lambda folder: saved(network, folder / "weights", NAMES[kind]))
        return network, folder / "weights"

    return make


@pytest.fixture(scope="module")
def export(trained: Callable[[str], tuple[Any, Path]], once: Once) -> Export:
    """Exports a kind in a layout, once."""

    @functools.cache
    def make(kind: str, layout: str) -> Exported:
        network, weights = trained(kind)
        job = job_of(kind, layout, weights)
        return Exported(job, bundle_of(once, job), network)

    return make


def passed(bundle: Bundle, *, least: int) -> None:
    verdict = bundle.verdict
    assert verdict is not None
    assert verdict.status == "pass", [check for check in verdict.checks if check.status != "pass"]
    (facts,) = verdict.facts
    assert facts.decisions is not None
    assert facts.decisions.matched >= least
    assert not facts.decisions.defects
    assert not facts.held_back


@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_passes_with_hundreds_of_detections(export: Export, kind: str, layout: str) -> None:
    manifest = export(kind, layout).bundle.manifest
    passed(export(kind, layout).bundle, least=100)
    (picture,) = manifest.contract.inputs
    (batch, *_) = manifest.contract.dims
    if layout == "nms":
        assert (manifest.exporter, batch.max) == ("torchscript", 1)
        assert [spec.name for spec in manifest.contract.outputs] == ["boxes", "labels", "scores"]
    elif layout == "nms-batch":
        assert (manifest.exporter, batch.max, picture.shape[0]) == ("torch.export", 3, "batch")
        assert manifest.contract.outputs[-1].name == "pictures"
    else:
        assert (manifest.exporter, batch.max, picture.shape[0]) == ("torch.export", 2, "batch")
        names = ["logits", "deltas", "centerness"] if kind == "fcos" else ["logits", "deltas"]
        assert [spec.name for spec in manifest.contract.outputs] == names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("ssd", "none"),
        pytest.param("ssd", "nms", marks=pytest.mark.long),
        pytest.param("ssd", "nms-batch", marks=pytest.mark.long),
        *(pytest.param("ssd300", layout, marks=pytest.mark.long) for layout in LAYOUTS),
    ],
)
def test_ssd_of_vgg_passes(export: Export, kind: str, layout: str) -> None:
    exported = export(kind, layout)
    passed(exported.bundle, least=100)
    assert_as_torchvision(onnxproof.load(exported.bundle.path).predict(PICTURES[0]), exported)


def assert_as_torchvision(found: Prediction, exported: Exported) -> None:
    """What torchvision's own network finds in the picture that predict makes of the first one."""
    network = copy.deepcopy(exported.network)
    raw, fixed = exported.job.wrapper.decode != "nms", network.transform.fixed_size
    side = fixed[0] if raw and fixed is not None else SIDE
    if raw:
        network.transform.min_size, network.transform.max_size = (side,), side
    image = Image.open(PICTURES[0]).convert("RGB")
    pixels = np.asarray(image.resize((side, side)), np.float32) / 255
    with torch.no_grad():
        (wanted,) = network([torch.from_numpy(pixels).permute(2, 0, 1)])
    keep = wanted["scores"] > 0.5
    first_label = 0 if fixed is None else 1  # an SSD's first class is the background
    scale = np.array([image.width / side, image.height / side] * 2)
    assert len(found.decisions) == int(keep.sum()) >= 5
    np.testing.assert_allclose(found.decisions.boxes, wanted["boxes"][keep].numpy() * scale, atol=0.2)
    np.testing.assert_allclose(found.decisions.scores, wanted["scores"][keep].numpy(), atol=5e-4)
    assert found.decisions.labels.tolist() == (wanted["labels"][keep] - first_label).tolist()


@pytest.mark.parametrize(("kind", "layout"), EVERY)
def test_predict_gives_what_torchvision_gives(export: Export, kind: str, layout: str) -> None:
    exported = export(kind, layout)
    found = onnxproof.load(exported.bundle.path).predict(PICTURES[0])
    assert_as_torchvision(found, exported)
    entries = found.to_json()["boxes"]
    assert {entry["label"] for entry in entries} <= {f"thing {number}" for number in range(NAMES[kind])}
    assert all(0 <= entry["box"]["topX"] <= entry["box"]["bottomX"] <= 1 for entry in entries)


@pytest.mark.parametrize(
    ("kind", "key", "change"),
    [
        pytest.param(
            "fcos",
            "base_anchors",
            lambda levels: move(levels[0][0], 4),
            id="one-anchor-moved",
            marks=SLOW,
        ),
        pytest.param(
            "retinanet",
            "base_anchors",
            lambda levels: levels.reverse(),
            id="levels-swapped",
            marks=SLOW,
        ),
        pytest.param(
            "ssdlite", "delta_weights", lambda weights: move(weights, 1), id="delta-weights", marks=SLOW
        ),
    ],
)
def test_a_manifest_of_other_anchors_predicts_otherwise(
    export: Export, tmp_path: Path, kind: str, key: str, change: Callable[[Any], None]
) -> None:
    exported = export(kind, "none")
    model = onnx.load(exported.bundle.path / "model.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    document = json.loads(entry.value)
    change(document["postprocess"][key])
    entry.value = json.dumps(document)
    onnx.save(model, tmp_path / "model.onnx")
    found = onnxproof.load(tmp_path / "model.onnx").predict(PICTURES[0])
    with pytest.raises(AssertionError):
        assert_as_torchvision(found, exported)


def move(numbers: list[float], by: float) -> None:
    numbers[:] = [number + by for number in numbers]


def one_weight(name: str) -> Damage:
    """Scale the largest number of the first weight whose name contains a text by 1.001."""

    def damage(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if name in tensor.name)
        values = numpy_helper.to_array(tensor).copy()
        values.reshape(-1)[np.abs(values).argmax()] *= np.float32(1.001)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return damage


def constant_inputs(operator: str, position: int, value: float) -> Damage:
    """Another constant for every node of a kind, at one of its inputs."""

    def damage(model: onnx.ModelProto) -> None:
        nodes = [node for node in nodes_of(model.graph) if node.op_type == operator]
        assert nodes
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.float32), "planted"))
        for node in nodes:
            node.input[position] = "planted"

    return damage


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """A graph's nodes, those of its branches too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from nodes_of(attribute.g)


DAMAGES: Mapping[tuple[str, str], Mapping[str, tuple[Damage, set[str]]]] = {
    ("fcos", "none"): {
        "one-weight-of-a-head": (one_weight("cls_logits.weight"), {"logit"}),
        "centerness-moved": (
            behind("centerness", "Add", planted=np.array(1e-3, np.float32)),
            {"centerness_logit"},
        ),
        "deltas-scaled": (behind("deltas", "Mul", planted=np.array(1.001, np.float32)), {"box_delta"}),
    },
    ("ssdlite", "nms"): {
        "head-scaled": (scaled("classification_head", 1.001), {"score"}),
        "another-iou-threshold": (constant_inputs("NonMaxSuppression", 3, 0.7), set()),
        "another-score-threshold": (constant_inputs("Greater", 1, 0.8), set()),
        "the-best-row-is-dropped": (without_the_best, set()),
    },
}
"""What is done to a kind's file in a layout, and the fields that it is in."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layout", "damage"), [(*export, name) for export, damages in DAMAGES.items() for name in damages]
)
def test_damage_fails_for_its_reason(export: Export, once: Once, kind: str, layout: str, damage: str) -> None:
    """In the fields that it is in and in no other; where it is in none, in the decisions alone."""
    exported, damages = export(kind, layout), DAMAGES[kind, layout]
    changes = {name: change for name, (change, _) in damages.items()}
    verdict = verdicts_on(once, exported.job, exported.bundle, changes)[damage]
    fields = damages[damage][1]
    failed = [check for check in verdict.checks if check.status == "fail"]
    assert {check.field for check in failed if check.field is not None} == fields
    names = {check.name for check in failed}
    errors = {"function", "ratio_rms", "ratio_max", "ratio_constant"}
    assert names <= errors | {"decisions", "pipeline", "rows", "weights"}
    assert not fields or "function" in names
    assert fields or names <= {"decisions", "pipeline", "rows"}
    assert verdict.status == "fail"


@pytest.mark.parametrize(
    ("kind", "layout", "change", "message"),
    [
        pytest.param(
            "retinanet",
            "none",
            "dims.height=100..200",
            r'dims.height = "100..200": with wrapper.decode = "none" every size must be a multiple of 32; '
            r'write "128..192 step 32"',
            id="sizes-that-are-no-multiple",
        ),
        pytest.param(
            "fcos",
            "nms",
            "dims.batch=1..4",
            r'dims.batch = "1..4": with NMS in the graph .* at batch 1 only; leave dims.batch out, or, for '
            r'RetinaNet, FCOS and SSD, set wrapper.decode = "nms-batch" or "none"',
            id="a-batch-with-nms",
        ),
        pytest.param(
            "ssdlite",
            "none",
            "dims.width=300",
            r'dims.width = "300": this network takes only pictures of 320 px',
            id="an-ssd-of-another-size",
        ),
        pytest.param(
            "fcos",
            "none",
            "wrapper.decode=packed",
            r'decode = "packed" is not for the family torchvision_detector; there are: nms, nms-batch, none',
            id="another-familys-layout",
        ),
        pytest.param(
            "retinanet",
            "nms",
            "validate.iou_threshold=0.4",
            r"validate.iou_threshold, .* are for NMS that onnxproof adds.*\(box_nms_thresh, nms_thresh, ",
            id="a-threshold-that-is-in-the-graph",
        ),
        pytest.param(
            "retinanet",
            "none",
            "model.builder=torch.nn:Flatten",
            r"what torch.nn:Flatten makes is a Flatten; the family torchvision_detector knows .*RetinaNet",
            id="a-builder-of-something-else",
        ),
    ],
)
def test_jobs_that_ask_for_what_cannot_be_are_refused(
    trained: Callable[[str], tuple[Any, Path]], kind: str, layout: str, change: str, message: str
) -> None:
    with pytest.raises(JobError, match=message):
        build_model(job_of(kind, layout, trained(kind)[1], change))


@pytest.mark.first_case
@pytest.mark.parametrize("config", ["retinanet", "fcos", "ssd"])
def test_the_config_as_it_stands_takes_torchvisions_own_network(config: str, tmp_path: Path) -> None:
    """By its name and with the config's kwargs; a checkpoint with no classes beside it names them 0, 1, …"""
    file = ROOT / "configs" / f"torchvision-{config}.toml"
    variant, kwargs = load_job(file).model.variant, load_job(file).model.kwargs
    assert variant is not None
    network = models.get_model(variant, weights=None, weights_backbone=None, num_classes=3)
    torch.save(network.state_dict(), tmp_path / "best.pth")
    model, _ = build_model(load_job(file, [f"model.checkpoint={tmp_path / 'best.pth'}"]))
    post = model.contract.reading.to_json()
    assert (post["decode"], post["score_threshold"], post["first_label"]) == ("none", 0.5, 0)
    assert [post[key] for key in ("top_candidates", "iou_threshold", "max_detections")] == list(
        kwargs.values()
    )
    assert [entry.name for entry in model.contract.classes] == ["0", "1", "2"]
    assert model.contract.dims[0].max == 8


def test_torch_export_with_nms_is_refused(trained: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    job = job_of("ssdlite", "nms", trained("ssdlite")[1], "export.exporter=torch.export")
    message = r'torch.export does not follow NMS.*: set export.exporter = "torchscript", or "auto"'
    with pytest.raises(ExportError, match=message):
        onnxproof.export(job, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    weights = saved(torch.nn.Linear(2, 2), tmp_path / "weights", 5)
    message = r"best.pth has none of the last layers of torchvision's detectors .*: is model.family right\?"
    with pytest.raises(CheckpointError, match=message):
        build_model(job_of("retinanet", "none", weights))


def test_class_names_of_another_number_are_refused(tmp_path: Path) -> None:
    weights = saved(detectors.plain_ssdlite(), tmp_path / "weights", 4)
    message = r"has 6 classes with the background, the file of classes beside it names 4: pass the names"
    with pytest.raises(CheckpointError, match=message):
        build_model(job_of("ssdlite", "none", weights))
