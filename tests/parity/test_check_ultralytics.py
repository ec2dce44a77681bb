"""Ultralytics' own exports, judged by ``check`` against their checkpoint: healthy ones, and damaged ones."""

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image

import onnxproof
from onnxproof.validate.verdict import Verdict

pytestmark = pytest.mark.slow

SIDE = 96
QUICK = ("validate.effort=quick", "validate.threads=1")
OPEN = ("dims.batch=1..2", "dims.height=64..96 step 32", "dims.width=96")
"""What is tried of a file with dynamic axes. Its NMS is written out for a batch of two."""

SMALL: dict[str, Any] = {"scales": {"n": [0.5, 0.125, 256]}}
"""Half as wide as the smallest YOLO11 and YOLO26."""

KINDS = {
    "yolo11n-seg": "segment",
    "yolo11n-pose": "pose",
    "yolo26n-seg": "segment",
    "yolo26n-pose": "pose",
    "yolo26n-obb": "obb",
    "yolo11n-obb": "obb",
}
"""What a network finds if that is not boxes."""

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("yolo11n", {}),
    "half": ("yolo11n", {"half": True}),
    "nms": ("yolo11n", {"nms": True, "conf": 0.2, "iou": 0.6, "max_det": 50}),
    "half-nms": ("yolo11n", {"half": True, "nms": True, "conf": 0.2, "iou": 0.6, "max_det": 50}),
    "dynamic-nms": ("yolo11n", {"dynamic": True, "batch": 2, "nms": True, "iou": 0.6, "max_det": 50}),
    "end-to-end": ("yolo26n", {"nms": False}),
    "end-to-end-masks": ("yolo26n-seg", {"nms": False}),
    "end-to-end-turned": ("yolo26n-obb", {"nms": False}),
    "end-to-end-keypoints": ("yolo26n-pose", {"nms": False}),
    "nms-masks": ("yolo11n-seg", {"nms": True, "max_det": 50}),
    "nms-keypoints": ("yolo11n-pose", {"nms": True, "max_det": 50}),
    "nms-turned": ("yolo11n-obb", {"nms": True, "iou": 0.6, "max_det": 50}),
}
"""How a file is exported: the network, and the arguments of ``YOLO.export``."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The checkpoints, and each form of their files. What importing Ultralytics replaces is put back."""
    place = tmp_path_factory.mktemp("theirs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setenv("YOLO_AUTOINSTALL", "false")
        for owner, name in ((torch, "save"), (Image, "open")):
            patch.setattr(owner, name, getattr(owner, name))
        with np.printoptions():
            pytest.importorskip("ultralytics.nn.tasks")
        import yolos
        from ultralytics.models import YOLO

        for variant in dict.fromkeys(variant for variant, _ in FORMS.values()):
            (place / variant).mkdir()
            kind = KINDS.get(variant, "detect")
            network: Any = yolos.network_of(kind, variant, **SMALL)
            network.args, network.task = {"imgsz": SIDE}, kind
            yolos.save_best(place / variant, network, kind, SIDE)
        for form, (variant, asked) in FORMS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made: Any = YOLO(str(place / variant / "best.pt"))
                file = made.export(
                    format="onnx", imgsz=SIDE, simplify=False, opset=17, verbose=False, **asked
                )
            shutil.move(file, place / f"{form}.onnx")
        yield place


def checked(folder: Path, form: str, file: Path | None = None, *, pictures: bool = True) -> Verdict:
    variant, _ = FORMS[form]
    scene = Path(__file__).parents[2] / "examples/digits/images/scene-01.png"
    return onnxproof.check(
        file or folder / f"{form}.onnx",
        against=folder / variant / "best.pt",
        images=str(scene) if pictures else None,
        set=(*QUICK, *OPEN) if form.startswith("dynamic") else QUICK,
    )


def failed(verdict: Verdict) -> set[tuple[str, str | None]]:
    return {(check.name, check.field) for check in verdict.checks if check.status in ("fail", "error")}


@pytest.mark.parametrize(
    ("form", "said"),
    [
        pytest.param("half", "the file's weights are rounded to float16", id="half"),
        pytest.param(
            "nms",
            "chooses its rows with iou_threshold 0.6, score_threshold 0.2, max_detections 50",
            id="nms",
        ),
        pytest.param(
            "half-nms",
            "iou_threshold 0.6, score_threshold 0.2, max_detections 50",
            id="half-nms",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "dynamic-nms", "iou_threshold 0.6, score_threshold 0.25, max_detections 50", id="dynamic-nms"
        ),
        pytest.param("end-to-end", 'are those of wrapper.decode = "rows"', id="end-to-end"),
        pytest.param("end-to-end-masks", 'are those of wrapper.decode = "rows"', id="end-to-end-masks"),
        pytest.param("end-to-end-turned", 'are those of wrapper.decode = "rows"', id="end-to-end-turned"),
        pytest.param(
            "end-to-end-keypoints", "rows, keypoints into its output output0", id="end-to-end-keypoints"
        ),
        pytest.param("nms-masks", "boxes, labels, scores, counts, coefficients into the rows", id="masks"),
        pytest.param("nms-keypoints", "boxes, labels, scores, counts, keypoints into the rows", id="points"),
        pytest.param(
            "nms-turned",
            "chooses its rows with iou_threshold 0.6, score_threshold 0.25, max_detections 50",
            id="nms-turned",
        ),
    ],
)
def test_a_healthy_file_passes(form: str, said: str, folder: Path) -> None:
    verdict = checked(folder, form)
    assert verdict.passed, [check for check in verdict.checks if check.status in ("fail", "error")]
    assert any(check.name == "function" and check.status == "pass" for check in verdict.checks)
    assert verdict.to_json()["decisions"]["matched"] > 0
    assert said in "; ".join(verdict.notes)
    sight = verdict.pipeline
    assert sight is not None
    assert (sight.own, sight.differences) == ("YOLO.predict", 0), sight.causes
    assert sight.matched > 0
    assert any("does not say how its host fits pictures" in note for note in verdict.notes)


def test_what_the_host_does_otherwise_is_traced(folder: Path) -> None:
    scene = str(Path(__file__).parents[2] / "examples/digits/images/scene-02.png")
    host = (*QUICK, "predict.filter=pillow-bilinear")
    verdict = onnxproof.check(
        folder / "plain.onnx", against=folder / "yolo11n" / "best.pt", images=scene, set=host
    )
    assert failed(verdict) == {("pipeline", None)}
    assert verdict.pipeline is not None
    assert {cause.stages for cause in verdict.pipeline.causes} == {("preprocessing",)}
    assert "resized with Pillow bilinear; in YOLO.predict" in verdict.pipeline.causes[0].why


Damage = Callable[[onnx.ModelProto], None]


def swapped_classes(model: onnx.ModelProto) -> None:
    """The scores of the first two classes change places."""
    _behind(model, lambda name: helper.make_node("Gather", [name, "order"], ["output0"], axis=1))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1, 2, 3, 5, 4, 6]), "order"))


