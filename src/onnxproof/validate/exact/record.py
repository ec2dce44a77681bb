"""Record what a module computes: every tensor in order, or only what depends on no input."""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from onnxproof.system.usercode import no_exit
from onnxproof.validate.exact.checkpoint import Array, Weights, as_pairs
from onnxproof.validate.exact.known import CUT_AT, Known, Recorded, Source
from onnxproof.validate.exact.layouts import places, sample
from onnxproof.validate.exact.plain import PLAIN
from onnxproof.wrappers.attention import without_fast_path
from onnxproof.wrappers.control_flow import unfolded
from onnxproof.wrappers.copies import copied
from onnxproof.wrappers.double.float64 import Float64
from onnxproof.wrappers.double.weights import lendable
from onnxproof.wrappers.family import WrappedModel

DECOMPOSED = frozenset(
    """
    silu hardswish hardsigmoid gelu mish softplus elu glu leaky_relu hardtanh _softmax _log_softmax addmm
    baddbmm addcmul addcdiv native_layer_norm native_group_norm native_batch_norm var_mean rsub reciprocal
    _native_batch_norm_legit_no_training _scaled_dot_product_flash_attention_for_cpu logsumexp
    """.split()
)
"""Operations of PyTorch that ONNX exporters write as several nodes. Their inner values are recorded too, as
torch's own decompositions compute them."""

DECOMPOSITION_DEPTH = 3
"""How many levels of decompositions are recorded."""

CUTTING = frozenset("clamp clamp_min clamp_max hardtanh threshold minimum maximum logit".split())
"""Operations that cut off at a number that they are given."""


Visit = Callable[[int, str, Tensor, tuple[int, ...]], None]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers every tensor that is computed inside its ``with``, and passes it to ``visit``.

    ``given`` is called with each operation and its arguments, before it runs. ``depth`` is how many levels of
    decompositions are recorded.
    """

    def __init__(
        self,
        visit: Visit,
        given: Callable[[Any, Sequence[Any]], None] | None = None,
        depth: int = DECOMPOSITION_DEPTH,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._visit = visit
        self._given = given
        self._deepest = depth
        self._numbers: Any = WeakTensorKeyDictionary()
        self._count = 0
        self._depth = 0

    def note(self, operation: str, tensor: Tensor, sources: tuple[int, ...]) -> None:
        """Give a tensor the next number."""
        self._numbers[tensor] = self._count
        self._count += 1
        self._visit(self._count - 1, operation, tensor, sources)

    def number_of(self, tensor: Tensor) -> int:
        """A tensor's number; it gets one if it has none."""
        if tensor not in self._numbers:
            self.note("output", tensor, ())
        number: int = self._numbers[tensor]
        return number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        if self._given is not None:
            self._given(func, leaves)
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        sources = tuple(dict.fromkeys(self._numbers[leaf] for leaf in given if leaf in self._numbers))
        self._decompose(func, args, kwargs)
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and self._worth_noting(func, leaf, sources):
                self.note(str(func).removeprefix("aten."), leaf, sources)
        return result

    def _worth_noting(self, func: Any, result: Tensor, sources: tuple[int, ...]) -> bool:
        """Whether to record a result: not if it is empty, was returned unchanged, or is a decomposition's
        arithmetic on weights."""
        if result.layout != torch.strided or not result.numel():
            return False
        if result in self._numbers and not func._schema.is_mutable:
            return False
        return bool(sources) or not self._depth

    def _decompose(self, func: Any, args: Any, kwargs: Any) -> None:
        """Compute the operation's inner values, only to record them."""
        name = func._schema.name.removeprefix("aten::")
        if self._depth >= self._deepest or name.removesuffix("_") not in DECOMPOSED:
            return
        pure = func
        if func._schema.is_mutable:
            packet = getattr(torch.ops.aten, name.removesuffix("_"), None)
            pure = getattr(packet, func._overloadname, None)
        parts = decomposition_table.get(pure)
        if parts is None or pure._schema.is_mutable:
            return
        self._depth += 1
        try:
            # If torch's decomposition fails here, some values only lack a counterpart.
            with self, contextlib.suppress(RuntimeError, TypeError, ValueError, NotImplementedError):
                parts(*args, **kwargs)
        finally:
            self._depth -= 1


