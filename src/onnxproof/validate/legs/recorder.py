"""See what a model's integer outputs were chosen or rounded from, while PyTorch runs it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from onnxproof.validate.legs.choices import Choice

aten = torch.ops.aten

RANKED = frozenset({aten.topk, aten.sort})
"""Operators that return scores in order, and their places."""

BEST = frozenset({aten.max, aten.min})
"""Operators that return the best score of an axis, and its place, if they are given an axis."""

PLACES = frozenset({aten.argmax, aten.argmin, aten.argsort})
"""Operators that return places alone."""

ARRANGING = frozenset(
    getattr(aten, name)
    for name in """
        alias chunk clone contiguous detach expand expand_as flatten movedim narrow permute ravel repeat
        reshape select slice split split_with_sizes squeeze swapaxes t tensor_split tile transpose unbind
        unflatten unsqueeze view view_as _reshape_alias _unsafe_view
    """.split()
)
"""Operators that arrange elements, and compute none."""

SHIFTING = frozenset(
    getattr(aten, name)
    for name in "add add_ bitwise_not logical_not rsub sub sub_ subtract to type_as _to_copy".split()
)
"""Operators that compute each element from that element alone, if all their other arguments are numbers, and
leave different integers different."""

COUNTING = SHIFTING | frozenset(
    getattr(aten, name)
    for name in """
        bitwise_and clamp clamp_ div div_ divide floor_divide floor_divide_ fmod mul mul_ multiply remainder
        remainder_
    """.split()
)
"""SHIFTING, and those that may make them equal."""

ROUNDING: Mapping[Any, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    aten.round: lambda x: (x.round() - 0.5, x.round() + 0.5),
    aten.floor: lambda x: (x.floor(), x.floor() + 1),
    aten.ceil: lambda x: (x.ceil() - 1, x.ceil()),
    aten.trunc: lambda x: (x.trunc() - (x < 1).to(x), x.trunc() + (x > -1).to(x)),
}
"""Operators that make floats whole: between which two numbers a float lies that gives the same."""

CASTING = frozenset({aten.to, aten._to_copy})
"""Operators that truncate floats, if they are asked for integers."""

COMPARING = frozenset({aten.gt, aten.ge, aten.lt, aten.le})
"""Operators that say on which side of another number a number lies."""

SORTING = {aten.bucketize: (0, 1), aten.searchsorted: (1, 0)}
"""Operators that count how many boundaries lie below a number, and which of their arguments are the numbers
and the boundaries."""

MOST_ROUNDED = 2**22
"""How many rounded or compared numbers of one tensor are followed. Each takes three floats."""

TAKING = frozenset({aten.gather, aten.index, aten.index_select, aten.embedding, aten.take})
"""Operators that read a tensor at the integers that they are given."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """A Choice in tensors."""

    scores: Tensor
    rows: Tensor
    places: Tensor
    values: Tensor
    distinct: bool
    rounded: bool = False
    compared: float = 0.0

    def to_numpy(self) -> Choice:
        """The same, in NumPy."""
        return Choice(
            self.scores.numpy(),
            self.rows.numpy(),
            self.places.numpy(),
            self.values.numpy(),
            distinct=self.distinct,
            rounded=self.rounded,
            compared=self.compared,
        )


class ChoiceRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode that follows integers from where they are chosen (top-k, sort, argmax), rounded or compared to
    the outputs.

    It follows them where they are arranged, computed with numbers, and used to read another tensor of one
    integer a place. What it cannot follow has no choice, and is compared as any other integer.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The tensor is kept beside what is known of it, so that no other tensor gets its id.
        self._known: dict[int, tuple[Tensor, _Chosen]] = {}

    def choices(self, outputs: Mapping[str, Tensor]) -> dict[str, Choice]:
        """How each of the outputs was chosen, by name; of those alone that were.

        An output that is no longer what was chosen, because a part of it was overwritten, is left out.
        """
        found = {name: self._of(tensor) for name, tensor in outputs.items()}
        return {
            name: chosen.to_numpy()
            for name, chosen in found.items()
            if chosen is not None and torch.equal(chosen.values[chosen.rows, chosen.places], outputs[name])
        }

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        returned = func(*args, **given)
        operator = func.overloadpacket
        try:
            if operator in RANKED or (operator in BEST and isinstance(returned, tuple)):
                self._choose(args[0], _axis(func, args, given), returned[1])
            elif operator in PLACES:
                self._choose(args[0], _axis(func, args, given), returned)
            elif operator in TAKING or self._of(args[0] if args else None) is not None:
                self._follow(func, operator, args, given, returned)
            else:
                self._round(operator, args, given, returned)
        except (RuntimeError, IndexError, TypeError, ValueError):
            # What cannot be followed is not excused.
            pass
        return returned

    def _of(self, value: Any) -> _Chosen | None:
        known = self._known.get(id(value))
        return None if known is None else known[1]

    def _choose(self, scores: Tensor, axis: int | None, indices: Tensor) -> None:
        """Know ``indices`` as places along an axis of the scores, or in all of them as one row."""
        if axis is None or not scores.dim():
            ranked, rows = scores.reshape(1, -1), torch.zeros_like(indices)
        else:
            ranked = scores.movedim(axis, -1)
            rows = torch.arange(ranked[..., 0].numel()).view(ranked.shape[:-1])
            if indices.dim() == scores.dim():
                along = [*rows.shape, indices.shape[axis]]
                rows = rows[..., None].expand(along).movedim(-1, axis)
            ranked = ranked.reshape(-1, ranked.shape[-1])
        values = torch.arange(ranked.shape[1]).expand(ranked.shape)
        self._keep(indices, _Chosen(ranked.clone(), rows, indices.clone(), values, distinct=True))

    def _round(self, operator: Any, args: Sequence[Any], given: Mapping[str, Any], returned: Any) -> None:
        """Know what was rounded, or compared, as a choice of the number beside it: the score of the number is
        the float itself, and the score of another lies twice as far from it as the float from where the other
        begins. So the rule for two scores, each of which may err, holds for one float.
        """
        at, boundaries = SORTING.get(operator, (0, None))
        floats = args[at] if args else None
        if not isinstance(floats, Tensor) or not floats.is_floating_point():
            return None
        if boundaries is not None:
            low, high = _around(args[boundaries], returned.reshape(-1).long())
            return self._next_to(returned, floats.reshape(-1), low.to(floats), high.to(floats))
        if operator in COMPARING:
            values, places = torch.tensor([False, True]), returned.long()
            ahead = torch.sub(floats, args[1]).reshape(-1)
            other = ahead + 2 * ahead.abs()
            scores = torch.where(places.reshape(-1, 1) == torch.arange(2), ahead[:, None], other[:, None])
            finite = floats[floats.isfinite()]
            compared = float(finite.abs().max()) if finite.numel() else 0.0
            return self._beside(returned, scores, values.expand(len(ahead), 2), places, compared)
        whole = aten.trunc if operator in CASTING and not returned.is_floating_point() else operator
        between = ROUNDING.get(whole)
        if between is None or given.get("decimals"):
            return None
        x = floats.reshape(-1)
        return self._next_to(returned, x, *between(x))

    def _next_to(self, returned: Tensor, x: Tensor, low: Tensor, high: Tensor) -> None:
        """Know each number of ``returned`` as chosen from the integers next to it, where ``x`` [n], the float
        that it was made of, lies between ``low`` and ``high`` [n]."""
        scores = torch.stack((x - 2 * (x - low), x, x + 2 * (high - x)), -1)
        numbers = returned.reshape(-1).to(x.dtype)
        values = numbers[:, None] + torch.tensor([-1, 0, 1])
        self._beside(returned, scores, values.to(returned.dtype), torch.ones_like(returned).long())

    def _beside(
        self, returned: Tensor, scores: Tensor, values: Tensor, places: Tensor, compared: float = 0.0
    ) -> None:
        """Know each number of ``returned`` as a choice from a row of its own."""
        if returned.numel() <= MOST_ROUNDED:
            rows = torch.arange(returned.numel()).view(returned.shape)
            found = _Chosen(scores, rows, places, values, distinct=False, rounded=True, compared=compared)
            self._keep(returned, found)

    def _follow(
        self, func: Any, operator: Any, args: Sequence[Any], given: Mapping[str, Any], returned: Any
    ) -> None:
        if operator in TAKING:
            taken = _taken(operator, args, self._of)
            if taken is not None:
                self._keep(returned, taken)
            return
        chosen = self._of(args[0]) if args else None
        if chosen is None:
            return
        if operator in ARRANGING:
            rows, places = (func(tensor, *args[1:], **given) for tensor in (chosen.rows, chosen.places))
            if isinstance(returned, Tensor):
                self._keep(returned, replace(chosen, rows=rows, places=places))
                return
            for part, *more in zip(returned, rows, places, strict=True):
                self._keep(part, replace(chosen, rows=more[0], places=more[1]))
        elif operator in COUNTING and all(map(_is_number, (*args[1:], *given.values()))):
            values = func(chosen.values.clone(), *args[1:], **given)
            distinct = chosen.distinct and operator in SHIFTING
            self._keep(returned, replace(chosen, values=values, distinct=distinct))

    def _keep(self, tensor: Tensor, chosen: _Chosen) -> None:
        if chosen.rows.shape == tensor.shape:
            self._known[id(tensor)] = (tensor, chosen)


def _around(boundaries: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The boundaries [k] next to numbers above which so many lie, below and above them; infinite at the ends.

    Raises IndexError for boundaries of more than one axis.
    """
    if boundaries.dim() != 1:
        raise IndexError(boundaries.shape)
    ends = boundaries.new_full((1,), float("inf"), dtype=torch.float64)
    padded = torch.cat((-ends, boundaries.to(ends), ends))
    return padded[counts], padded[counts + 1]