def swapped_labels(model: onnx.ModelProto) -> None:
    """The same in rows: each class becomes the next one, the last the first."""

    def added(name: str) -> onnx.NodeProto:
        return helper.make_node("Mod", [f"{name}_next", "modulus"], ["output0"], fmod=1)

    _behind(model, added)
    (last,) = [node for node in model.graph.node if node.output[0] == "output0"]
    inner = last.input[0].removesuffix("_next")
    model.graph.node.insert(
        len(model.graph.node) - 1, helper.make_node("Add", [inner, "next"], [f"{inner}_next"])
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 1], np.float32), "next"),
            numpy_helper.from_array(np.array([1e4] * 5 + [3], np.float32), "modulus"),
        ]
    )


def reversed_channels(model: onnx.ModelProto) -> None:
    """The network gets blue where red was."""
    _before(model, [helper.make_node("Gather", ["images", "reverse"], ["seen"], axis=1)])
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "reverse"))


def unscaled(model: onnx.ModelProto) -> None:
    """The network gets 0..255 where it was trained with 0..1."""
    _before(model, [helper.make_node("Mul", ["images", "white"], ["seen"])])
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "white"))


def scaled_weights(model: onnx.ModelProto) -> None:
    """Each weight of one convolution is a hundredth too large."""
    (name,) = [one.name for one in model.graph.initializer if one.name.endswith("model.0.conv.weight")]
    held = next(one for one in model.graph.initializer if one.name == name)
    values = numpy_helper.to_array(held)
    held.CopyFrom(numpy_helper.from_array((values * 1.01).astype(values.dtype), name))


