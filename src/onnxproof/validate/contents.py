"""What fills the inputs of a case: a picture, noise, or one of several levels of brightness.

A file may answer otherwise on bright inputs alone, or on flat ones. So the cases of a kind fill different
parts of the input's range in turn. Inputs that are no pictures are also tried at the ends of their range, and
at zero: a dropped bound before a logarithm or a quotient shows there alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import Preprocess
from onnxproof.runtime.preprocess import to_input
from onnxproof.seeded import in_dtype
from onnxproof.tensors import TensorSpec

# fmt: off
Kind = Literal[
    "picture", "noise", "empty", "black", "saturated", "lowest", "highest", "zero", "alike", "each",
]
Content = Literal[
    "picture", "noise", "high", "low", "bright", "dark", "empty", "light", "dim", "black", "silver", "grey",
    "saturated", "slate", "lowest", "highest", "zero", "alike", "each",
]
# fmt: on

KINDS: Mapping[Kind, tuple[Content, ...]] = MappingProxyType(
    {
        "picture": ("picture",),
        "noise": ("noise", "high", "low"),
        "empty": ("bright", "dark", "empty", "light", "dim"),
        "black": ("black", "silver", "grey"),
        "saturated": ("saturated", "slate"),
    }
)
"""The contents of each kind that pictures take, in the order in which its cases take them."""
ENDS: tuple[Literal["lowest", "highest", "zero"], ...] = ("lowest", "highest", "zero")
"""Contents of one value that inputs without pictures take. Each is a kind of its own."""
OF_IDS: tuple[Literal["alike", "each"], ...] = ("alike", "each")
"""Contents of integer inputs: all of one number, and a part of all numbers. What else there is, is drawn."""
KIND_OF: Mapping[Content, Kind] = {
    **{content: kind for kind, contents in KINDS.items() for content in contents},
    **{end: end for end in ENDS},
    **{content: content for content in OF_IDS},
}

BANDS: Mapping[Content, tuple[float, float]] = MappingProxyType(
    {
        "noise": (0.0, 1.0),
        "high": (0.75, 1.0),
        "low": (0.0, 0.25),
        "empty": (0.0, 1.0),
        "bright": (0.75, 1.0),
        "dark": (0.0, 0.25),
        "light": (0.5, 0.75),
        "dim": (0.25, 0.5),
        "black": (0.0, 0.0),
        "slate": (0.25, 0.25),
        "grey": (0.5, 0.5),
        "silver": (0.75, 0.75),
        "saturated": (1.0, 1.0),
        "lowest": (0.0, 0.0),
        "highest": (1.0, 1.0),
    }
)
"""The part of an input's range in which a content's numbers lie, as shares of the range."""

CONSTANT = frozenset({*(content for content, (low, high) in BANDS.items() if low == high), *ENDS, "alike"})
"""Contents of one value, and of ids of one value."""


def band_of(content: Content, spec: TensorSpec) -> tuple[float, float]:
    """The numbers between which a content's lie in an input; all of its range for a picture's."""
    low, high = spec.range or (0.0, 1.0)
    if content == "zero" and low <= 0 <= high:
        return 0.0, 0.0
    first, last = BANDS.get(content, (0.0, 1.0))
    return low + first * (high - low), low + last * (high - low)


def ends_of(inputs: Sequence[TensorSpec]) -> tuple[Content, ...]:
    """The contents of ENDS that inputs without pictures are tried with: those of the floats' declared ranges;
    zero where it lies within one."""
    ranges = [spec.range for spec in inputs if _is_float(spec) and spec.range is not None]
    if not ranges:
        return ()
    return ENDS if any(low < 0 < high for low, high in ranges) else ENDS[:2]


def filled(spec: TensorSpec, content: Content) -> TensorSpec:
    """An input without pictures, with the part of its range that a content fills: all of it for integers, and
    of ENDS for a range that is not declared."""
    kind = KIND_OF[content]
    taken = kind == "noise" or (kind in ENDS and spec.range is not None)
    return replace(spec, range=band_of(content, spec)) if taken and _is_float(spec) else spec


def _is_float(spec: TensorSpec) -> bool:
    return spec.dtype.startswith(("float", "bfloat")) and not spec.mask


def flat(content: Content, spec: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    """A picture of one value, in the input's dtype."""
    return in_dtype(np.full(shape, band_of(content, spec)[0]), spec.dtype)


def gradients(
    content: Content, size: tuple[int, int, int], preprocess: Preprocess, random: np.random.Generator
) -> NDArray[Any]:
    """Pictures without objects: smooth gradients of colour. ``size`` is batch, height, width."""
    batch, height, width = size
    first, last = (round(255 * share) for share in BANDS.get(content, (0.0, 1.0)))
    corners = [random.integers(first, last + 1, (2, 2, 3)).astype(np.uint8) for _ in range(batch)]
    smooth = Image.Resampling.BILINEAR
    made = [Image.fromarray(one).resize((width, height), smooth) for one in corners]
    return np.stack([to_input(picture, preprocess) for picture in made])
