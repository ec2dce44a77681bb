"""The operators that are implemented here, by domain, name and opset."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from onnxproof.validate.exact.arrays import Value

Returned = Value | tuple[Value, ...]
Function = TypeVar("Function", bound=Callable[..., Returned])

Body = Callable[..., tuple[Value, ...]]
"""The body of a loop or branch, ready to be called: values in, values out."""


def single(number: float) -> float:
    """The float32 nearest to a number: ONNX holds attributes in float32, defaults too."""
    return float(np.float32(number))


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One implementation, from opset ``since`` on.

    ``function`` takes a node's inputs (None for one that is left out), then its attributes by keyword. It
    returns one value, or a tuple if the node has several outputs. It never writes to its inputs. If it has a
    keyword ``wanted`` it is told how many outputs the node names; if it has ``opset``, the opset.
    ``ignores`` are attributes that do not change what is computed.
    """

    function: Callable[..., Returned]
    since: int
    ignores: frozenset[str]
    keywords: frozenset[str]
    required: frozenset[str]
    most_inputs: int | None

    def refusal(self, inputs: Sequence[str], attributes: Mapping[str, Any]) -> str | None:
        """Why a node with these inputs and attributes is not evaluated; None if it is."""
        if self.most_inputs is not None and len(inputs) > self.most_inputs:
            return f"it has {len(inputs)} inputs, {self.most_inputs} are known"
        unknown = sorted(set(attributes) - self.keywords - self.ignores)
        if unknown:
            return f"its attribute {unknown[0]} is not known"
        lacking = sorted(self.required - set(attributes))
        return f"it lacks the attribute {lacking[0]}" if lacking else None

    def arguments(self, attributes: Mapping[str, Any], wanted: int, opset: int) -> dict[str, Any]:
        """The keywords that ``function`` is called with."""
        told = {"wanted": wanted, "opset": opset}
        keywords = {name: value for name, value in attributes.items() if name not in self.ignores}
        return {**{name: value for name, value in told.items() if name in self.keywords}, **keywords}


_OPERATORS: dict[tuple[str, str], list[Operator]] = {}


def operator(
    *names: str, since: int = 1, domain: str = "", ignores: Sequence[str] = (), accepts: Sequence[str] = ()
) -> Callable[[Function], Function]:
    """Register a function as the operators ``names`` of ``domain`` from opset ``since`` on.

    ``accepts`` are attributes that the function takes by ``**``.
    """

    def register(function: Function) -> Function:
        entry = _described(function, since, ignores, accepts)
        for name in names:
            entries = _OPERATORS.setdefault((domain, name), [])
            if any(known.since == since for known in entries):
                raise ValueError(f"operator {name} of opset {since} is implemented twice")
            entries.append(entry)
        return function

    return register


def find(domain: str, name: str, opset: int) -> Operator | None:
    """The newest implementation that is not newer than ``opset``; None if there is none."""
    fitting = [entry for entry in _OPERATORS.get((domain, name), ()) if entry.since <= opset]
    return max(fitting, key=lambda entry: entry.since, default=None)


def _described(
    function: Callable[..., Returned], since: int, ignores: Sequence[str], accepts: Sequence[str]
) -> Operator:
    kinds = inspect.Parameter
    parameters = inspect.signature(function).parameters.values()
    keywords = [one for one in parameters if one.kind == kinds.KEYWORD_ONLY]
    places = [one for one in parameters if one.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    variadic = any(one.kind == kinds.VAR_POSITIONAL for one in parameters)
    told = {"wanted", "opset"}
    return Operator(
        function,
        since,
        frozenset(ignores),
        frozenset(one.name for one in keywords) | frozenset(accepts),
        frozenset(one.name for one in keywords if one.default is kinds.empty) - told,
        None if variadic else len(places),
    )
