"""torchvision's one-stage detectors: NumPy decides from the raw heads as torchvision does, and both layouts
export."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import detectors
import numpy as np
import onnxruntime as ort
import pytest
import torch
from contracts import contract, reading_of
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import detection

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.export.capture import capture
from onnxproof.runtime.readings.boxes import Candidates
from onnxproof.runtime.readings.scored_anchors import ScoredAnchors, scored_anchors
from onnxproof.tensors import Dim, TensorSpec
from onnxproof.wrappers.detectors.one_stage import OneStageInference, RawHeads, settings_of
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.input import PictureInput

Array = NDArray[Any]
NAMES = ("logits", "deltas", "centerness")
KINDS = ("retinanet", "fcos", "ssdlite", "ssd")
IN_THE_SHORT_RUN = ("fcos", "ssdlite")
"""One of each family: with feature pyramid, and SSD."""
OF_FEW_PARAMETERS = KINDS[:3]
CAPTURED = ("fcos", "ssd")
"""What torch.export captures here, the others in test_one_stage_jobs.py: an FCOS, whose GroupNorm guards
against maps of one cell, and an SSD of VGG, whose sizes are not those of an SSDlite."""
OPSET = 20


class Found(NamedTuple):
    """Boxes [n, 4], labels [n] and scores [n], best score first."""

    boxes: Array
    labels: Array
    scores: Array


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=() if kind in IN_THE_SHORT_RUN else pytest.mark.slow) for kind in KINDS],
)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def network(kind: str) -> Any:
    """One detector of the kind; not to be changed."""
    return getattr(detectors, kind)()


def sizes_of(network: Any) -> list[tuple[int, int]]:
    """Heights and widths to look at: an SSD's own, or some at which P6 and P7 have one cell or several."""
    if network.transform.fixed_size is not None:
        width, height = network.transform.fixed_size
        return [(height, width)]
    return [(64, 96), (96, 160), (256, 192)]


def count_of(network: Any) -> int:
    """How many pictures to look at: one is enough for an SSD, which takes seconds for each."""
    return 2 if network.transform.fixed_size is None else 1


def stage_of(network: Any) -> PictureInput:
    transform = network.transform
    return PictureInput(transform.image_mean, transform.image_std, scale=False, channels_last=False)


def without_resize(network: Any) -> Any:
    """A copy of the network whose transform leaves the size as it is, and normalises by the float32
    numbers that the stage holds even where it runs in float64."""
    network = copy.deepcopy(network)
    stage = stage_of(network)
    network.transform.image_mean = stage.mean.flatten().tolist()
    network.transform.image_std = stage.std.flatten().tolist()
    network.transform.resize = lambda image, target: (image, target)
    return network


def eager(network: Any, batch: Tensor) -> list[Found]:
    """torchvision's own detections."""
    with torch.no_grad():
        return [
            Found(*(found[key].numpy() for key in ("boxes", "labels", "scores")))
            for found in network(list(batch))
        ]


def scored(network: Any, batch: Tensor) -> tuple[ScoredAnchors, ...]:
    with torch.no_grad():
        raw = RawHeads(network, stage_of(network)).to(batch.dtype)(batch)
    return scored_from([tensor.numpy() for tensor in raw], batch, network)


def scored_from(raw: list[Array], batch: Tensor, network: Any) -> tuple[ScoredAnchors, ...]:
    outputs = dict(zip(NAMES, raw, strict=False))
    reading = reading_of("detection", **post_of(network), outputs=list(outputs))
    return scored_anchors(outputs, {"height": batch.shape[2], "width": batch.shape[3]}, reading)


def post_of(network: Any) -> dict[str, Any]:
    """The manifest's ``postprocess`` where all decisions are the network's own."""
    return {"decode": "none", **settings_of(network).to_json(), "class_agnostic": False, "first_label": 0}


def decide(evidence: ScoredAnchors | Candidates, network: Any) -> Found:
    """What is left after the threshold, the top-k cut and NMS."""
    settings = settings_of(network)
    found = evidence.decide(settings.cuts(settings.score_threshold))
    return Found(found.boxes, found.labels, found.scores)


def assert_same(found: Found, wanted: Found, box: float, score: float) -> None:
    """The same detections within the bounds, in the same order but for scores that tie within theirs."""
    assert len(found.scores) == len(wanted.scores) >= 20
    assert np.abs(found.scores - wanted.scores).max() <= score
    same = found.labels[:, None] == wanted.labels
    same &= np.abs(found.boxes[:, None] - wanted.boxes).max(axis=-1) <= box
    same &= np.abs(found.scores[:, None] - wanted.scores) <= score
    assert same.any(axis=0).all()
    assert same.any(axis=1).all()


CUTS: Mapping[str, Mapping[str, Any]] = {
    "as-built": {},
    "tight": {"topk_candidates": 40, "detections_per_img": 30, "nms_thresh": 0.3},
}