Table = tuple[str, Array]
"""A tensor that is computed from no input, and by what."""

LARGEST_TABLES = 2**28
"""Bytes of tensors computed from no input that are kept. What comes after is not known."""

ALIKE = 1e-3
"""The most by which float32 may be off in a tensor that is computed from no input, as a share of its largest
number. Two tensors that were trained apart differ by more."""

MOST_SCALARS = 256
"""The most different scalars of a run that are kept."""


def known_of(
    model: WrappedModel, inputs: Mapping[str, Array], rewritten: frozenset[str] = frozenset()
) -> Known:
    """What is known of a wrapped model: its tensors, and what it computes on ``inputs`` from no input.

    Small inputs are enough. The model runs when a constant asks for it: twice, in float64 and in float32.
    ``rewritten`` names the tensors that it replaces or writes into when it runs.
    """
    known = known_of_module(model.module, inputs, rewritten)
    return replace(known, weights=replace(known.weights, rounded_to=model.rounded_to))


def known_of_module(
    module: nn.Module, inputs: Mapping[str, Array], rewritten: frozenset[str] = frozenset()
) -> Known:
    """What is known of a module whose inputs are these, in the order of its ``forward``."""
    weights = Weights.of(module)
    for name, buffer in module.named_buffers():
        if name in weights.tensors or not (buffer.is_floating_point() or buffer.is_complex()):
            continue
        held = buffer.detach().cpu().resolve_conj().numpy()
        held = as_pairs(held) if buffer.is_complex() else held
        weights = replace(weights, tensors={**weights.tensors, name: held})
    return Known(weights, lambda: _record(module, inputs), rewritten, checkpoint=True)


def _record(module: nn.Module, inputs: Mapping[str, Array]) -> Recorded:
    given = [torch.from_numpy(array) for array in inputs.values()]
    try:
        double = Float64(module)
        wide = [*map(double.widen, given)]
        exact, run = _tables(double.module, wide, double.running(), double.parameter_of)
    except Exception as error:  # noqa: BLE001 - the model's own code may raise any type
        reason = str(error).strip().partition("\n")[0]
        return Recorded(missing=f"the model does not run in float64 ({type(error).__name__}: {reason})")
    try:
        single, _ = _tables(copied(module, lendable(module).values()), given, torch.no_grad())
    except Exception:  # noqa: BLE001
        single = []
    tables = tuple(
        Source(name, one, other, True)
        for (name, one), other in zip(exact, _beside(exact, single), strict=True)
    )
    return replace(run, tables=tables)


def _beside(exact: Sequence[Table], single: Sequence[Table]) -> list[Array]:
    """What the second run made of each table of the first: the table itself where it made none.

    One run may cast where the other does not. So a table's partner is the next one that the same operation
    made, in the same shape and of nearly the same numbers.
    """
    made: dict[tuple[str, tuple[int, ...]], list[Array]] = defaultdict(list)
    for name, array in single:
        made[name, array.shape].append(array)
    found = []
    for name, array in exact:
        others = made[name, array.shape]
        at = next((at for at, other in enumerate(others) if _alike(array, other)), None)
        found.append(array if at is None else others[at])
        if at is not None:
            del others[: at + 1]
    return found


def _alike(exact: Array, single: Array) -> bool:
    """Whether float32 may have made of a tensor what the other one holds."""
    few = places(exact.size)
    return _within(sample(exact, few), sample(single, few), exact) and _within(exact, single, exact)


def _within(one: Array, other: Array, scale: Array) -> bool:
    with np.errstate(all="ignore"):
        limit = ALIKE * np.max(np.abs(scale), where=np.isfinite(scale), initial=0)
        return bool(np.all((np.abs(one - other) <= limit) | ~np.isfinite(one)))


