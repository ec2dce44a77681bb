"""Copies of modules that do not write into the module that they were copied from."""

import copy
from collections.abc import Iterable, Mapping
from types import CellType, FunctionType
from typing import Any

from torch import Tensor, nn


def copied(module: nn.Module, shared: Iterable[Tensor] = ()) -> nn.Module:
    """A deep copy, also of a module that keeps a computed tensor as an attribute.

    It has the parameters ``shared`` in common with the module. Hooks and other functions that it holds see
    the copy where they saw the module or what the module holds: ``copy.deepcopy`` copies no function. What
    cannot be copied, such as a lock or an open file, is the same in both.
    """
    memo: dict[int, Any] = {id(tensor): tensor for tensor in shared}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        tried = dict(memo)
        made = copy.deepcopy(module, tried)
    except TypeError:
        tried = {**memo, **_uncopied(module, memo)}
        made = copy.deepcopy(module, tried)
    memo = tried
    for part in made.modules():
        for name, value in vars(part).items():
            if isinstance(value, FunctionType):
                vars(part)[name] = _bound_anew(value, memo)
            elif isinstance(value, dict):  # of hooks, for one
                for key, one in value.items():
                    if isinstance(one, FunctionType):
                        value[key] = _bound_anew(one, memo)
    return made


def _uncopied(module: nn.Module, memo: Mapping[int, Any]) -> dict[int, Any]:
    """The attributes of the module's parts that cannot be copied, by id."""
    kept: dict[int, Any] = {}
    for part in module.modules():
        for name, value in vars(part).items():
            if name in vars(nn.Module()):  # parameters, buffers, parts and hooks
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except TypeError:
                kept[id(value)] = value
    return kept


def _bound_anew(function: FunctionType, copies: Mapping[int, Any]) -> FunctionType:
    """The function with the copies, by their original's id, in place of what it is bound to."""
    cells = function.__closure__ or ()
    bound = tuple(_cell(cell, copies) for cell in cells)
    if all(here is there for here, there in zip(cells, bound, strict=True)):
        return function
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, bound
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__dict__.update(function.__dict__)
    return made


def _cell(cell: CellType, copies: Mapping[int, Any]) -> CellType:
    try:
        held = cell.cell_contents
    except ValueError:  # a variable that is not assigned yet
        return cell
    new = copies.get(id(held), held)
    return cell if new is held else CellType(new)
