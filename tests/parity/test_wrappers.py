"""The wrapper's numbers are those of the tutorial's own wrapper, in every setting they share."""

import copy
from collections.abc import Mapping

import pytest
import torch
from cjm_yolox_pytorch.inference import YOLOXInferenceWrapper
from torch import Tensor, nn

from onnxproof.wrappers.families.yolox import YoloxInference, build_network
from onnxproof.wrappers.input import PictureInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = build_network("nano", 10).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return network


def wrap(network: nn.Module, *, scale: bool, channels_last: bool, decode: str) -> YoloxInference:
    stage = PictureInput(MEAN, STD, scale=scale, channels_last=channels_last)
    return YoloxInference(copy.deepcopy(network), stage, decode).eval()


def pictures(*, scale: bool, channels_last: bool, height: int, width: int) -> Tensor:
    torch.manual_seed(1)
    shape = (2, height, width, 3) if channels_last else (2, 3, height, width)
    return torch.rand(shape) * (255 if scale else 1)


@pytest.mark.parametrize("decode", ["none", "packed"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("scale", [False, True], ids=["unit-range", "byte-range"])
def test_same_numbers_as_the_tutorials_wrapper(
    network: nn.Module, *, scale: bool, channels_last: bool, decode: str
) -> None:
    tutorial = YOLOXInferenceWrapper(
        network,
        torch.tensor(MEAN).view(1, 3, 1, 1),
        torch.tensor(STD).view(1, 3, 1, 1),
        scale_inp=scale,
        channels_last=channels_last,
        run_box_and_prob_calculation=decode == "packed",
    ).eval()
    batch = pictures(scale=scale, channels_last=channels_last, height=96, width=160)
    with torch.no_grad():
        wanted = tutorial(batch)
        found = wrap(network, scale=scale, channels_last=channels_last, decode=decode)(batch)
    assert torch.equal(wanted, found)


def test_uint8_gives_the_numbers_of_the_same_pixels_in_float(network: nn.Module) -> None:
    wrapped = wrap(network, scale=True, channels_last=True, decode="packed")
    pixels = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(wrapped(pixels), wrapped(pixels.float()))


def test_split_and_packed_say_the_same(network: nn.Module) -> None:
    batch = pictures(scale=False, channels_last=False, height=64, width=96)
    with torch.no_grad():
        packed = wrap(network, scale=False, channels_last=False, decode="packed")(batch)
        boxes, scores = wrap(network, scale=False, channels_last=False, decode="split")(batch)
    assert torch.equal(packed[..., :2] + packed[..., 2:4], boxes[..., 2:])
    assert torch.equal(packed[..., :2], boxes[..., :2])
    best, labels = scores.max(dim=-1)
    assert torch.equal(packed[..., 5], best)
    assert torch.equal(packed[..., 4], labels.float())


@pytest.mark.parametrize("decode", ["none", "packed", "split"])
def test_the_oracle_is_double_throughout(network: nn.Module, decode: str) -> None:
    """A constant made in float32 anywhere would leave an error of 1e-8 in a double result."""
    wrapped = wrap(network, scale=True, channels_last=False, decode=decode).double()
    batch = pictures(scale=True, channels_last=False, height=64, width=96).double()
    with torch.no_grad():
        outputs = wrapped(batch)
    for output in outputs if isinstance(outputs, tuple) else (outputs,):
        assert output.dtype == torch.float64


def test_margins_are_the_lead_over_the_next_class(network: nn.Module) -> None:
    batch = pictures(scale=False, channels_last=False, height=64, width=64)
    packed = wrap(network, scale=False, channels_last=False, decode="packed")
    split = wrap(network, scale=False, channels_last=False, decode="split")
    margins: Mapping[str, Tensor]
    with torch.no_grad():
        outputs, margins = packed.forward_with_margins(batch)
        _, scores = split(batch)
        assert torch.equal(outputs[0], packed(batch))
    ranked = scores.sort(dim=-1, descending=True).values
    assert torch.equal(margins["label"], ranked[..., 0] - ranked[..., 1])
