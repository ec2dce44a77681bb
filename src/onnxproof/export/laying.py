"""Fits pictures of any size to a network, in standard operators: sizes, Resize, crop or padding.

The sizes are computed as ``runtime/preprocess`` computes them, in whole numbers or in float64. Both exporters
write this: ``op`` makes the nodes of either (``Operators`` in ``suppression.py``).
"""

from dataclasses import dataclass
from typing import Any

import onnx

from onnxproof.contract import Preprocess
from onnxproof.export.suppression import Operators, Value
from onnxproof.wrappers.laying import CROPS, INTERPOLATIONS, LARGEST, told

CUBIC = -0.5
"""The coefficient of Pillow's and torch's antialiased bicubic filter (Keys 1981)."""

INT64, FLOAT, DOUBLE = (int(getattr(onnx.TensorProto, name)) for name in ("INT64", "FLOAT", "DOUBLE"))


def laid(op: Operators, pictures: Value, preprocess: str) -> Value:
    """``onnxproof::laid``: see ``wrappers/laying.py``."""
    spec = told(preprocess)
    way, write = INTERPOLATIONS[spec.filter], _Writer(op)
    places = write.places(pictures, spec)
    first = op.Slice(op.Shape(pictures), write.ints(0), write.ints(2), write.ints(0))
    sizes = op.Concat(first, places.height.resized, places.width.resized, axis=0)
    attributes: dict[str, Any] = {"coordinate_transformation_mode": "half_pixel"}
    if way.antialias:
        # Pixels outside of the picture do not count, in Pillow and in torch.
        attributes |= {"antialias": 1, "exclude_outside": 1}
    if way.overshoots:
        attributes |= {"cubic_coeff_a": CUBIC}
    mode = "cubic" if way.mode == "bicubic" else "linear"
    resized = pictures
    rows = op.Slice(op.Shape(pictures), write.ints(0), write.ints(3), write.ints(0))
    # Rows first and then columns, if what lies outside of the pixels' range is cut off after each.
    wide = op.Concat(rows, places.width.resized, axis=0)
    for size in (wide, sizes) if way.overshoots else (sizes,):
        resized = op.Resize(resized, None, None, size, mode=mode, **attributes)
        if way.overshoots:
            resized = op.Clip(resized, op.Constant(value_float=0.0), op.Constant(value_float=LARGEST))
    sides = (places.height, places.width)
    if spec.resize in CROPS:
        starts = [op.Neg(side.before) for side in sides]
        ends = [op.Sub(write.ints(side.target), side.before) for side in sides]
        fitted = op.Slice(resized, op.Concat(*starts, axis=0), op.Concat(*ends, axis=0), write.ints(2, 3))
    elif spec.resize == "stretch":
        fitted = resized
    else:
        after = [op.Sub(op.Sub(write.ints(side.target), side.resized), side.before) for side in sides]
        none = write.ints(0, 0)
        edges = op.Concat(none, *(side.before for side in sides), none, *after, axis=0)
        if len(set(spec.padding)) == 1:
            fitted = op.Pad(resized, edges, op.Constant(value_float=float(spec.padding[0])))
        else:
            color = op.Constant(value_floats=[float(one) for one in spec.padding])
            color = op.Reshape(color, write.ints(1, 3, 1, 1))
            fitted = op.Add(op.Pad(op.Sub(resized, color), edges), color)
    # It has this shape already. Stated, it lets all that comes behind have a fixed one.
    return op.Reshape(fitted, write.ints(-1, 3, spec.height.min, spec.width.min))