def scaled_prototypes(model: onnx.ModelProto) -> None:
    """The prototypes of all masks are a hundredth too large."""
    _behind(model, lambda name: helper.make_node("Mul", [name, "larger"], ["output1"]), "output1")
    model.graph.initializer.append(numpy_helper.from_array(np.array(1.01, np.float32), "larger"))


def turned_boxes(model: onnx.ModelProto) -> None:
    """Each box is turned by half a degree more."""
    _behind(model, lambda name: helper.make_node("Add", [name, "turn"], ["output0"]))
    turn = np.array([0, 0, 0, 0, 0, 0, 0.01], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(turn, "turn"))


def moved_points(model: onnx.ModelProto) -> None:
    """The first point of each object is half a pixel further right."""
    _behind(model, lambda name: helper.make_node("Add", [name, "right"], ["output0"]))
    right = np.zeros(model.graph.output[0].type.tensor_type.shape.dim[2].dim_value, np.float32)
    right[6] = 0.5
    model.graph.initializer.append(numpy_helper.from_array(right, "right"))


def without_a_class(model: onnx.ModelProto) -> None:
    """The file returns the scores of two of three classes."""
    _behind(model, lambda name: helper.make_node("Slice", [name, "from", "to", "axis"], ["output0"]))
    for name, number in (("from", 0), ("to", 6), ("axis", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6


def _before(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    for node in model.graph.node:
        node.input[:] = ["seen" if name == "images" else name for name in node.input]
    rest = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def _behind(model: onnx.ModelProto, make: Callable[[str], onnx.NodeProto], output: str = "output0") -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["healthy" if name == output else name for name in names]
    model.graph.node.append(make("healthy"))


@pytest.mark.parametrize(
    ("form", "damage", "link"),
    [
        pytest.param("plain", swapped_classes, ("function", "score"), id="classes-swapped"),
        pytest.param("plain", reversed_channels, ("function", "box_xyxy"), id="bgr-for-rgb"),
        pytest.param("plain", scaled_weights, ("function", "box_xyxy"), id="weights-scaled"),
        pytest.param("plain", unscaled, None, id="0-to-255-for-0-to-1"),
        pytest.param("plain", without_a_class, ("interface", None), id="a-class-less"),
        pytest.param(
            "half",
            scaled_weights,
            ("function", "box_xyxy"),
            id="half-weights-scaled",
            marks=pytest.mark.long,
        ),
        pytest.param("nms", scaled_weights, None, id="nms-weights-scaled"),
        pytest.param("half-nms", scaled_weights, None, id="half-nms-weights-scaled", marks=pytest.mark.long),
        pytest.param("end-to-end", swapped_labels, None, id="end-to-end-classes-swapped"),
        pytest.param("nms-masks", scaled_prototypes, ("function", "prototype"), id="masks-scaled"),
        pytest.param("nms-keypoints", moved_points, ("function", "point_xy"), id="points-moved"),
        pytest.param("nms-turned", turned_boxes, ("function", "angle"), id="boxes-turned"),
        pytest.param(
            "end-to-end-keypoints", moved_points, ("function", "point_xy"), id="end-to-end-points-moved"
        ),
    ],
)
def test_a_damaged_file_fails(
    form: str, damage: Damage, link: tuple[str, str] | None, folder: Path, tmp_path: Path
) -> None:
    model = onnx.load(folder / f"{form}.onnx")
    damage(model)
    file = tmp_path / "damaged.onnx"
    onnx.save(model, file)
    verdict = checked(folder, form, file, pictures=False)
    assert verdict.status == "fail"
    assert link in failed(verdict) if link else any(name == "function" for name, _ in failed(verdict))
