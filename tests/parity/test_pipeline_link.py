"""The link ``pipeline``: healthy files pass, and each planted difference is traced to its stage."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from onnxproof.contract import Contract, Preprocess
from onnxproof.export.model import build_model
from onnxproof.job import Job, load_job
from onnxproof.runtime.readings.boxes import Detections
from onnxproof.tensors import Dim
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.validate.sight.facts import Sight
from onnxproof.validate.sight.link import MOST_SEEN, see
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.own.pipeline import OwnPipeline, Pixels, Staged

PICTURES = sorted((Path(__file__).parents[2] / "examples" / "digits" / "images").glob("*.png"))[:6]
BOUNDS = {"box": 1e-3, "score": 5e-6}
"""About what the demo's verdict measures: pixels of the input, and probabilities."""


@pytest.fixture(scope="module")
def job(demo_job: Path) -> Job:
    return load_job(demo_job)


@pytest.fixture(scope="module")
def model(job: Job) -> WrappedModel:
    return build_model(job)[0]


@pytest.fixture(scope="module")
def look(model: WrappedModel, demo_bundle: Path) -> Callable[..., Sight]:
    """Compares the demo's file, read by a contract, with a pipeline."""
    candidate = OrtLeg(demo_bundle / "model.onnx", ("CPUExecutionProvider",), 1)
    reference = TorchLeg(model, 1)

    def compare(contract: Contract, own: OwnPipeline, *, sound: bool = True) -> Sight:
        return see(contract, candidate, reference, own, PICTURES, BOUNDS, sound=sound)

    return compare


@pytest.fixture(scope="module")
def tutorial(model: WrappedModel) -> OwnPipeline:
    assert not isinstance(model.own, str)
    return model.own()