@pytest.mark.first_case
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_numpy_decides_as_torchvision_does(network: Any, cuts: Mapping[str, Any]) -> None:
    """In float64, where nothing ties: the same boxes, labels and order."""
    network = without_resize(network).double()
    for name, value in cuts.items():
        setattr(network, name, value)
    for height, width in sizes_of(network):
        batch = detectors.pictures(height, width, count_of(network)).double()
        for wanted, anchors in zip(eager(network, batch), scored(network, batch), strict=True):
            found = decide(anchors, network)
            assert np.array_equal(found.labels, wanted.labels)
            assert np.abs(found.boxes - wanted.boxes).max() < 1e-9
            assert np.abs(found.scores - wanted.scores).max() < 1e-12
            assert len(found.scores) >= 8


def test_numpy_decides_as_torchvision_does_in_float32(network: Any) -> None:
    height, width = sizes_of(network)[-1]
    batch = detectors.pictures(height, width, count_of(network))
    for wanted, anchors in zip(eager(without_resize(network), batch), scored(network, batch), strict=True):
        assert anchors.boxes.dtype == anchors.scores.dtype == np.float32
        assert_same(decide(anchors, network), wanted, box=1e-3, score=1e-5)


@pytest.mark.parametrize("name", ["topk_candidates", "detections_per_img", "nms_thresh", "score_thresh"])
def test_each_setting_is_taken_from_the_network(name: str) -> None:
    """A network of another builder, with every setting its own: each shows in what is decided."""
    wanted = {"topk_candidates": 7, "detections_per_img": 3, "nms_thresh": 0.125, "score_thresh": 0.25}
    network = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3, **wanted
    )
    keys = dict(
        zip(wanted, ("top_candidates", "max_detections", "iou_threshold", "score_threshold"), strict=True)
    )
    assert getattr(settings_of(network), keys[name]) == wanted[name]


class Floors(nn.Module):
    """Three feature maps of 8, 16, 32 pixels a cell, the last with its cells rounded down."""

    out_channels = 8

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(3, 8, 8, stride=8), nn.MaxPool2d(1, 2), last])

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = {}
        for index, layer in enumerate(self.layers):
            pictures = layer(pictures)
            features[str(index)] = pictures
        return features


def small_retinanet(last: nn.Module) -> Any:
    generator = detection.anchor_utils.AnchorGenerator(((16,), (32,), (64,)), ((1.0,),) * 3)
    return detection.RetinaNet(Floors(last), 3, anchor_generator=generator).eval()


def test_levels_that_round_up_are_read_off_any_backbone() -> None:
    settings = settings_of(small_retinanet(nn.MaxPool2d(1, 4)))
    assert settings.anchors is not None
    places = settings.anchors.to_json()
    assert places["reductions"] == [8, 16, 64]
    assert places["base_anchors"] == [[[-half, -half, half, half]] for half in (8, 16, 32)]


def test_levels_that_round_down_are_refused() -> None:
    with pytest.raises(RequestError, match=r"at 96x1024 .* \(1, 16\)\], expected .* \(2, 16\)\].*decode"):
        settings_of(small_retinanet(nn.MaxPool2d(4)))


def test_other_networks_are_refused() -> None:
    with pytest.raises(RequestError, match=r"the network is a Linear, expected .*RetinaNet, FCOS, SSD"):
        settings_of(nn.Linear(2, 2))


def wrapped(module: nn.Module, outputs: tuple[TensorSpec, ...], dims: tuple[Dim, ...]) -> WrappedModel:
    batch = "batch" if dims[0].name == "batch" else 1
    promised = contract(
        inputs=(TensorSpec("input", "float32", (batch, 3, "height", "width"), (0, 1)),),
        outputs=outputs,
        dims=dims,
    )
    return WrappedModel(module.eval(), promised, "torchvision_detector")


def picture_dims(network: Any) -> tuple[Dim, Dim]:
    """An SSD's own size, or sizes at the least of which P6 and P7 have one cell alone."""
    if network.transform.fixed_size is not None:
        width, height = network.transform.fixed_size
        return Dim("height", height, height), Dim("width", width, width)
    return Dim("height", 64, 256, 32), Dim("width", 64, 256, 32)


def rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


