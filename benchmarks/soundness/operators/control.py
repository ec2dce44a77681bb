"""Control flow."""

from typing import Any

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from soundness.operators.registry import Array, UnsupportedNodeError


class Loop(OpRun):
    """A loop whose scan outputs are stacked along a new first axis; ``onnx.reference`` joins them along the
    old one."""

    op_domain = ""
    body: ReferenceEvaluator

    def need_context(self) -> bool:
        return True

    def _run(
        self,
        most: Array | None,
        condition: Array | None,
        *carried: Array,
        context: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        **_: Any,
    ) -> tuple[Array, ...]:
        names = self.body.input_names
        results = self.body.output_names
        states = list(carried)
        scans: list[list[Array]] = [[] for _ in results[1 + len(states) :]]
        turn = 0
        alive = condition is None or bool(condition.item())
        while alive and (most is None or turn < most.item()):
            values = [np.array(turn, dtype=np.int64), np.array(alive), *states]
            outputs = self.body.run(None, {**context, **dict(zip(names, values, strict=True))}, attributes)
            assert isinstance(outputs, list)
            alive = bool(outputs[0].item())
            states = outputs[1 : 1 + len(states)]
            for scan, value in zip(scans, outputs[1 + len(states) :], strict=True):
                scan.append(value)
            turn += 1
        if scans and turn == 0:
            raise UnsupportedNodeError("Loop that collects outputs over no turn")
        return *states, *(np.stack(scan) for scan in scans)
