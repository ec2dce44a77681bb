"""Preprocessing against the libraries that models are trained with, to the pixel.

OpenCV, Ultralytics' LetterBox, torchvision's transforms and transformers' image processors are called on
random pictures of random sizes. All of them compute uint8 in fixed point, so every pixel must be the same.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as v1
from transformers import CLIPImageProcessor, DetrImageProcessor, ViTImageProcessor
from ultralytics.data.augment import LetterBox
from ultralytics.utils.ops import scale_boxes

from onnxproof.contract import Filter, Preprocess
from onnxproof.runtime import prepare
from onnxproof.runtime.preprocess.resample import resample
from onnxproof.tensors import Dim

Pixels = NDArray[np.uint8]

ANY = Dim("height", 1, 2048), Dim("width", 1, 2048)
ULTRALYTICS = Preprocess(
    "images",
    "NHWC",
    "uint8",
    1,
    "letterbox",
    64,
    Dim("height", 32, 64, 32),
    Dim("width", 32, 64, 32),
    filter="opencv-linear",
)
MEGVII = replace(
    ULTRALYTICS, channels="bgr", rounding="down", place="top-left", pad_to="size", way_back="ratio"
)
SIDES = st.integers(2, 200)
SEEDS = st.integers(0, 2**32 - 1)
MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
}
PILLOW: dict[str, Filter] = {
    "bilinear": "pillow-bilinear",
    "bicubic": "pillow-bicubic",
    "lanczos": "pillow-lanczos",
}
TORCH: dict[str, Filter] = {
    "bilinear": "torch-bilinear",
    "bicubic": "torch-bicubic",
    "lanczos": "torch-lanczos",
}

often = examples(100)


def noise(width: int, height: int, seed: int) -> Pixels:
    """Noise of full contrast, uint8 [height, width, 3]: where weights and roundings differ, it shows."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.where(random.random(values.shape) < 0.3, np.where(values < 128, 0, 255), values).astype(
        np.uint8
    )


def resampled(pixels: Pixels, width: int, height: int, filter: Filter) -> Pixels:
    return np.asarray(resample(Image.fromarray(pixels), (width, height), filter))


def planes(pixels: Pixels) -> torch.Tensor:
    """uint8 [3, H, W], as torchvision and transformers hold a picture."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def laid(pixels: Pixels, spec: Preprocess) -> Pixels:
    values: Pixels = prepare(pixels, spec)[0][0]
    return values


@often
@given(width=SIDES, height=SIDES, to_width=SIDES, to_height=SIDES, seed=SEEDS)
def test_opencv_linear(width: int, height: int, to_width: int, to_height: int, seed: int) -> None:
    pixels = noise(width, height, seed)
    wanted = cv2.resize(pixels, (to_width, to_height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resampled(pixels, to_width, to_height, "opencv-linear"), wanted)


@pytest.mark.parametrize(
    ("size", "target"),
    [
        pytest.param((64, 48), (32, 24), id="halves-are-means-of-four"),
        pytest.param((64, 48), (32, 25), id="half-in-width-only"),
        pytest.param((1, 1), (7, 5), id="one-pixel"),
        pytest.param((1, 90), (3, 30), id="one-column"),
        pytest.param((1920, 1080), (640, 360), id="a-video-frame"),
    ],
)
def test_opencv_linear_at_its_edges(size: tuple[int, int], target: tuple[int, int]) -> None:
    pixels = noise(*size, 0)
    wanted = cv2.resize(pixels, target, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resampled(pixels, *target, "opencv-linear"), wanted)


@often
@given(width=SIDES, height=SIDES, auto=st.booleans(), enlarge=st.booleans(), centre=st.booleans(), seed=SEEDS)
def test_letterbox_is_ultralytics(
    width: int, height: int, seed: int, *, auto: bool, enlarge: bool, centre: bool
) -> None:
    pixels = noise(width, height, seed)
    spec = replace(
        ULTRALYTICS,
        enlarge=enlarge,
        place="centre" if centre else "top-left",
        pad_to="least" if auto else "size",
    )
    wanted = LetterBox((64, 64), auto=auto, scaleup=enlarge, center=centre, stride=32)(image=pixels)
    np.testing.assert_array_equal(laid(pixels, spec), wanted)


def test_letterbox_of_fixed_sides_is_ultralytics() -> None:
    spec = replace(ULTRALYTICS, size=96, height=Dim("height", 64, 64), width=Dim("width", 96, 96))
    for width, height in ((200, 90), (90, 200), (96, 64), (31, 30)):
        pixels = noise(width, height, width)
        np.testing.assert_array_equal(laid(pixels, spec), LetterBox((64, 96))(image=pixels))


@often
@given(width=SIDES, height=SIDES, auto=st.booleans(), seed=SEEDS)
def test_the_way_back_is_ultralytics(width: int, height: int, seed: int, *, auto: bool) -> None:
    spec = replace(ULTRALYTICS, pad_to="least" if auto else "size")
    array, transform = prepare(Image.new("RGB", (width, height)), spec)
    # Ultralytics computes the resized sides once more, from the padded ones. Where a short side was rounded
    # down to a multiple of the stride, it gets another long side than the one that it resized to.
    ratio = min(array.shape[1] / height, array.shape[2] / width)
    assume(ratio == 64 / max(width, height))
    boxes = np.random.default_rng(seed).uniform(0, 64, (20, 4)).astype(np.float32)
    wanted = np.asarray(scale_boxes(array.shape[1:3], torch.from_numpy(boxes.copy()), (height, width)))
    np.testing.assert_allclose(transform.restore(boxes), wanted, rtol=1e-6, atol=1e-4)


@often
@given(width=SIDES, height=SIDES, seed=SEEDS)
def test_letterbox_is_megviis(width: int, height: int, seed: int) -> None:
    """YOLOX's own: yolox/data/data_augment.py (preproc), and boxes divided by the ratio."""
    pixels = noise(width, height, seed)
    ratio = min(64 / height, 64 / width)
    assume(int(width * ratio) and int(height * ratio))  # OpenCV refuses a picture without pixels
    wanted = np.full((64, 64, 3), 114, np.uint8)
    inner = cv2.resize(pixels[:, :, ::-1], (int(width * ratio), int(height * ratio)))
    wanted[: inner.shape[0], : inner.shape[1]] = inner
    array, transform = prepare(pixels, MEGVII)
    np.testing.assert_array_equal(array[0], wanted)
    boxes = np.array([[3, 5, 20.5, 17]], np.float32)
    limits = np.array([width, height] * 2)
    np.testing.assert_allclose(transform.restore(boxes), np.minimum(boxes / ratio, limits), rtol=1e-6)


