"""Axes that are declared dynamic, and that the graph holds at one size all the same.

The shapes are followed at two sets of sizes. Where a node cannot take what it is given at one of them, and
what is in the way has the same size at both, or where an output's axis does not come out as declared, the
axis is frozen: nothing depends on the data here, so this is proof, and no run is needed.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from onnxproof.tensors import Dim
from onnxproof.validate.hazards._graph import attribute_of, label
from onnxproof.validate.hazards._hazard import Hazard, Subject, advised, failed, listed, passed, skipped
from onnxproof.validate.hazards._shapes import Probe, Shape, Skeleton
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
"""At which inputs an operator is told sizes; a constant there can be one that was captured."""

GUESSED_BATCH = Dim("", 2, 8)
GUESSED_SIDE = Dim("", 64, 512, 64)
"""What is tried of a file that declares no sizes: sides in steps that every usual stride divides."""


@dataclass(frozen=True, slots=True)
class _Declared:
    """Shapes by name, in ints and names, and the named axes."""

    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    dims: Mapping[str, Dim]
    guessed: bool


def look_for_frozen_axes(subject: Subject) -> Check:
    """Whether every axis that is declared dynamic follows its input, by shapes alone."""
    try:
        skeleton = Skeleton(subject.proto)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        return skipped(NAME, f"the graph could not be followed: {str(error).strip().partition(chr(10))[0]}")
    declared = _declared_by(subject, skeleton)
    signed = list(_frozen_in_signature(subject, declared))
    free = {name: dim for name, dim in declared.dims.items() if not dim.fixed}
    if signed:
        return failed(NAME, "; ".join(signed), len(signed))
    if not free:
        return passed(NAME, "no axis is declared dynamic")
    one, other = (_follow(skeleton, declared, sizes) for sizes in _sizes(declared.dims))
    told = " and at ".join(_sized(probe.sizes) for probe in (one, other))
    clashes = list(_clashes(skeleton, one, other))
    wrong = clashes or list(_wrong_outputs(skeleton, declared, one, other))
    if wrong:
        return failed(NAME, f"{listed(wrong, '; ')} (followed at {told})", len(wrong))
    cuts = [] if declared.guessed else list(_cuts(skeleton, one, other))
    if cuts:
        reason = (
            f"{listed(cuts, '; ')}: right where the model means it, and wrong where the size was captured"
        )
        return advised(NAME, reason, len(cuts))
    unknown = sum(one.shape(node.output[0]) is None for node in skeleton.nodes if node.output)
    left = f"; {unknown} of {len(skeleton.nodes)} nodes depend on the data" if unknown else ""
    return passed(NAME, f"followed at {told}{left}")


FROZEN_AXES = Hazard(
    NAME,
    "the file says that it takes any size of these axes, and refuses some or answers in another shape: a "
    "size that was captured stands in the graph as a constant",
    "in the model, take sizes from tensors (x.shape) and not from Python numbers that were made before; try "
    'export.exporter = "torch.export", which refuses what TorchScript bakes in; or fix the axis in [dims]',
    look_for_frozen_axes,
)


def _declared_by(subject: Subject, skeleton: Skeleton) -> _Declared:
    contract = subject.declared
    if contract is not None:
        return _Declared(
            {spec.name: spec.shape for spec in contract.inputs},
            {spec.name: spec.shape for spec in contract.outputs},
            {dim.name: dim for dim in contract.dims},
            guessed=False,
        )
    inputs, outputs = (
        {value.name: _axes_of(value) for value in values if value.type.tensor_type.HasField("shape")}
        for values in (skeleton.inputs(), skeleton.graph.output)
    )
    dims: dict[str, Dim] = {}
    for shape in inputs.values():
        for position, axis in enumerate(shape):
            if isinstance(axis, str):
                guess = GUESSED_BATCH if position == 0 else GUESSED_SIDE
                dims.setdefault(axis, Dim(axis, guess.min, guess.max, guess.multiple))
    return _Declared(inputs, outputs, dims, guessed=True)


def _axes_of(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    """A value's axes; one without a name is called by its value and position, a first axis "batch"."""
    axes = value.type.tensor_type.shape.dim
    return tuple(
        axis.dim_value
        if axis.HasField("dim_value")
        else axis.dim_param or ("batch" if position == 0 else f"{value.name}.{position}")
        for position, axis in enumerate(axes)
    )


def _frozen_in_signature(subject: Subject, declared: _Declared) -> Iterator[str]:
    graph = subject.proto.graph
    for kind, values, shapes in (
        ("input", graph.input, declared.inputs),
        ("output", graph.output, declared.outputs),
    ):
        for value in values:
            axes = value.type.tensor_type.shape.dim
            for axis, wanted in zip(axes, shapes.get(value.name, ()), strict=False):
                dim = declared.dims.get(wanted) if isinstance(wanted, str) else None
                if isinstance(wanted, str) and axis.HasField("dim_value") and not (dim and dim.fixed):
                    yield f"the axis {wanted} of {kind} {value.name} is written as {axis.dim_value}"