class Letterboxing(Staged):
    """A framework that letterboxes with OpenCV as Ultralytics does, and then decides as the tutorial does."""

    name = "the framework"

    def __init__(self, spec: Preprocess, tutorial: Any) -> None:
        super().__init__("detection", spec)
        self.tutorial = tutorial
        self.settings: Mapping[str, float] = tutorial.settings

    def lay(self, picture: Image.Image) -> Pixels:
        size, pixels = self.spec.size, np.asarray(picture)
        ratio = size / max(picture.size)
        inner = cv2.resize(pixels, (round(picture.width * ratio), round(picture.height * ratio)))
        laid = np.full((size, size, 3), 114, np.uint8)
        top, left = ((size - side) // 2 for side in inner.shape[:2])
        laid[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return laid

    def decide(self, laid: Pixels) -> Detections:
        decided: Detections = self.tutorial.decide(laid)
        return decided


def with_spec(contract: Contract, **change: Any) -> Contract:
    assert contract.preprocess is not None
    return replace(contract, preprocess=replace(contract.preprocess, **change))


LETTERBOX = {"resize": "letterbox", "size": 320, "filter": "opencv-linear", "pad_to": "size"}


@pytest.fixture(scope="module")
def letterboxed(model: WrappedModel) -> Contract:
    return with_spec(model.contract, **LETTERBOX)


@pytest.fixture(scope="module")
def framework(letterboxed: Contract, tutorial: OwnPipeline) -> OwnPipeline:
    assert letterboxed.preprocess is not None
    return Letterboxing(letterboxed.preprocess, tutorial)


@pytest.mark.slow
def test_the_demo_ends_in_the_tutorials_decisions(demo_bundle: Path) -> None:
    verdict = Verdict.from_json(json.loads((demo_bundle / "parity.json").read_text(encoding="utf-8")))
    link = {link.link: link for link in verdict.links}["pipeline"]
    assert link.status == "pass", link
    assert verdict.pipeline is not None
    assert (verdict.pipeline.differences, verdict.pipeline.ties) == (0, 0)
    assert verdict.pipeline.matched == verdict.pipeline.decisions > 20
    assert len(verdict.pipeline.seen) == MOST_SEEN
    for picture in verdict.pipeline.seen:
        assert [box.label for box in picture.own] == [box.label for box in picture.found]
        assert {box.kind for box in (*picture.own, *picture.found)} <= {""}
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_the_tutorials_decide_by_the_thresholds_of_nms_in_the_graph(demo_job: Path) -> None:
    plain, inside = (
        build_model(load_job(demo_job, [f"wrapper.decode={decode}"]))[0] for decode in ("packed", "nms")
    )
    assert not isinstance(plain.own, str)
    assert not isinstance(inside.own, str)
    picture = Image.open(PICTURES[0]).convert("RGB")
    found, wanted = (own.decide(own.lay(picture)) for own in (inside.own(), plain.own()))
    assert len(wanted.boxes) > 1
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.scores, wanted.scores)


def test_a_framework_of_another_kind_is_met_to_the_pixel(
    look: Callable[..., Sight], letterboxed: Contract, framework: OwnPipeline
) -> None:
    sight = look(letterboxed, framework)
    assert sight.causes == ()
    assert sight.matched == sight.decisions > 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(
            {"filter": "pillow-bilinear"},
            ("resized with Pillow bilinear; in the framework it is resized with OpenCV linear",),
            id="another-filter",
        ),
        pytest.param({"channels": "bgr"}, ("given as BGR", "given as RGB"), id="swapped-channels"),
        pytest.param(
            {"place": "top-left"}, ("placed at the top-left", "at the centre"), id="padding-elsewhere"
        ),
        pytest.param({"padding": (0, 0, 0)}, ("padded with 0", "padded with 114"), id="another-padding"),
        pytest.param(
            {"filter": "pillow-bicubic", "place": "top-left"},
            (
                "resized with Pillow bicubic, placed at the top-left",
                "it is resized with OpenCV linear, placed",
            ),
            id="two-at-once",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_preprocessing_is_blamed_by_its_key(
    look: Callable[..., Sight],
    letterboxed: Contract,
    framework: OwnPipeline,
    change: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    sight = look(with_spec(letterboxed, **change), framework)
    assert sight.differences > 0
    assert {cause.stages for cause in sight.causes} == {("preprocessing",)}
    told = [box.kind for picture in sight.seen for box in (*picture.own, *picture.found) if box.kind]
    assert 0 < len(told) <= sight.differences
    said = "; ".join(cause.why for cause in sight.causes)
    for word in words:
        assert word in said


def test_pictures_that_the_file_cannot_take_as_the_framework_gives_them_are_left_out(
    look: Callable[..., Sight], model: WrappedModel, tutorial: OwnPipeline
) -> None:
    side = Dim("height", 64, 64)
    small = replace(model.contract, dims=(model.contract.dims[0], side, replace(side, name="width")))
    seen = look(with_spec(small, height=side, width=replace(side, name="width")), tutorial)
    assert (seen.pictures, seen.decisions, seen.causes) == (0, 0, ())


def test_another_filter_than_the_tutorials_is_named(look: Callable[..., Sight], demo_job: Path) -> None:
    """The job's filter is the file's; the tutorials' is theirs."""
    model, _ = build_model(load_job(demo_job, ["predict.filter=opencv-linear"]))
    assert not isinstance(model.own, str)
    sight = look(model.contract, model.own())
    assert {cause.why for cause in sight.causes} == {
        "the picture was resized with OpenCV linear; in cjm_yolox_pytorch's tutorials it is resized with "
        "Pillow bicubic"
    }


def test_another_threshold_is_blamed(
    look: Callable[..., Sight], model: WrappedModel, tutorial: OwnPipeline
) -> None:
    reading = model.contract.reading.with_settings(score_threshold=0.9)
    sight = look(replace(model.contract, reading=reading), tutorial)
    (cause,) = sight.causes
    assert cause.stages == ("settings",)
    assert "missing" in cause.what
    assert cause.why == "score_threshold is 0.9, in cjm_yolox_pytorch's tutorials 0.45"
    assert sight.matched == sight.decisions - cause.count


def test_two_faults_are_told_apart(
    look: Callable[..., Sight], letterboxed: Contract, framework: OwnPipeline
) -> None:
    """Boxes that moved by the filter, and those that the threshold dropped."""
    reading = letterboxed.reading.with_settings(score_threshold=0.9)
    contract = with_spec(replace(letterboxed, reading=reading), filter="pillow-box")
    sight = look(contract, framework)
    stages = {cause.stages for cause in sight.causes}
    assert ("preprocessing",) in stages
    assert any("settings" in some for some in stages)
    assert all(some and not set(some) - {"preprocessing", "settings"} for some in stages)


@pytest.mark.slow
def test_another_normalisation_is_blamed_on_what_follows_the_pixels(
    look: Callable[..., Sight], model: WrappedModel
) -> None:
    assert not isinstance(model.own, str)
    own: Any = model.own()
    own.mean = own.mean + np.float32(0.1)
    sight = look(model.contract, own)
    assert {cause.stages for cause in sight.causes} == {("decoding",)}
    assert "normalisation" in sight.causes[0].why
    assert sight.differences > 0


def test_a_wrong_way_back_is_blamed(
    look: Callable[..., Sight], letterboxed: Contract, framework: OwnPipeline
) -> None:
    sight = look(with_spec(letterboxed, place="centre", way_back="ratio"), Shifted(framework))
    assert {cause.stages for cause in sight.causes} == {("way back",)}
    assert sight.causes[0].what.startswith(f"{sight.differences} boxes moved by up to")


class Shifted(Letterboxing):
    """It forgets half a pixel on the way back."""

    def __init__(self, other: Any) -> None:
        super().__init__(other.spec, other.tutorial)

    def restore(self, decisions: Detections, laid: Pixels, picture: Image.Image) -> Detections:
        restored: Detections = super().restore(decisions, laid, picture)
        return replace(restored, boxes=restored.boxes + np.float32(0.5))


class Unfaithful(Letterboxing):
    """Called as a whole it does other than its stages."""

    def __init__(self, other: Any) -> None:
        super().__init__(other.spec, other.tutorial)

    def predict(self, picture: Path) -> Detections:
        decided: Detections = super().predict(picture)
        return replace(decided, boxes=decided.boxes + np.float32(3))


@pytest.mark.slow
def test_what_no_stage_explains_is_said_to_be_unexplained(
    look: Callable[..., Sight], letterboxed: Contract, framework: OwnPipeline
) -> None:
    sight = look(letterboxed, Unfaithful(framework))
    assert {cause.stages for cause in sight.causes} == {()}
    assert "not explained" in sight.causes[0].why


def test_the_file_is_blamed_for_its_own_values(job: Job, demo_bundle: Path) -> None:
    """The file of the demo beside a network whose weights changed since."""
    changed = build_model(job)[0]
    assert not isinstance(changed.own, str)
    with torch.no_grad():
        changed.module.get_parameter("network.backbone.stem.conv.conv.weight").mul_(1.3)
    candidate = OrtLeg(demo_bundle / "model.onnx", ("CPUExecutionProvider",), 1)
    sight = see(
        changed.contract, candidate, TorchLeg(changed, 1), changed.own(), PICTURES, BOUNDS, sound=False
    )
    assert {cause.stages for cause in sight.causes} == {("graph",)}
    assert sight.differences > 0
