"""A graph as a list of steps, and the loop that runs them.

A value is freed after the last step that reads it, so that no more is held than the graph needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from onnxproof.validate.exact.arrays import Value
from onnxproof.validate.exact.errors import ForbiddenNodeError, UnsupportedNodeError
from onnxproof.validate.exact.later import made
from onnxproof.validate.exact.witness import is_forbidden

Watch = Callable[["Step", tuple[Value, ...], tuple[Value, ...]], None]
"""Called after each step with the step, the values of ``reads`` and those of ``writes``."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One node, ready to be computed.

    ``reads`` are the names of its inputs in order ("" for one that is left out), then the names that its
    bodies read from outside (``captures``). ``writes`` are the names of its outputs ("" for one that is not
    named). ``lack`` says why the node is not evaluated; it is None if it is.
    """

    proto: NodeProto
    opset: int
    reads: tuple[str, ...]
    captures: tuple[str, ...]
    writes: tuple[str, ...]
    function: Callable[..., Any]
    attributes: Mapping[str, Any]
    blocks: Mapping[str, "Block"]
    lack: "Lack | None"

    @property
    def label(self) -> str:
        """The node's name; if it has none, the operator and the first output."""
        return label_of(self.proto)

    def compute(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """The values of ``writes`` for those of ``reads``.

        Raises LackingError if the node is not evaluated, StepError if it does not take the values. An
        implementation that raises does not tell the two apart; ``is_forbidden`` does.
        """
        if self.lack is not None:
            raise LackingError(self.lack)
        inputs = values[: len(self.reads) - len(self.captures)]
        outside = dict(zip(self.captures, values[len(inputs) :], strict=True))
        bound = {name: block.bound(outside) for name, block in self.blocks.items()}
        try:
            return _complete(self.function(*inputs, **self.attributes, **bound), len(self.writes))
        except (LackingError, StepError):
            raise
        except (UnsupportedNodeError, NotImplementedError, TypeError, AttributeError) as error:
            # TypeError and AttributeError: a value of a kind that the operator was not written for.
            raise LackingError(Lack.of(self.proto, self.opset, str(error))) from error
        except ForbiddenNodeError as error:
            raise StepError(f"{self.label}: {error}") from error
        except Exception as error:
            # Operators raise whatever NumPy and torch raise for shapes that do not fit.
            said = f"{type(error).__name__}: {error}"
            if not self.blocks and is_forbidden(self.proto, self.opset, inputs):
                raise StepError(f"{self.label}: {said}") from error
            raise LackingError(Lack.of(self.proto, self.opset, said)) from error


@dataclass(frozen=True, slots=True)
class Lack:
    """An operator that is not evaluated: its name, its domain ("" is ONNX's own), the opset, the node's
    label, and the reason."""

    operator: str
    domain: str
    opset: int
    node: str
    reason: str

    @classmethod
    def of(cls, node: NodeProto, opset: int, reason: str) -> "Lack":
        """That a node is not evaluated, and why."""
        return cls(node.op_type, node.domain, opset, label_of(node), reason)

    def __str__(self) -> str:
        domain = f"{self.domain}." if self.domain else ""
        return f"{domain}{self.operator} of opset {self.opset} ({self.node}): {self.reason}"


def label_of(node: NodeProto) -> str:
    """The node's name; if it has none, the operator and the first output."""
    return node.name or f"{node.op_type} of {next(filter(None, node.output), '')}"


class LackingError(Exception):
    """A node is not evaluated."""

    def __init__(self, lack: Lack) -> None:
        super().__init__(str(lack))
        self.lack = lack


class StepError(Exception):
    """A node's operator does not take its values. The cause is what it raised."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A graph, a body of one, or a function.

    ``steps`` are in order. ``frees[i]`` are the names that no step after step ``i`` reads. A large constant
    may be a Later.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Value]
    steps: tuple[Step, ...]
    frees: tuple[tuple[str, ...], ...]

    @classmethod
    def of(
        cls,
        inputs: Sequence[str],
        outputs: Sequence[str],
        constants: Mapping[str, Value],
        steps: Sequence[Step],
    ) -> "Block":
        """A block with the steps that ``outputs`` need, and the constants that those steps read."""
        needed = set(outputs)
        kept: list[Step] = []
        frees: list[tuple[str, ...]] = []
        for step in reversed(steps):
            if needed.isdisjoint(filter(None, step.writes)):
                continue
            last = {name for name in (*step.reads, *step.writes) if name and name not in needed}
            frees.append(tuple(name for name in last if name not in constants))
            needed |= set(filter(None, step.reads))
            kept.append(step)
        return cls(
            tuple(inputs),
            tuple(outputs),
            {name: value for name, value in constants.items() if name in needed},
            tuple(reversed(kept)),
            tuple(reversed(frees)),
        )

    def run(
        self, values: Mapping[str, Value], watch: Watch | None = None, lost: dict[str, Lack] | None = None
    ) -> dict[str, Value]:
        """The outputs by name. ``values`` has the inputs, and what the block reads from outside.

        With ``lost``, a node that is not evaluated stops nothing: ``lost`` is filled with the names that
        depend on it, and they are not among the outputs returned. Without, raises LackingError. Raises
        StepError if a node does not take its values.
        """
        held = {**self.constants, **values}
        for step, frees in zip(self.steps, self.frees, strict=True):
            inherited = _inherited(step, lost) if lost else None
            if lost is not None and inherited is not None:
                lost |= dict.fromkeys(filter(None, step.writes), inherited)
                continue
            unknown = next((name for name in step.reads if name and name not in held), None)
            if unknown is not None:
                raise StepError(f"{step.label} reads {unknown}, which nothing before it writes")
            given = tuple(made(held[name]) if name else None for name in step.reads)
            try:
                computed = step.compute(given)
            except LackingError as error:
                if lost is None:
                    raise
                lost |= dict.fromkeys(filter(None, step.writes), error.lack)
                continue
            held |= {name: value for name, value in zip(step.writes, computed, strict=True) if name}
            if watch is not None:
                watch(step, given, computed)
            del given, computed
            for name in frees:
                held.pop(name, None)
        wanted = [name for name in self.outputs if not lost or name not in lost]
        if not held.keys() >= set(wanted):
            raise StepError(f"nothing writes the output {min(set(wanted) - held.keys())}")
        return {name: made(held[name]) for name in wanted}

    def bound(self, outside: Mapping[str, Value]) -> Callable[..., tuple[Value, ...]]:
        """The block as a function of its inputs, with what it reads from outside given."""

        def call(*values: Value) -> tuple[Value, ...]:
            # Loops and functions may leave the last inputs out.
            given = dict(zip(self.inputs, (*values, *[None] * (len(self.inputs) - len(values))), strict=True))
            outputs = self.run({**outside, **given})
            return tuple(outputs[name] for name in self.outputs)

        return call

    def lost(self) -> dict[str, Lack]:
        """The names that depend on a node that is known not to be evaluated, whatever the inputs are."""
        lost: dict[str, Lack] = {}
        for step in self.steps:
            lack = _inherited(step, lost) or step.lack
            if lack is not None:
                lost |= dict.fromkeys(filter(None, step.writes), lack)
        return lost

    def lacking(self) -> list[Lack]:
        """The nodes that keep an output from being evaluated, each once."""
        lost = self.lost()
        return list(dict.fromkeys(lost[name] for name in self.outputs if name in lost))


def _inherited(step: Step, lost: Mapping[str, Lack]) -> Lack | None:
    """Why what a step reads is lost; None if it is not."""
    return next((lost[name] for name in step.reads if name in lost), None)


def _complete(returned: Any, wanted: int) -> tuple[Value, ...]:
    """One value for each output. Raises UnsupportedNodeError if there are fewer, or one was rounded."""
    values = returned if isinstance(returned, tuple) else (returned,)
    if len(values) < wanted:
        raise UnsupportedNodeError(f"{wanted} outputs are asked for, {len(values)} are evaluated")
    # NumPy gives scalars, which are no arrays, where nothing is left of the axes.
    values = tuple(np.asarray(value) if isinstance(value, np.generic) else value for value in values[:wanted])
    for value in values:
        if isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float16):
            raise UnsupportedNodeError(f"its implementation rounds to {value.dtype}")
    return values
