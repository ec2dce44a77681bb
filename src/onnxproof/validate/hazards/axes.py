"""Find the constant that holds an axis at one size although the axis is declared dynamic.

onnx infers all shapes at two sizes of every dimension. An axis is frozen in two cases:

- A node cannot take its inputs, and the input in the way has the same size both times.
- An output's axis does not have the declared size.

The reason names the nearest node before it that takes a size from a constant. Some shapes are not known:
after data-dependent operators, and after arithmetic on sizes that onnx does not follow. Then the hazard is
skipped if nothing is found in front of them.
"""

import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import onnx
import onnx.inliner
import onnx_ir as ir
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError
from onnxproof.graph import OnnxGraph, attribute_of, axes_of, label
from onnxproof.tensors import Dim
from onnxproof.validate.hazards._grids import places_of
from onnxproof.validate.hazards._hazard import Hazard, Subject, advised, failed, listed, passed, skipped
from onnxproof.validate.inference import SMALL, Inference, Shape, ShapesError, without_weights
from onnxproof.validate.verdict import Check

NAME = "frozen_axes"

PARAMETERS = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "Slice": (1, 2),
    "Resize": (2, 3),
    "Upsample": (1,),
}
"""The inputs at which operators take sizes. A constant there may be a size that was captured."""

REFUSED = re.compile(r"node name: (\d+)\)")
"""How onnx names a node that cannot take its inputs. ``_inference`` names nodes by number."""

RECURRENCES = ("LSTM", "GRU", "RNN")

ASKING = ("runs", "shapes")
"""The verdict's checks whose failure a frozen axis may explain."""

GUESSED_BATCH = Dim("", 2, 8)
GUESSED_SIDE = Dim("", 64, 512, 64)
"""The sizes that are tried if a file declares none. Sides are multiples of every usual stride."""


@dataclass(frozen=True, slots=True)
class _Declared:
    """Axes by name of input and output, and the named dimensions. ``guessed`` if the file declares none."""

    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    dims: Mapping[str, Dim]
    guessed: bool


def look_for_frozen_axes(subject: Subject) -> Check:
    """Whether every axis that is declared dynamic follows its input, as far as onnx infers shapes."""
    try:
        return _look(_Axes(subject))
    except (RuntimeError, ValueError, ShapesError, ModelFileError, onnx.checker.ValidationError) as error:
        return skipped(NAME, f"shapes cannot be inferred: {str(error).strip().partition(chr(10))[0]}")


def _look(axes: "_Axes") -> Check:
    if signed := list(axes.signed()):
        return failed(NAME, "; ".join(signed), len(signed))
    if not axes.free:
        return passed(NAME, "no axis is declared dynamic")
    told = " and at ".join(", ".join(f"{name} {size}" for name, size in each.items()) for each in axes.sizes)
    if wrong := list(axes.clashes()) or list(axes.wrong_outputs()):
        return failed(NAME, f"{listed(wrong, '; ')} (followed at {told})", len(wrong))
    if cuts := [] if axes.declared.guessed else list(axes.cuts()):
        reason = f"{listed(cuts, '; ')}: right if the model means it, wrong if the size was captured"
        return advised(NAME, reason, len(cuts))
    unknown, whole = axes.unknown, len(axes.graph.top)
    if unknown:
        return skipped(
            NAME,
            f"nothing fixes an axis among the {whole - unknown} of {whole} nodes whose shapes onnx infers, "
            f"followed at {told}; {unknown} are not known, and an axis may be frozen there: onnxproof "
            "validate, check and compare run the sizes",
        )
    return passed(NAME, f"no constant fixes an axis, followed at {told}")


FROZEN_AXES = Hazard(
    NAME,
    "the file says that it takes any size of these axes, and refuses some or answers in another shape: a "
    "size that was captured stands in the graph as a constant",
    "in the model, take sizes from tensors (x.shape) and not from Python numbers that were made before; try "
    'export.exporter = "torch.export", which refuses what TorchScript bakes in; or fix the axis in [dims]',
    look_for_frozen_axes,
)


