"""PyTorch's control flow (``torch.cond``, ``while_loop``, ``scan``, ``flex_attention``) as plain Python."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._higher_order_ops.associative_scan import generic_associative_scan
from torch._ops import HigherOrderOperator
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_structure, tree_unflatten

from onnxproof.wrappers.alone import alone

Function = Callable[..., Any]


@contextlib.contextmanager
def unfolded() -> Iterator[None]:
    """Inside, PyTorch's higher order operators run as they are written: a branch, a loop.

    PyTorch compiles them first, also in eager mode: anew for other sizes, and past the dispatch modes in
    which a module runs in float64 or is recorded. The answers are the same.
    """
    with alone():
        yield from _unfolded()


def _unfolded() -> Iterator[None]:
    library: Any = torch
    operators: Any = HigherOrderOperator
    compiler, dispatch = library.compile, operators.dispatch
    # The operator itself takes no nested tuples: the compiler flattens them.
    known = torch.cond.__globals__
    operator = known["cond_op"]

    def dispatched(self: Any, /, key: DispatchKey, *args: Any, **kwargs: Any) -> Any:
        if _is_transform(key):
            return dispatch(self, key, *args, **kwargs)
        rule = _rule(self)
        if rule is not None:
            return rule(*args, **kwargs)
        if _get_current_dispatch_mode() is not None:
            raise NotImplementedError(f"PyTorch's operator {self.name()} runs in no other dtype than its own")
        return dispatch(self, key, *args, **kwargs)

    library.compile, known["cond_op"] = _uncompiled, _cond
    operators.dispatch = dispatched
    try:
        yield
    finally:
        library.compile, known["cond_op"] = compiler, operator
        operators.dispatch = dispatch


def _uncompiled(function: Function | None = None, **options: Any) -> Any:
    """In place of ``torch.compile``: the function itself."""
    return functools.partial(_uncompiled, **options) if function is None else function


def _is_transform(key: DispatchKey) -> bool:
    """Whether the operator is changed before it runs: by ``vmap`` or ``grad``, or by autocast."""
    return key == DispatchKey.FuncTorchDynamicLayerFrontMode or key.name.startswith("Autocast")


def _rule(operator: Any) -> Function | None:
    """What carries an operator out; None if PyTorch has it in compiled code only."""
    kernels: Mapping[DispatchKey, Function] = operator.py_kernels
    known = (
        kernels[key] for key in (DispatchKey.CompositeExplicitAutograd, DispatchKey.CPU) if key in kernels
    )
    return RULES.get(operator.name(), next(known, None))


def _cond(condition: Any, then: Function, otherwise: Function, operands: Sequence[Any] = ()) -> Any:
    return then(*operands) if condition else otherwise(*operands)


def _switch(index: Any, branches: Sequence[Function], operands: Sequence[Any] = ()) -> Any:
    chosen = int(index.item()) if isinstance(index, Tensor) else int(index)
    return branches[chosen](*operands)


def _while_loop(
    condition: Function, body: Function, carried: Sequence[Any], more: Sequence[Any] = (), **_: Any
) -> Any:
    values: list[Any] = [value.clone() if isinstance(value, Tensor) else value for value in carried]
    structure: TreeSpec | None = None
    while condition(*values, *more):
        values, structure = tree_flatten(body(*values, *more))
    return tuple(values) if structure is None else tree_unflatten(values, structure)


def _scan(
    step: Function, carried: Sequence[Any], read: Sequence[Tensor], more: Sequence[Any] = (), **_: Any
) -> Any:
    """``step`` returns what it carries on, and then what is stacked."""
    values, written = list(carried), []
    structure: TreeSpec | None = None
    for row in zip(*(tensor.unbind(0) for tensor in read), strict=True):
        returned, structure = tree_flatten(step(*values, *row, *more))
        values = returned[: len(carried)]
        written.append(returned[len(carried) :])
    if structure is None:  # no row: the step is run on zeros, for the shapes of what it returns
        shown = step(*values, *(tensor.new_zeros(tensor.shape[1:]) for tensor in read), *more)
        returned, structure = tree_flatten(shown)
        stacked = [one if one is None else one[None][:0] for one in returned[len(carried) :]]
    else:
        stacked = [None if each[0] is None else torch.stack(each) for each in zip(*written, strict=True)]
    return tree_unflatten([*values, *stacked], structure)


def _associative_scan(combine: Function, read: Sequence[Tensor], more: Sequence[Any] = ()) -> Any:
    """In the order in which PyTorch combines: neighbours first."""
    first = [tensor[:1] for tensor in read]
    structure = tree_structure(combine(*first, *first, *more))
    found = generic_associative_scan(combine, read, additional_inputs=more)  # type: ignore[no-untyped-call]
    return tree_unflatten(found, structure)


RULES: Mapping[str, Function] = {
    "cond": _cond,
    "switch": _switch,
    "while_loop": _while_loop,
    "scan": _scan,
    "associative_scan": _associative_scan,
}
"""Operators whose own kernels in PyTorch refuse to run inside a dispatch mode, or leave it to the compiler to
put what they return into nested tuples."""