def _no_parameter(_: Tensor) -> Tensor | None:
    return None


def _tables(
    module: nn.Module,
    given: Sequence[Tensor],
    running: AbstractContextManager[Any],
    parameter_of: Callable[[Tensor], Tensor | None] = _no_parameter,
) -> tuple[list[Table], Recorded]:
    """The tensors that the module computes from no input, and what was recorded of its operations.

    ``parameter_of`` gives the parameter of which a tensor is a view, if it is not in the module's own memory.
    """
    module.eval()
    # They are held, so that no table gets the memory of one that the module replaces.
    held = [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]
    own = {tensor.untyped_storage().data_ptr(): tensor.numel() for tensor in held}
    dependent: set[int] = set()
    scalars: dict[float, None] = {}
    bounds: Counter[float] = Counter()
    operations: set[str] = set()
    numbers: set[float] = set()
    tables: list[tuple[str, Array]] = []
    leaves: set[int] = set()
    room = LARGEST_TABLES

    def keep(name: str, tensor: Tensor) -> None:
        nonlocal room
        if tensor.is_complex():  # a file has its parts
            for part in torch.view_as_real(tensor.resolve_conj()).unbind(-1):
                keep(name, part)
            return
        parameter = parameter_of(tensor)
        size = own.get(tensor.untyped_storage().data_ptr()) if parameter is None else parameter.numel()
        if not tensor.is_floating_point() or size == tensor.numel() or tensor.dtype == torch.bfloat16:
            return
        taken = 0 if size else tensor.numel() * tensor.element_size()
        if taken <= room:
            room -= taken
            tables.append((name, tensor.detach().numpy()))

    def visit(number: int, operation: str, tensor: Tensor, sources: tuple[int, ...]) -> None:
        if operation == "input" or not dependent.isdisjoint(sources):
            dependent.add(number)
        else:
            keep(f"what {operation.partition('.')[0]} makes of no input", tensor)

    def take(operation: Any, arguments: Sequence[Any]) -> None:
        bounds.update(set(_cut_at(operation, arguments)))
        name = _name_of(operation)
        operations.add(name)
        if name not in PLAIN and len(numbers) < MOST_SCALARS:
            numbers.update(_numbers(arguments))
        for argument in arguments:
            if isinstance(argument, float) and len(scalars) < MOST_SCALARS:
                scalars[argument] = None
            elif isinstance(argument, Tensor) and id(argument) not in leaves:
                leaves.add(id(argument))

    recorder = Recorder(visit, take, depth=0)
    with torch.no_grad(), without_fast_path(), unfolded():
        for tensor in given:
            recorder.note("input", tensor, ())
        with recorder, running, no_exit("the module's forward"):
            module(*given)
    run = Recorded(
        scalars=tuple(scalars),
        bounds=bounds,
        operations=frozenset(operations),
        numbers=frozenset(numbers),
    )
    return tables, run


def _name_of(operation: Any) -> str:
    """An operation's name without its overload, except that of a division that rounds."""
    name: str = operation._schema.name.removeprefix("aten::").removesuffix("_")
    return f"{name}.rounded" if operation._overloadname.endswith("_mode") else name


def _cut_at(operation: Any, arguments: Sequence[Any]) -> Iterator[float]:
    """The numbers at which an operation cuts off: given, or its defaults."""
    name = _name_of(operation).partition(".")[0]
    yield from CUT_AT.get(name, ())
    if name not in CUTTING:
        return
    defaults = [one.default_value for one in operation._schema.arguments if one.has_default_value()]
    for number in _numbers((*arguments, *defaults)):
        yield from (number, 1 - number) if name == "logit" else (number,)


def _numbers(arguments: Sequence[Any]) -> Iterator[float]:
    """The single numbers among an operation's arguments."""
    for argument in arguments:
        if isinstance(argument, Tensor) and argument.numel() == 1 and not argument.is_complex():
            yield float(argument)
        elif isinstance(argument, int | float):
            yield argument