def _axis(func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> int | None:
    """The axis along which an operator chooses; None for all axes together."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name == "dim":
            default = argument.default_value if argument.has_default_value() else None
            named = given.get("dim", default)
            axis: int | None = args[position] if position < len(args) else named
            return axis
    return None


def _taken(operator: Any, args: Sequence[Any], known: Callable[[Any], _Chosen | None]) -> _Chosen | None:
    """What reading a tensor at chosen integers gives; None if it is not one number for each integer."""
    if operator is aten.gather:
        table, axis, index = args[:3]
        chosen = known(index)
        whole = axis in (-1, table.dim() - 1)
        if chosen is None or not whole or table.dim() != index.dim():
            return None
        rows = table.reshape(-1, table.shape[-1])
        own = torch.arange(len(rows)).view(*table.shape[:-1], 1).expand(index.shape)
        if len(rows) != len(chosen.values) or not torch.equal(chosen.rows, own):
            return None
        return replace(chosen, values=rows.gather(1, chosen.values), distinct=False)
    table = args[0]
    indices = args[1] if operator is aten.index else [args[2] if operator is aten.index_select else args[1]]
    if table.dim() != 1 or len(indices) != 1:
        return None
    chosen = known(indices[0])
    return None if chosen is None else replace(chosen, values=table[chosen.values], distinct=False)


def _is_number(value: Any) -> bool:
    return not isinstance(value, Tensor) or value.numel() == 1