def placement(op: Operators, pictures: Value, preprocess: str) -> Value:
    """``onnxproof::placement``: see ``wrappers/laying.py``."""
    write = _Writer(op)
    places = write.places(pictures, told(preprocess))
    sides = (places.width, places.height)
    offsets = [op.Cast(side.before, to=DOUBLE) for side in sides]
    return op.Cast(op.Concat(*(side.scale for side in sides), *offsets, axis=0), to=FLOAT)


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a picture: what it is ``resized`` to and how much lies ``before`` it, int64 [1] in the
    graph, the fixed ``target``, and the ``scale``, float64 [1]."""

    resized: Value
    before: Value
    target: int
    scale: Value


@dataclass(frozen=True, slots=True)
class _Places:
    height: _Side
    width: _Side


class _Writer:
    """Writes the arithmetic of ``place`` in ``runtime/preprocess/lay.py``."""

    def __init__(self, op: Operators) -> None:
        self.op = op

    def ints(self, *numbers: int) -> Value:
        return self.op.Constant(value_ints=list(numbers))

    def double(self, number: float) -> Value:
        return self.op.Cast(self.op.Constant(value_floats=[float(number)]), to=DOUBLE)

    def places(self, pictures: Value, spec: Preprocess) -> _Places:
        op = self.op
        shape = op.Shape(pictures)
        sides = [op.Gather(shape, self.ints(axis), axis=0) for axis in (2, 3)]
        targets = (spec.height.min, spec.width.min)
        ratio = None
        if spec.resize == "crop":
            shorter = op.Min(*sides)
            resized = [op.Div(op.Mul(side, self.ints(spec.size)), shorter) for side in sides]
        elif spec.resize == "stretch":
            resized = [self.ints(target) for target in targets]
        elif spec.resize == "stretch-crop":
            resized = [self.ints(spec.size) for _ in sides]
        elif spec.resize == "short-side":
            resized, ratio = self._short_side(sides, targets, spec)
        else:
            resized, ratio = self._letterbox(sides, targets, spec)
        centred = spec.resize in CROPS or spec.place == "centre"
        made = []
        for side, target, length in zip(sides, targets, resized, strict=True):
            before = self._before(op.Sub(self.ints(target), length), spec) if centred else self.ints(0)
            scale = ratio
            if spec.way_back != "ratio" or ratio is None:
                scale = op.Div(op.Cast(length, to=DOUBLE), op.Cast(side, to=DOUBLE))
            made.append(_Side(length, before, target, scale))
        return _Places(*made)

    def _letterbox(
        self, sides: list[Value], targets: tuple[int, int], spec: Preprocess
    ) -> tuple[list[Value], Value]:
        op = self.op
        height, width = (op.Cast(side, to=DOUBLE) for side in sides)
        ratios = [
            op.Div(self.double(spec.size), op.Max(width, height)),
            op.Div(self.double(targets[1]), width),
            op.Div(self.double(targets[0]), height),
        ]
        ratio = op.Min(*ratios, *(() if spec.enlarge else (self.double(1),)))
        whole = op.Round if spec.rounding == "nearest" else op.Floor
        return [
            op.Max(op.Cast(whole(op.Mul(side, ratio)), to=INT64), self.ints(1)) for side in (height, width)
        ], ratio

    def _short_side(
        self, sides: list[Value], targets: tuple[int, int], spec: Preprocess
    ) -> tuple[list[Value], Value]:
        op = self.op
        height, width = sides
        long, short = op.Max(*sides), op.Min(*sides)
        portrait = op.Less(width, height)
        declared = op.Where(portrait, self.ints(targets[0]), self.ints(targets[1]))
        longest = op.Min(declared, self.ints(spec.longest))
        size = self.ints(spec.size)
        least, most = size, op.Div(op.Mul(long, size), short)
        wide = {value: op.Cast(value, to=DOUBLE) for value in (long, short, longest)}
        if spec.rounding == "down":
            limited = op.Greater(most, longest)
            least, most = (
                op.Where(limited, op.Div(op.Mul(longest, least), most), least),
                op.Where(limited, longest, most),
            )
        else:
            scaled = op.Mul(op.Div(wide[long], wide[short]), self.double(spec.size))
            limited = op.Greater(scaled, wide[longest])
            raw = op.Div(op.Mul(wide[longest], wide[short]), wide[long])
            near = op.Cast(op.Round(raw), to=INT64)
            far = op.Cast(op.Floor(op.Div(op.Mul(raw, wide[long]), wide[short])), to=INT64)
            stays = op.And(op.Equal(near, short), op.Not(op.Greater(long, declared)))
            least = op.Where(limited, op.Where(stays, short, near), least)
            most = op.Where(limited, op.Where(stays, long, far), most)
        least, most = (self._in_steps(op.Max(side, self.ints(1)), spec) for side in (least, most))
        ratios = op.Div(self.double(spec.size), wide[short]), op.Div(wide[longest], wide[long])
        return [op.Where(portrait, most, least), op.Where(portrait, least, most)], op.Min(*ratios)

    def _in_steps(self, side: Value, spec: Preprocess) -> Value:
        if spec.step == 1:
            return side
        op = self.op
        steps = op.Div(op.Cast(side, to=DOUBLE), self.double(spec.step))
        whole = {"nearest": op.Round, "down": op.Floor, "up": op.Ceil}[spec.step_rounding](steps)
        return op.Mul(op.Max(op.Cast(whole, to=INT64), self.ints(1)), self.ints(spec.step))

    def _before(self, excess: Value, spec: Preprocess) -> Value:
        op = self.op
        amount = op.Abs(excess)
        if spec.half == "even":
            halves = op.Mul(op.Cast(amount, to=DOUBLE), self.double(0.5))
            half = op.Cast(op.Round(halves), to=INT64)
        else:
            half = op.Div(amount, self.ints(2))
        return half if spec.resize not in CROPS else op.Neg(half)