@pytest.mark.slow
@pytest.mark.parametrize("kind", CAPTURED, indirect=True, scope="module")
def test_raw_heads_export_with_every_dimension_free(network: Any) -> None:
    """At sizes and batches not captured, ONNX Runtime is as close to float64 as PyTorch is, and NumPy
    decides from its outputs as torchvision does."""
    module = RawHeads(network, stage_of(network))
    channels = {"logits": settings_classes(network), "deltas": 4, "centerness": 1}
    names = NAMES[: 3 if "distances_in_sizes" in settings_of(network).to_json() else 2]
    outputs = tuple(TensorSpec(name, "float32", ("batch", "anchors", channels[name])) for name in names)
    height, width = picture_dims(network)
    model = wrapped(module, outputs, (Dim("batch", 1, 4), height, width))
    graph = capture(model, "torch.export", OPSET, optimize=True).proto
    session = ort.InferenceSession(graph.SerializeToString())
    for count, size in ((1, sizes_of(network)[0]), (3, sizes_of(network)[-1])):
        batch = detectors.pictures(*size, count)
        raw = session.run(list(names), {"input": batch.numpy()})
        with torch.no_grad():
            reference = [tensor.numpy() for tensor in module(batch)]
            oracle = [tensor.numpy() for tensor in copy.deepcopy(module).double()(batch.double())]
        for candidate, ref, truth in zip(raw, reference, oracle, strict=True):
            assert candidate.shape == ref.shape
            assert rms(candidate - truth) <= 1.5 * rms(ref - truth)
        for wanted, anchors in zip(
            eager(without_resize(network), batch), scored_from(raw, batch, network), strict=True
        ):
            assert_same(decide(anchors, network), wanted, box=2e-2, score=1e-4)


def settings_classes(network: Any) -> int:
    head = network.head.classification_head
    count: int = head.num_columns if hasattr(head, "num_columns") else head.num_classes
    return count


@pytest.mark.slow
def test_nms_in_the_graph_exports_and_agrees(network: Any) -> None:
    """At sizes not captured, multiples of 32 or not."""
    module = OneStageInference(copy.deepcopy(network), stage_of(network))
    outputs = (
        TensorSpec("boxes", "float32", ("detections", 4)),
        TensorSpec("labels", "int64", ("detections",)),
        TensorSpec("scores", "float32", ("detections",)),
    )
    # What an SSD makes 300 or 320 pixels of, it takes at any size.
    dims = Dim("height", 48, 400), Dim("width", 48, 400)
    graph = capture(wrapped(module, outputs, dims), "torchscript", OPSET, optimize=False).proto
    session = ort.InferenceSession(graph.SerializeToString())
    for height, width in ((64, 96), (200, 333)):
        batch = detectors.pictures(height, width, 1)
        (wanted,) = eager(network, batch)
        found = Found(*session.run(["boxes", "labels", "scores"], {"input": batch.numpy()}))
        assert_same(found, wanted, box=2e-2, score=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_margins_hold_what_the_detections_were_chosen_from(network: Any, dtype: torch.dtype) -> None:
    module = OneStageInference(copy.deepcopy(network), stage_of(network)).to(dtype)
    batch = detectors.pictures(150, 210, 1).to(dtype)
    with torch.no_grad():
        outputs, margins = module.forward_with_margins(batch)
        assert all(torch.equal(a, b) for a, b in zip(outputs, module(batch), strict=True))
    boxes, labels, scores, groups = (
        margins[f"candidate_{name}"].numpy() for name in ("boxes", "labels", "scores", "groups")
    )
    assert boxes.dtype == scores.dtype == outputs[0].numpy().dtype
    assert (scores >= network.score_thresh / 2).all()
    assert (scores < network.score_thresh).any()
    pairs = Candidates(boxes, scores, labels, None, groups)
    assert_same(decide(pairs, network), Found(*(tensor.numpy() for tensor in outputs)), box=1e-3, score=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", OF_FEW_PARAMETERS, indirect=True, scope="module")
def test_margins_are_the_candidates_of_the_raw_heads(network: Any) -> None:
    """Where the network's own resize has nothing to do, both layouts know the same candidates."""
    height, width = sizes_of(network)[0] if network.transform.fixed_size else (160, 224)
    batch = detectors.pictures(height, width, 1).double()
    module = OneStageInference(copy.deepcopy(network), stage_of(network)).double()
    with torch.no_grad():
        _, margins = module.forward_with_margins(batch)
    (anchors,) = scored(copy.deepcopy(network).double(), batch)
    rows, labels = anchors.pairs(network.score_thresh / 2)
    assert np.array_equal(margins["candidate_labels"].numpy(), labels)
    assert np.array_equal(margins["candidate_groups"].numpy(), anchors.groups[rows, labels])
    assert np.abs(margins["candidate_scores"].numpy() - anchors.scores[rows, labels]).max() < 1e-12
    assert np.abs(margins["candidate_boxes"].numpy() - anchors.boxes[rows]).max() < 1e-9


def test_recording_leaves_the_network_as_it_was(network: Any) -> None:
    network = copy.deepcopy(network)
    module = OneStageInference(network, stage_of(network))
    with torch.no_grad():
        module.forward_with_margins(torch.rand(1, 3, 64, 64))
    assert "postprocess_detections" not in vars(network)


def test_anchors_of_another_size_are_refused(network: Any) -> None:
    height, width = sizes_of(network)[0]
    batch = detectors.pictures(height, width, 1)
    with torch.no_grad():
        raw = [tensor.numpy()[:, 1:] for tensor in RawHeads(network, stage_of(network))(batch)]
    with pytest.raises(ModelFileError, match=rf"an input of {height}x{width} has .* frozen"):
        scored_from(raw, batch, network)
