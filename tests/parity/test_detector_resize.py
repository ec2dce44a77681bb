"""The resize inside torchvision's detectors: the traced one, ours and the eager one at every size."""

import io
import itertools
import math

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from onnxproof.wrappers.detectors.steady import SteadyTransform

SETTINGS = [
    pytest.param(160, 256, id="small"),
    pytest.param(600, 1024, id="azure-automl"),
    pytest.param(800, 1333, id="torchvision-default"),
]
SIZES = tuple(itertools.product(range(97, 1344, 61), range(96, 1344, 37)))


class ResizedSize(nn.Module):
    """The transform on a picture of which one row and one column in 16 are kept, to be fast."""

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, picture: Tensor) -> Tensor:
        resized, _ = self.transform.resize(picture, None)
        return torch._shape_as_tensor(resized)


def transform(min_size: int, max_size: int) -> GeneralizedRCNNTransform:
    return GeneralizedRCNNTransform(min_size, max_size, [0.0], [1.0]).eval()


def eager_size(height: int, width: int, min_size: int, max_size: int) -> tuple[int, int]:
    """What torchvision's eager code computes, in Python's floats, which are float64."""
    scale = min(min_size / min(height, width), max_size / max(height, width))
    return math.floor(height * scale), math.floor(width * scale)


def traced(module: nn.Module) -> ort.InferenceSession:
    stream = io.BytesIO()
    torch.onnx.export(
        module,
        (torch.rand(1, 128, 160),),
        stream,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=17,
        input_names=["picture"],
        output_names=["size"],
        dynamic_axes={"picture": {1: "height", 2: "width"}},
    )
    return ort.InferenceSession(stream.getvalue())


def sizes_in(session: ort.InferenceSession, sizes: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    found = []
    for height, width in sizes:
        (shape,) = session.run(None, {"picture": np.zeros((1, height, width), np.float32)})
        found.append((int(shape[1]), int(shape[2])))
    return found


def differing(min_size: int, max_size: int, count: int) -> tuple[tuple[int, int], ...]:
    """Sizes at which float32 rounds the target size to another pixel than float64 does."""
    sides = np.array(SIZES, np.float32)
    scales = np.minimum(
        np.float32(min_size) / sides.min(axis=1), np.float32(max_size) / sides.max(axis=1)
    ).astype(np.float32)
    single = np.floor(sides * scales[:, None]).astype(int)
    wanted = np.array([eager_size(*size, min_size, max_size) for size in SIZES])
    return tuple(SIZES[i] for i in np.flatnonzero((single != wanted).any(axis=1))[:count])


@pytest.mark.parametrize(("min_size", "max_size"), SETTINGS)
def test_float32_would_round_some_sizes_to_another_pixel(min_size: int, max_size: int) -> None:
    assert len(differing(min_size, max_size, len(SIZES))) > len(SIZES) / 200


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("min_size", "max_size"), SETTINGS)
def test_the_graph_resizes_as_eager_torchvision(min_size: int, max_size: int) -> None:
    sizes = (*differing(min_size, max_size, 12), *SIZES[:: len(SIZES) // 20])
    wanted = [eager_size(*size, min_size, max_size) for size in sizes]
    session = traced(ResizedSize(SteadyTransform.of(transform(min_size, max_size))))
    assert sizes_in(session, sizes) == wanted


@pytest.mark.filterwarnings("ignore")
def test_torchvisions_own_graph_does_not() -> None:
    """Should this fail, torchvision has mended it, and SteadyTransform can go."""
    sizes = differing(160, 256, 12)
    wanted = [eager_size(*size, 160, 256) for size in sizes]
    assert sizes_in(traced(ResizedSize(transform(160, 256))), sizes) != wanted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("min_size", "max_size", "count"),
    [
        pytest.param(160, 256, 141, id="small"),
        pytest.param(800, 1333, 143, id="torchvision-default", marks=pytest.mark.slow),
    ],
)
def test_so_many_of_1000_random_sizes_are_off_in_torchvisions_own_graph(
    min_size: int, max_size: int, count: int
) -> None:
    """docs/tasks.md has these figures."""
    sides = np.random.default_rng(0).integers(96, 1344, (1000, 2))
    sizes = tuple((int(height), int(width)) for height, width in sides)
    found = sizes_in(traced(ResizedSize(transform(min_size, max_size))), sizes)
    wanted = [eager_size(*size, min_size, max_size) for size in sizes]
    assert sum(one != other for one, other in zip(found, wanted, strict=True)) == count
    assert np.abs(np.subtract(found, wanted)).max() == 1


def test_eager_resizes_as_torchvisions_own_code() -> None:
    generator = torch.Generator().manual_seed(0)
    for height, width in (*differing(160, 256, 6), (96, 96), (130, 97), (211, 640)):
        picture = torch.rand(3, height, width, generator=generator)
        own, _ = transform(160, 256).resize(picture, None)
        ours, _ = SteadyTransform.of(transform(160, 256)).resize(picture, None)
        assert ours.shape[1:] == eager_size(height, width, 160, 256)
        torch.testing.assert_close(ours, own, rtol=0, atol=1e-6)
