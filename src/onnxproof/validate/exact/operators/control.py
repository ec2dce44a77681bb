"""Control flow: branches, loops and scans."""

from collections.abc import Sequence

import numpy as np

from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.errors import UnsupportedNodeError
from onnxproof.validate.exact.registry import Body, operator

MOST_TURNS = 2**17
"""Turns of a loop after which it counts as one without end. Loops over the steps of a sequence have fewer."""


@operator("If")
def _if(condition: Array, *, then_branch: Body, else_branch: Body) -> tuple[Value, ...]:
    return then_branch() if bool(condition.item()) else else_branch()


@operator("Loop")
def _loop(
    most: Array | None, condition: Array | None, *carried: Value, body: Body, wanted: int
) -> tuple[Value, ...]:
    """What the body returns beyond its states is stacked along a new first axis."""
    states = list(carried)
    scans: list[list[Array]] = [[] for _ in range(wanted - len(states))]
    alive = condition is None or bool(condition.item())
    turn = 0
    while alive and (most is None or turn < most.item()):
        if turn == MOST_TURNS:
            raise UnsupportedNodeError(f"the loop does not end within {MOST_TURNS} turns")
        outputs = body(np.array(turn, np.int64), np.array(alive), *states)
        alive = bool(outputs[0].item())
        states = list(outputs[1 : 1 + len(states)])
        for scan, value in zip(scans, outputs[1 + len(carried) :], strict=False):
            scan.append(value)
        turn += 1
    if not turn and scans:
        empty = _of_no_turn(body, [np.array(0, np.int64), np.array(True), *carried])
        return *states, *empty[1 + len(carried) :]
    return *states, *(np.stack(scan) for scan in scans)


def _of_no_turn(body: Body, inputs: Sequence[Value]) -> list[Array]:
    """What a loop without a turn collects: nothing, in the shape and type that a turn would have given.

    The body runs once to find these out. Raises NotImplementedError if it does not.
    """
    try:
        outputs = body(*inputs)
    except Exception as error:
        # Whatever keeps the body from running, such as an index of an empty sequence.
        raise NotImplementedError("a loop that collects outputs over no turn") from error
    return [np.zeros((0, *one.shape), one.dtype) for one in outputs if isinstance(one, np.ndarray)]


@operator("Scan", since=9)
def _scan(
    *inputs: Value,
    body: Body,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] | None = None,
    scan_input_directions: Sequence[int] | None = None,
    scan_output_axes: Sequence[int] | None = None,
    scan_output_directions: Sequence[int] | None = None,
    wanted: int,
) -> tuple[Value, ...]:
    count = len(inputs) - num_scan_inputs
    states, scanned = list(inputs[:count]), inputs[count:]
    slices = [
        np.flip(np.moveaxis(x, axis, 0), 0) if backwards else np.moveaxis(x, axis, 0)
        for x, axis, backwards in zip(
            scanned,
            scan_input_axes or [0] * num_scan_inputs,
            scan_input_directions or [0] * num_scan_inputs,
            strict=True,
        )
    ]
    collected: list[list[Array]] = [[] for _ in range(wanted - count)]
    turns = len(slices[0])
    for turn in range(turns):
        outputs = body(*states, *(np.array(one[turn]) for one in slices))
        states = list(outputs[:count])
        for values, value in zip(collected, outputs[count:], strict=False):
            values.append(value)
    if turns:
        stacks = [np.stack(values) for values in collected]
    else:
        first = [np.zeros(one.shape[1:], one.dtype) for one in slices]
        stacks = _of_no_turn(body, [*states, *first])[count:][: len(collected)]
    axes = scan_output_axes or [0] * len(stacks)
    backwards = scan_output_directions or [0] * len(stacks)
    ordered = (np.flip(one, 0) if back else one for one, back in zip(stacks, backwards, strict=True))
    return *states, *(np.moveaxis(one, 0, axis) for one, axis in zip(ordered, axes, strict=True))


@operator("Scan", since=8)
def _scan_of_batches(
    lengths: Array | None,
    *inputs: Array,
    body: Body,
    num_scan_inputs: int,
    directions: Sequence[int] | None = None,
    wanted: int,
) -> tuple[Value, ...]:
    """Each row of the batch on its own, as far as its length; what it does not collect is 0."""
    rows: list[tuple[Value, ...]] = []
    count = len(inputs) - num_scan_inputs
    for row in range(len(inputs[0])):
        whole = inputs[count].shape[1]
        length = whole if lengths is None else int(lengths[row])
        states, scanned = [one[row] for one in inputs[:count]], [one[row][:length] for one in inputs[count:]]
        outputs = _scan(
            *states,
            *scanned,
            body=body,
            num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions,
            wanted=wanted,
        )
        filled = [np.pad(one, [(0, whole - length), *[(0, 0)] * (one.ndim - 1)]) for one in outputs[count:]]
        rows.append((*outputs[:count], *filled))
    return tuple(np.stack(values) for values in zip(*rows, strict=True))


@operator("SequenceMap")
def _sequence_map(first: Sequence[Value], *others: Value, body: Body, wanted: int) -> tuple[Value, ...]:
    """The body's outputs for each element; another sequence gives its element, a tensor stays itself."""
    results: list[list[Value]] = [[] for _ in range(wanted)]
    for index, element in enumerate(first):
        rest = (one[index] if isinstance(one, list) else one for one in others)
        for values, value in zip(results, body(element, *rest), strict=False):
            values.append(value)
    return tuple(results)