def explain(checks: Sequence[Check], subject: Subject) -> tuple[Check, ...]:
    """The checks. If cases did not run or had another shape, the reason also names what froze an axis."""
    asking = [check for check in checks if check.name in ASKING and check.status == "fail"]
    found = look_for_frozen_axes(subject) if asking else passed(NAME)
    if not found.value:
        return tuple(checks)
    return tuple(
        replace(check, reason=f"{check.reason}; {found.reason}") if check in asking else check
        for check in checks
    )


class _Axes:
    """A graph with its functions inlined, and its shapes at two sets of sizes."""

    def __init__(self, subject: Subject) -> None:
        proto = subject.graph.proto
        self.graph = (
            OnnxGraph(onnx.inliner.inline_local_functions(proto)) if proto.functions else subject.graph
        )
        self._file = str(subject.file)
        self.declared = _declared_by(subject)
        self.free = [name for name, dim in self.declared.dims.items() if not dim.fixed]
        self.sizes = _sizes(self.declared.dims)
        self.values: dict[str, NDArray[Any]] = {
            name: stored.array(subject.file)
            for name, stored in self.graph.constants.items()
            if stored.place is None and 0 < stored.bytes <= 8 * SMALL
        }

    @cached_property
    def shapes(self) -> tuple[Mapping[str, Shape], Mapping[str, Shape]]:
        """The shapes that onnx infers, by name, at each set of sizes."""
        one, other = (self._inferred(sizes) for sizes in self.sizes)
        return one, other

    @cached_property
    def _inference(self) -> Inference:
        """The graph without its weights. Nodes are named by their number."""
        proto = without_weights(self.graph.proto)
        for number, node in enumerate(proto.graph.node):
            node.name = str(number)
        return Inference(proto, self._file)

    def _inferred(self, sizes: Mapping[str, int]) -> Mapping[str, Shape]:
        stored = {name: stored.shape for name, stored in self.graph.constants.items()}
        return stored | self._inference.at(self._asked(sizes)).shapes

    def _refused(self, sizes: Mapping[str, int]) -> set[int]:
        """The numbers of the nodes that cannot take their inputs."""
        return {int(number) for number in REFUSED.findall(self._inference.complaint(self._asked(sizes)))}

    def _asked(self, sizes: Mapping[str, int]) -> dict[str, list[int | None]]:
        """The sizes of each input's axes; None where they are not declared."""
        return {
            name: [sizes.get(axis) if isinstance(axis, str) else axis for axis in axes]
            for name, axes in self.declared.inputs.items()
        }

    @property
    def unknown(self) -> int:
        """How many nodes have an output of unknown shape."""
        return sum(str(node.outputs[0].name) not in self.shapes[0] for node in self.graph.top)

    def signed(self) -> Iterator[str]:
        """Axes that are declared dynamic and written as numbers in the file."""
        for kind, values, shapes in (
            ("input", self.graph.inputs, self.declared.inputs),
            ("output", self.graph.outputs, self.declared.outputs),
        ):
            for value in values:
                for axis, wanted in zip(axes_of(value) or (), shapes.get(str(value.name), ()), strict=False):
                    if isinstance(axis, int) and wanted in self.free:
                        yield f"the axis {wanted} of {kind} {value.name} is written as {axis}"

    def clashes(self) -> Iterator[str]:
        """Nodes that cannot take their inputs, because one of these has a single size."""
        refused = [self._refused(sizes) for sizes in self.sizes]
        for number, node in enumerate(self.graph.top):
            for shapes, numbers in zip(self.shapes, refused, strict=True):
                fault = self._own_fault(node, shapes)
                if fault is None and number in numbers:
                    fault = self._clash(node, shapes)
                if fault is not None:
                    yield fault
                    break

    def _own_fault(self, node: ir.Node, shapes: Mapping[str, Shape]) -> str | None:
        """A fault of a Reshape or a recurrence that onnx's inference does not find; None if there is none."""
        names = _names(node)
        given = shapes.get(names[0]) if names else None
        if node.op_type == "Reshape" and given is not None and not attribute_of(node, "allowzero", 0):
            target = self.values.get(names[1])
            if target is not None and not _fits(given, target):
                wanted = [int(size) for size in target]
                return f"{label(node)}: {math.prod(given)} elements do not make {wanted}"
        if node.op_type == "Reshape" and given is not None and names[1] not in self.values:
            made = shapes.get(str(node.outputs[0].name))
            if made is not None and math.prod(given) != math.prod(made):
                cause = self._culprit(names[0]) or places_of(names[0], self.graph, self.shapes)
                return f"{label(node)}: {[*given]} does not make {[*made]}{cause}"
        if node.op_type in RECURRENCES and given is not None and not attribute_of(node, "layout", 0):
            states = [shapes[name] for name in names[5:7] if name in shapes]
            wrong = [state for state in states if state[1:2] != given[1:2]]
            if wrong:
                return f"{label(node)}: its first state is for a batch of {wrong[0][1]}"
        return None

    def _clash(self, node: ir.Node, shapes: Mapping[str, Shape]) -> str | None:
        """Why a node cannot take its operands; None if all of them have the same number of varying axes."""
        one, other = self.shapes
        operands = {name: shapes[name] for name in _names(node) if name in one and name in other}
        varying = {
            name: sum(a != b for a, b in zip(one[name], other[name], strict=False)) for name in operands
        }
        if node.op_type == "Expand":
            target = _names(node)[1]
            varying |= {target: 0} if target in self.values else {}
            operands[target] = tuple(self.values.get(target, ()))
        if len(set(varying.values())) < 2:
            return None
        frozen = min(varying, key=varying.__getitem__)
        told = " and ".join(str([int(size) for size in shape]) for shape in operands.values())
        return f"{label(node)} cannot take {told}: {frozen} has one size only{self._culprit(frozen)}"

    def wrong_outputs(self) -> Iterator[str]:
        """Outputs whose axes do not have the declared sizes."""
        one, other = self.shapes
        for name, wanted in self.declared.outputs.items():
            a, b = one.get(name, ()), other.get(name, ())
            if len(a) != len(wanted) or len(b) != len(wanted):
                continue
            cause = self._culprit(name)
            for axis, dim in enumerate(wanted):
                if dim in self.free:
                    sizes = tuple(each[str(dim)] for each in self.sizes)
                    if (a[axis], b[axis]) != sizes:
                        got, meant = _both((a[axis], b[axis])), _both(sizes)
                        yield f"the axis {dim} of output {name} comes out as {got}, not as {meant}{cause}"
                elif isinstance(dim, str) and dim not in self.declared.dims and a[axis] == b[axis] and cause:
                    yield f"the axis {dim} of output {name} comes out as {a[axis]} at every size{cause}"

    def cuts(self) -> Iterator[str]:
        """Slices and Resizes that bring a varying axis to a constant size."""
        for node in self.graph.top:
            if node.op_type in ("Slice", "Resize", "Upsample") and self._was_told(node):
                shape = self.shapes[0][str(node.outputs[0].name)]
                axes = [axis for axis in self._lost(node) if shape[axis] > 1]
                if axes:
                    verb = "cuts" if node.op_type == "Slice" else "resizes"
                    told = ", ".join(f"axis {axis} to {shape[axis]}" for axis in axes)
                    yield f"{label(node)} {verb} what varies: {told}"

    def _culprit(self, name: str) -> str:
        """The nearest node before a value that takes a size from a constant; "" if there is none."""
        makers = {str(value.name): node for node in self.graph.top for value in node.outputs}
        queue, seen = deque([name]), {name}
        while queue:
            node = makers.get(queue.popleft())
            if node is None:
                continue
            if self._was_told(node):
                return f", by the constant of {label(node)}"
            fresh = [entry for entry in _names(node) if entry and entry not in seen]
            seen.update(fresh)
            queue.extend(fresh)
        return ""

    def _was_told(self, node: ir.Node) -> bool:
        """Whether a node takes a size from a constant, of a varying axis or of one that it makes."""
        inputs = _names(node)
        names = [inputs[at] for at in PARAMETERS.get(node.op_type, ()) if at < len(inputs)]
        told = [self.values[name] for name in names if name in self.values]
        if not told:
            return False
        if node.op_type in ("Expand", "Tile"):
            return any(bool((values > 1).any()) for values in told)
        if node.op_type != "Reshape":
            return bool(self._lost(node))
        one, other = (shapes.get(inputs[0]) for shapes in self.shapes)
        if one is None or other is None or one == other:
            return False
        kept = {a for a, b in zip(one, other, strict=False) if a == b}
        return any(int(size) > 1 and int(size) not in kept for size in told[0])

    def _lost(self, node: ir.Node) -> list[int]:
        """The axes that vary before a node and not after it. Empty if it changes the number of axes."""
        names = _names(node)[0], str(node.outputs[0].name)
        (a, b), (c, d) = ([shapes.get(name, ()) for shapes in self.shapes] for name in names)
        if not len(a) == len(b) == len(c) == len(d):
            return []
        return [axis for axis in range(len(a)) if a[axis] != b[axis] and c[axis] == d[axis]]


