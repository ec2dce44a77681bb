"""What Python reads of sizes alone, at every declared size.

A trace's graph holds how a value follows from the inputs' shapes. So what was read once is computed at other
sizes by that part of the graph, on tensors without contents: the module is not run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import _unique_state_dict

from onnxproof.contract import Contract
from onnxproof.export.quiet import quiet, tensors_only
from onnxproof.tensors import Dim

FEWEST = 2
"""Fewer sizes of a dim are not looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The part of a trace's graph that computes one value."""

    graph: Any

    @classmethod
    def of(cls, value: Any) -> "Part | None":
        """The part that computes a value of the trace that is at work; None if it cannot be cut out."""
        state: Any = torch._C._get_tracing_state()
        graph = state.graph().copy()
        name = value.debugName()
        found = [one for node in graph.nodes() for one in node.outputs() if one.debugName() == name]
        if len(found) != 1 or list(graph.outputs()):
            return None  # it is an input of the graph, or made inside a block
        graph.registerOutput(found[0])
        torch._C._jit_pass_dce(graph)
        return cls(graph)

    def turns(
        self, module: nn.Module, contract: Contract, base: Mapping[str, int], steps: int
    ) -> Iterator[dict[str, int]]:
        """For each dim the first size, beside ``base``, at which the value is another one.

        At most ``steps`` operations are computed for a dim: of more sizes than these allow, as many are
        looked at, spread evenly. Nothing if the part does not run on tensors without contents.
        """
        most = steps // max(len(list(self.graph.nodes())), 1)
        if most < FEWEST:
            return
        dtypes = [(spec, getattr(torch, spec.dtype)) for spec in contract.inputs]
        function = torch._C._create_function_from_graph("part", self.graph)
        with quiet(), torch.no_grad(), tensors_only(module):
            held = _unique_state_dict(module, keep_vars=True).values()  # type: ignore[no-untyped-call]
            state = [tensor.detach().to("meta") for tensor in held]

        def at(sizes: Mapping[str, int]) -> Any:
            inputs = [torch.empty(spec.sized(sizes), dtype=dtype, device="meta") for spec, dtype in dtypes]
            with quiet(), torch.no_grad():
                value = function(*inputs, *state)
            return value.tolist() if isinstance(value, Tensor) else value

        try:
            own = at(base)
            for dim in contract.dims:
                for size in _spread(dim, most):
                    if at({**base, dim.name: size}) != own:
                        yield {**base, dim.name: size}
                        break
        except (RuntimeError, NotImplementedError, ValueError, TypeError):
            return


def _spread(dim: Dim, most: int) -> tuple[int, ...]:
    sizes = range(dim.min, dim.max + 1, dim.multiple)
    return tuple(sizes[:: -(-len(sizes) // most)])