@pytest.mark.parametrize("name", list(MODES))
@often
@given(width=SIDES, height=SIDES, to_width=SIDES, to_height=SIDES, seed=SEEDS)
def test_torchvisions_resize_of_tensors(
    name: str, width: int, height: int, to_width: int, to_height: int, seed: int
) -> None:
    pixels = noise(width, height, seed)
    wanted = v2.functional.resize(planes(pixels), [to_height, to_width], MODES[name], antialias=True)
    ours = resampled(pixels, to_width, to_height, TORCH[name])
    np.testing.assert_array_equal(planes(ours).numpy(), wanted.numpy())


@pytest.mark.parametrize("name", list(MODES))
@often
@given(width=SIDES, height=SIDES, seed=SEEDS)
def test_torchvisions_classifiers(name: str, width: int, height: int, seed: int) -> None:
    """The transforms of torchvision's and timm's weights: Pillow's resize, then the centre."""
    pixels = noise(width, height, seed)
    spec = Preprocess(
        "image", "NHWC", "uint8", 1, "crop", 73, Dim("height", 64, 64), Dim("width", 64, 64), half="even"
    )
    image = Image.fromarray(pixels)
    wanted = v1.center_crop(v1.resize(image, 73, MODES[name]), [64, 64])
    np.testing.assert_array_equal(laid(pixels, replace(spec, filter=PILLOW[name])), np.asarray(wanted))


@often
@given(width=SIDES, height=SIDES, longest=st.integers(65, 300), seed=SEEDS)
def test_torchvisions_longest_side(width: int, height: int, longest: int, seed: int) -> None:
    pixels = noise(width, height, seed)
    spec = Preprocess(
        "image", "NHWC", "uint8", 1, "short-side", 64, *ANY, filter="torch-bilinear", longest=longest
    )
    try:
        wanted = v2.functional.resize(planes(pixels), [64], max_size=longest).permute(1, 2, 0).numpy()
    except (RuntimeError, ValueError):  # so long that nothing is left of the short side
        return
    np.testing.assert_array_equal(laid(pixels, replace(spec, rounding="down")), wanted)


PLAIN: dict[str, Any] = {"do_rescale": False, "do_normalize": False}


def processed(processor: Any, pixels: Pixels) -> Pixels:
    values: torch.Tensor = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    return values.permute(1, 2, 0).numpy().astype(np.uint8)


@pytest.mark.parametrize(
    ("make", "change"),
    [
        pytest.param(
            lambda: ViTImageProcessor(size={"height": 48, "width": 64}, resample=2, **PLAIN),
            {
                "resize": "stretch",
                "filter": "torch-bilinear",
                "height": Dim("height", 48, 48),
                "width": Dim("width", 64, 64),
            },
            id="vit-stretches",
        ),
        pytest.param(
            lambda: CLIPImageProcessor(
                size={"shortest_edge": 65}, crop_size={"height": 48, "width": 64}, resample=3, **PLAIN
            ),
            {
                "resize": "crop",
                "size": 65,
                "filter": "torch-bicubic",
                "height": Dim("height", 48, 48),
                "width": Dim("width", 64, 64),
            },
            id="clip-crops",
        ),
        pytest.param(
            lambda: DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 107}, **PLAIN),
            {"resize": "short-side", "size": 64, "longest": 107, "filter": "torch-bilinear"},
            id="detr-limits-the-long-side",
        ),
        pytest.param(
            lambda: DetrImageProcessor(
                size={"shortest_edge": 64, "longest_edge": 107},
                pad_size={"height": 128, "width": 128},
                **PLAIN,
            ),
            {
                "resize": "short-side",
                "size": 64,
                "longest": 107,
                "filter": "torch-bilinear",
                "place": "top-left",
                "padding": (0, 0, 0),
                "height": Dim("height", 128, 128),
                "width": Dim("width", 128, 128),
            },
            id="detr-pads-below-and-to-the-right",
        ),
    ],
)
def test_transformers(make: Callable[[], Any], change: dict[str, Any]) -> None:
    processor = make()
    spec = replace(Preprocess("pixel_values", "NHWC", "uint8", 1, "crop", 64, *ANY), **change)
    random = np.random.default_rng(0)
    for seed in range(60):
        width, height = random.integers(8, 200, 2).tolist()
        pixels = noise(width, height, seed)
        np.testing.assert_array_equal(laid(pixels, spec), processed(processor, pixels), f"{width}x{height}")