def _declared_by(subject: Subject) -> _Declared:
    contract = subject.declared
    if contract is not None:
        return _Declared(
            {spec.name: spec.shape for spec in contract.inputs},
            {spec.name: spec.shape for spec in contract.outputs},
            {dim.name: dim for dim in contract.dims},
            guessed=False,
        )
    inputs, outputs = (
        {str(value.name): _named_axes(value) for value in values if value.shape is not None}
        for values in (subject.graph.inputs, subject.graph.outputs)
    )
    dims: dict[str, Dim] = {}
    for shape in inputs.values():
        for position, axis in enumerate(shape):
            if isinstance(axis, str):
                guess = GUESSED_BATCH if position == 0 else GUESSED_SIDE
                dims.setdefault(axis, Dim(axis, guess.min, guess.max, guess.multiple))
    return _Declared(inputs, outputs, dims, guessed=True)


def _named_axes(value: ir.Value) -> tuple[int | str, ...]:
    """A value's axes. One without a name is named after the value and its position; a first one "batch"."""
    return tuple(
        axis or ("batch" if position == 0 else f"{value.name}.{position}")
        for position, axis in enumerate(axes_of(value) or ())
    )


def _sizes(dims: Mapping[str, Dim]) -> tuple[dict[str, int], dict[str, int]]:
    """Two sets of sizes, one at a quarter of the range and one at its end.

    If its range allows, a dimension differs from the others and between the sets. It is above its smallest
    size too, since an axis of 1 broadcasts to any size.
    """
    one, other = {}, {}
    for position, dim in enumerate(dims.values()):
        count = (dim.max - dim.min) // dim.multiple
        low = min(count // 4 + 1 + position, max(count - 1, 0))
        high = count - min(position, max(count - low - 1, 0))
        one[dim.name] = dim.min + low * dim.multiple
        other[dim.name] = dim.min + high * dim.multiple
    return one, other


def _fits(shape: Shape, target: NDArray[Any]) -> bool:
    """Whether a Reshape can turn a shape into a target, in which 0 keeps an axis and -1 takes the rest."""
    if any(size == 0 and axis >= len(shape) for axis, size in enumerate(target)):
        return True
    sides = [shape[axis] if size == 0 else int(size) for axis, size in enumerate(target)]
    count, named = math.prod(shape), math.prod([size for size in sides if size != -1])
    return count == named if -1 not in sides else bool(named) and count % named == 0


def _names(node: ir.Node) -> list[str]:
    """The names of a node's inputs; "" for one that is left out."""
    return ["" if value is None else str(value.name) for value in node.inputs]


def _both(sizes: Sequence[int]) -> str:
    return " and ".join(dict.fromkeys(map(str, sizes)))
