"""The rules of the bounds, by operator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxproof.validate.bounds.model import SMALLEST, SMALLEST_HALF, TINY, UNITS
from onnxproof.validate.exact.arrays import Array, Value
from onnxproof.validate.exact.block import Step
from onnxproof.validate.exact.graph import ExactGraph
from onnxproof.validate.exact.load import attribute_value
from onnxproof.validate.exact.reference import standard


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A node whose outputs are asked after.

    ``inputs`` are the values that a runtime gave the node, floats as float64, in the order of ``step.reads``.
    ``exact`` are the outputs for them in float64. ``unit`` is the unit roundoff of the outputs' dtype.
    """

    graph: ExactGraph
    step: Step
    inputs: tuple[Value, ...]
    exact: tuple[Value, ...]
    unit: float

    @property
    def x(self) -> Array:
        """The first input."""
        return np.asarray(self.inputs[0])

    @property
    def y(self) -> Array:
        """The first output."""
        return np.asarray(self.exact[0])

    def given(self, index: int) -> Array | None:
        """An input; None if it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return None if value is None else np.asarray(value)

    def attribute(self, name: str, default: Any) -> Any:
        """The value of an attribute of the node."""
        found = next((one for one in self.step.proto.attribute if one.name == name), None)
        return default if found is None else attribute_value(found)

    def magnitudes(self, **attributes: Any) -> tuple[Value, ...]:
        """The outputs for the magnitudes of the float inputs: the sums of the magnitudes of all terms.

        ``attributes`` replace the node's own; None takes one away.
        """
        return self.again([_magnitude(value) for value in self.inputs], **attributes)

    def again(self, inputs: Sequence[Value], **attributes: Any) -> tuple[Value, ...]:
        """The outputs for other inputs. ``attributes`` are those of ``magnitudes``."""
        changed = {**self.step.attributes, **attributes}
        kept = {name: value for name, value in changed.items() if value is not None}
        return self.graph.run_node(replace(self.step, attributes=kept), inputs)


Allowed = Array | float | None
"""What an output may be off by beyond one rounding of the exact value: an array that broadcasts to the
output, or a number. None for an output that is held to one rounding alone."""

Rule = Callable[[Asked], Allowed | tuple[Allowed, ...]]

_RULES: dict[tuple[str, str], Rule] = {}

_GRADUAL: set[tuple[str, str]] = set()


def bounded(*names: str, domain: str = "", gradual: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for the operators ``names`` of ``domain``.

    What is below the smallest normal number may be lost, unless the kernels are ``gradual``: then it is
    rounded as the rule says.
    """

    def register(rule: Rule) -> Rule:
        for name in names:
            if (domain, name) in _RULES:
                raise ValueError(f"the bound of operator {name} is registered twice")
            _RULES[domain, name] = rule
            if gradual:
                _GRADUAL.add((domain, name))
        return rule

    return register


def has_rule(step: Step) -> bool:
    """Whether the step's operator has a rule, so that it may be off by more than one rounding."""
    return _key(step) in _RULES


def allowances(asked: Asked) -> tuple[Array | None, ...]:
    """By how much each output may be off. None for an output that is no float, and so has to be equal.

    Raises what ``ExactGraph.run_node`` raises.
    """
    rule = _RULES.get(_key(asked.step))
    least = _least(_key(asked.step), asked.unit)
    with np.errstate(all="ignore"):  # a masked softmax has terms of 0 times infinity
        extra = rule(asked) if rule is not None else None
        extras = extra if isinstance(extra, tuple) else (extra,)
        extras = (*extras, *[None] * (len(asked.exact) - len(extras)))
        return tuple(
            _allowance(value, one, asked.unit, least) for value, one in zip(asked.exact, extras, strict=False)
        )


def _least(key: tuple[str, str], unit: float) -> float:
    """What any number may be off by, however small it is."""
    if unit == UNITS["float16"]:
        return SMALLEST_HALF
    return TINY if unit == UNITS["bfloat16"] or (key in _RULES and key not in _GRADUAL) else SMALLEST


def _allowance(value: Value, extra: Allowed, unit: float, least: float) -> Array | None:
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return None
    rounding: Array = unit * np.abs(value) + least
    return rounding if extra is None else np.asarray(rounding + extra)


def _key(step: Step) -> tuple[str, str]:
    return standard(step.proto.domain), step.proto.op_type


def _magnitude(value: Value) -> Value:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.abs(value)
    return value