def _sizes(dims: Mapping[str, Dim]) -> tuple[dict[str, int], dict[str, int]]:
    """Two sets of sizes, one at a quarter of the range and one at its end.

    Every dimension that can differs from the others and from itself in the other set, and is above its
    smallest, since an axis of 1 goes with any.
    """
    one, other = {}, {}
    for position, dim in enumerate(dims.values()):
        count = (dim.max - dim.min) // dim.multiple
        low = min(count // 4 + 1 + position, max(count - 1, 0))
        high = count - min(position, max(count - low - 1, 0))
        one[dim.name] = dim.min + low * dim.multiple
        other[dim.name] = dim.min + high * dim.multiple
    return one, other


def _sized(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _follow(skeleton: Skeleton, declared: _Declared, sizes: Mapping[str, int]) -> Probe:
    shapes = {
        name: tuple(sizes[axis] if isinstance(axis, str) else axis for axis in shape)
        for name, shape in declared.inputs.items()
        if all(isinstance(axis, int) or axis in sizes for axis in shape)
    }
    return skeleton.follow(
        {name: size for name, size in sizes.items() if not declared.dims[name].fixed}, shapes
    )


def _clashes(skeleton: Skeleton, one: Probe, other: Probe) -> Iterator[str]:
    """Nodes that cannot take what they are given, where one size of it varies and the other does not."""
    for position in sorted({*one.conflicts, *other.conflicts}):
        node = skeleton.nodes[position]
        probe = one if position in one.conflicts else other
        if node.op_type == "Reshape" and _is_constant(node, 1, one, other):
            yield f"{label(node)}: {probe.conflicts[position]}"
            continue
        if node.op_type in ("LSTM", "GRU", "RNN"):
            yield f"{label(node)}: {probe.conflicts[position]}"
            continue
        frozen = _held(node, probe, one, other)
        if frozen is not None:
            shapes = " and ".join(str(list(shape)) for shape in _operands(node, probe))
            cause = _culprit(skeleton, frozen, one, other)
            yield f"{label(node)} cannot take {shapes}: {frozen} has one size only{cause}"


def _operands(node: onnx.NodeProto, probe: Probe) -> list[Shape]:
    return [shape for _, shape in _named_operands(node, probe)]


def _named_operands(node: onnx.NodeProto, probe: Probe) -> list[tuple[str, Shape]]:
    """A node's operands with known shapes; the shape that an Expand is told counts as one."""
    found = []
    for position, name in enumerate(node.input):
        told = probe.values.get(name)
        if node.op_type == "Expand" and position == 1 and told is not None:
            found.append((name, tuple(int(size) for size in told)))
            continue
        shape = probe.shape(name) if name else None
        if shape is not None:
            found.append((name, shape))
    return found


def _held(node: onnx.NodeProto, probe: Probe, one: Probe, other: Probe) -> str | None:
    """Of a node's operands that do not go together, the one whose axis stays while another's varies."""
    axes = {id(each): dict(_named_operands(node, each)) for each in (one, other)}
    sizes = dict(_named_operands(node, probe))
    pairs = [(a, b) for a in sizes for b in sizes if a != b]
    for a, b in pairs:
        for axis_a, axis_b in _aligned(node, a, b, sizes):
            if sizes[a][axis_a] == sizes[b][axis_b]:
                continue
            stays = len({_at(axes[id(each)].get(a), axis_a) for each in (one, other)} - {None}) == 1
            moves = len({_at(axes[id(each)].get(b), axis_b) for each in (one, other)} - {None}) == 2
            if stays and moves:
                return a
    return None


def _at(shape: Shape | None, axis: int) -> int | None:
    return shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None


def _aligned(node: onnx.NodeProto, a: str, b: str, sizes: Mapping[str, Shape]) -> Iterator[tuple[int, int]]:
    """Which axes of two operands have to agree."""
    ranks = len(sizes[a]), len(sizes[b])
    first = list(node.input).index(a) < list(node.input).index(b)
    if node.op_type == "Concat":
        skipped_axis = attribute_of(node, "axis", 0) % max(ranks[0], 1)
        yield from ((axis, axis) for axis in range(min(ranks)) if axis != skipped_axis)
    elif node.op_type in ("MatMul", "Gemm"):
        flip_a = attribute_of(node, "transA", 0) if node.op_type == "Gemm" else 0
        flip_b = attribute_of(node, "transB", 0) if node.op_type == "Gemm" else 0
        inner = (-2 if flip_a else -1, -1 if flip_b else -2)
        yield inner if first else inner[::-1]
        yield from ((-axis, -axis) for axis in range(3, min(ranks) + 1))
    else:
        yield from ((-axis, -axis) for axis in range(1, min(ranks) + 1))


def _is_constant(node: onnx.NodeProto, position: int, one: Probe, other: Probe) -> bool:
    name = node.input[position] if position < len(node.input) else ""
    a, b = one.values.get(name), other.values.get(name)
    return a is not None and b is not None and bool(np.array_equal(a, b))


def _wrong_outputs(skeleton: Skeleton, declared: _Declared, one: Probe, other: Probe) -> Iterator[str]:
    """Outputs whose axes do not come out as declared."""
    for name, wanted in declared.outputs.items():
        a, b = one.shape(name), other.shape(name)
        if a is None or b is None or len(a) != len(wanted) or len(b) != len(wanted):
            continue
        for axis, dim in enumerate(wanted):
            cause = _culprit(skeleton, name, one, other)
            if dim in declared.dims and not declared.dims[str(dim)].fixed:
                sizes = one.sizes[str(dim)], other.sizes[str(dim)]
                if (a[axis], b[axis]) != sizes:
                    got = str(a[axis]) if a[axis] == b[axis] else f"{a[axis]} and {b[axis]}"
                    yield f"the axis {dim} of output {name} comes out as {got}, not as {_both(sizes)}{cause}"
            elif isinstance(dim, str) and dim not in declared.dims and a[axis] == b[axis] and cause:
                yield f"the axis {dim} of output {name} comes out as {a[axis]} at every size{cause}"


def _both(sizes: Sequence[int]) -> str:
    return " and ".join(map(str, sizes))


def _culprit(skeleton: Skeleton, name: str, one: Probe, other: Probe) -> str:
    """The nearest node before ``name`` that was told a size by a constant; "" where there is none."""
    queue, seen = deque([name]), {name}
    while queue:
        position = skeleton.maker.get(queue.popleft())
        if position is None:
            continue
        node = skeleton.nodes[position]
        if _was_told(node, one, other):
            return f", by the constant of {label(node)}"
        fresh = [entry for entry in node.input if entry and entry not in seen]
        seen.update(fresh)
        queue.extend(fresh)
    return ""


def _was_told(node: onnx.NodeProto, one: Probe, other: Probe) -> bool:
    """Whether a constant tells a node a size, of an axis that varies or of one that it makes."""
    positions = [at for at in PARAMETERS.get(node.op_type, ()) if _is_constant(node, at, one, other)]
    if not positions:
        return False
    if node.op_type in ("Expand", "Tile"):
        return any(bool(np.any(one.values[node.input[at]] > 1)) for at in positions)
    return bool(_lost(node, one, other)) or _regrouped(node, one, other)


def _lost(node: onnx.NodeProto, one: Probe, other: Probe) -> list[int]:
    """The axes that vary before a node and do not after it, where it keeps the number of axes."""
    before = one.shape(node.input[0]), other.shape(node.input[0])
    after = one.shape(node.output[0]), other.shape(node.output[0])
    if None in before or None in after or node.op_type == "Reshape":
        return []
    (a, b), (c, d) = before, after
    assert a is not None and b is not None and c is not None and d is not None  # noqa: PT018
    if not len(a) == len(b) == len(c) == len(d):
        return []
    return [axis for axis in range(len(a)) if a[axis] != b[axis] and c[axis] == d[axis]]


def _regrouped(node: onnx.NodeProto, one: Probe, other: Probe) -> bool:
    """Whether a Reshape to constants puts numbers of a varying axis beside a constant size that it makes."""
    if node.op_type != "Reshape":
        return False
    a, b = one.shape(node.input[0]), other.shape(node.input[0])
    target = one.values[node.input[1]]
    if a is None or b is None or a == b:
        return False
    kept = {
        size
        for size, varies in zip(a, (x != y for x, y in zip(a, b, strict=False)), strict=False)
        if not varies
    }
    return any(int(size) > 1 and int(size) not in kept for size in target)


def _cuts(skeleton: Skeleton, one: Probe, other: Probe) -> Iterator[str]:
    """Slices and Resizes to a constant size of an axis that varies."""
    for node in skeleton.nodes:
        if node.op_type not in ("Slice", "Resize", "Upsample") or not _was_told(node, one, other):
            continue
        shape = one.shape(node.output[0])
        axes = [axis for axis in _lost(node, one, other) if shape is not None and shape[axis] > 1]
        if shape is not None and axes:
            verb = "cuts" if node.op_type == "Slice" else "resizes"
            told = ", ".join(f"axis {axis} to {shape[axis]}" for axis in axes)
            yield f"{label(node)} {verb} what varies: {told}"
