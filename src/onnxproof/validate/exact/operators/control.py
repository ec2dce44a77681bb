"""Control flow."""

import numpy as np

from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.registry import Body, operator


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
        outputs = body(np.array(turn, np.int64), np.array(alive), *states)
        alive = bool(outputs[0].item())
        states = list(outputs[1 : 1 + len(states)])
        for scan, value in zip(scans, outputs[1 + len(states) :], strict=True):
            scan.append(value)
        turn += 1
    return *states, *(_stacked(scan) for scan in scans)


def _stacked(scan: list[Array]) -> Array:
    if not scan:
        raise NotImplementedError("a loop that collects outputs over no turn")
    return np.stack(scan)
