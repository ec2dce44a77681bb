"""Have torch.onnx write the promotions of dtypes into a program without running the program again.

PyTorch promotes dtypes inside its operators, as where an integer is added to a float. ONNX does not, so
torch.onnx inserts casts. To learn the dtypes, it runs every operator on fake tensors. That is a sixth of what
a capture costs with dynamic sizes, and the program already tells the value of each of its nodes: a cast that
is inserted changes what a node reads, not what it gives.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import fx


@contextlib.contextmanager
def values_known() -> Iterator[None]:
    """Inside, torch.onnx takes the values of a program's nodes as they were traced.

    Does nothing if this version of torch.onnx inserts casts in another way.
    """
    try:
        from torch.onnx._internal.fx.passes import type_promotion  # noqa: PLC0415 - another torch may lack it

        found: Any = type_promotion
        interpreter, rule_for = found._TypePromotionInterpreter, found.get_type_promotion_rule
        promote, run_node = interpreter._maybe_promote_node, interpreter.run_node
    except (ImportError, AttributeError):
        yield
        return

    def as_traced(self: Any, n: fx.Node) -> Any:
        if n.op != "call_function" or "val" not in n.meta:
            return run_node(self, n)
        with self._set_current_node(n):
            rule = rule_for(n, self.type_promotion_table)
            if rule:
                promote(self, n, rule)
        return n.meta["val"]

    interpreter.run_node = as_traced
    try:
        yield
    finally:
        interpreter.run_node = run_node
