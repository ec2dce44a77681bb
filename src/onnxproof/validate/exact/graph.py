"""An ONNX graph, evaluated in float64."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from onnxproof.graph import read_proto
from onnxproof.runtime.port import Port
from onnxproof.validate.exact.arrays import Array, Value, widen_value
from onnxproof.validate.exact.block import Lack, LackingError, Step, StepError, Watch
from onnxproof.validate.exact.compiler import Compiler
from onnxproof.validate.exact.errors import ExactError, NotRunnableError, UnsupportedError
from onnxproof.validate.exact.later import Constant
from onnxproof.validate.exact.load import FLOATS

__all__ = ["ExactError", "ExactGraph", "NotRunnableError", "Unsupported", "UnsupportedError", "run_exact"]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """An operator that is not evaluated in float64, and the outputs of the graph that depend on it.

    ``domain`` is "" for ONNX's own operators. ``node`` is the label of the first such node.
    """

    operator: str
    domain: str
    opset: int
    node: str
    reason: str
    outputs: tuple[str, ...]

    def __str__(self) -> str:
        return str(Lack(self.operator, self.domain, self.opset, self.node, self.reason))


class ExactGraph:
    """A graph ready to be evaluated any number of times.

    ``model`` is a file, or a graph, which is not changed, with its external data in ``folder``. ``constants``
    replaces initializers and outputs of Constant nodes by name: an array of the same shape, or one that is
    made where it is read, float64 if the constant is a float. ``attributes`` replaces float attributes, such
    as an epsilon, by the name of their node's first output and their own. ``own`` names the halves in which
    the model is held ("float16", "bfloat16"): a cast to one of them does not round. ``inputs`` and
    ``outputs`` are what the graph declares. Raises ModelFileError if the file is no ONNX file or lacks
    external data, ValueError if ``constants`` does not fit the graph.
    """

    def __init__(
        self,
        model: ModelProto | str | PathLike[str],
        *,
        constants: Mapping[str, Constant] = MappingProxyType({}),
        attributes: Mapping[tuple[str, str], float] = MappingProxyType({}),
        folder: Path | None = None,
        own: Collection[str] = (),
    ) -> None:
        self.own = frozenset(own)
        proto = model if isinstance(model, ModelProto) else read_proto(Path(model), weights=False)
        place = folder if isinstance(model, ModelProto) else Path(model).parent
        compiler = Compiler.of(proto, constants, attributes, place, own)
        self._block = compiler.graph(proto.graph)
        unknown = sorted(set(constants) - compiler.replaced)
        if unknown:
            raise ValueError(f"the graph has no constant {unknown[0]}")
        self._declared = {
            value.name: _copied(value) for value in proto.graph.input if value.name in self._block.inputs
        }
        self.inputs = tuple(map(_port, self._declared.values()))
        self.outputs = tuple(map(_port, proto.graph.output))
        self._lost: dict[str, Lack] = {
            name: lack for name, lack in self._block.lost().items() if name in self._block.outputs
        }

    @property
    def unsupported(self) -> tuple[Unsupported, ...]:
        """The operators that are not evaluated here, each with the outputs that depend on it.

        What can be told from the graph alone is known from the start. What depends on the values, such as an
        operator in a branch, is added by the run that meets it.
        """
        outputs: dict[Lack, list[str]] = {}
        for name, lack in self._lost.items():
            outputs.setdefault(lack, []).append(name)
        return tuple(
            Unsupported(lack.operator, lack.domain, lack.opset, lack.node, lack.reason, tuple(names))
            for lack, names in outputs.items()
        )

    @property
    def nodes(self) -> tuple[Step, ...]:
        """The nodes that the outputs need, in the order in which they run, without Constant nodes."""
        return self._block.steps

    @property
    def constants(self) -> Mapping[str, Value]:
        """The constants that those nodes read, by name: floats as float64. A large one may be a Later."""
        return MappingProxyType(dict(self._block.constants))

    def with_rounded_casts(self, kinds: str) -> "ExactGraph":
        """The same graph, in which casts to float32 round, as the file states it: those of NumPy's ``kinds``
        of dtypes, "iu" for integers, say."""
        other = copy(self)
        steps = tuple(_rounding(step, kinds) for step in self._block.steps)
        other._block = replace(self._block, steps=steps)
        return other

    def run(self, inputs: Mapping[str, Array], *, watch: Watch | None = None) -> dict[str, Array]:
        """The outputs by name, floats as float64, others as they are; not those that depend on an operator
        in ``unsupported``.

        ``inputs`` holds every input of the graph; floats of any width do. ``watch`` is called after each node
        of the graph, with the node, the values that it read and those that it wrote; it must not change them.
        Raises NotRunnableError if the graph does not take the inputs, UnsupportedError if no output is left.
        """
        feeds = {name: widen_value(array) for name, array in inputs.items()}
        self._check(feeds)
        lost: dict[str, Lack] = {}
        try:
            with np.errstate(all="ignore"):
                outputs = self._block.run(feeds, watch, lost)
        except StepError as error:
            shapes = ", ".join(f"{name} {list(np.shape(array))}" for name, array in inputs.items())
            raise NotRunnableError(f"the graph does not run on {shapes}: {error}") from error
        self._lost |= {name: lack for name, lack in lost.items() if name in self._block.outputs}
        if self.outputs and not outputs:
            raise UnsupportedError("; ".join(map(str, self.unsupported)))
        return outputs

    def run_node(self, node: Step, values: Sequence[Value]) -> tuple[Value, ...]:
        """What one of ``nodes`` writes, in the order of its ``writes``, for the values of its ``reads``.

        Floats of any width do. Raises UnsupportedError if the node is not evaluated here, NotRunnableError
        if it does not take the values.
        """
        try:
            with np.errstate(all="ignore"):
                return node.compute([widen_value(value) for value in values])
        except LackingError as error:
            raise UnsupportedError(str(error)) from error
        except StepError as error:
            raise NotRunnableError(str(error)) from error

    def _check(self, feeds: Mapping[str, Value]) -> None:
        if set(feeds) != set(self._declared):
            raise NotRunnableError(f"the graph's inputs are {sorted(self._declared)}, got {sorted(feeds)}")
        for name, value in feeds.items():
            kind = self._declared[name].type
            if kind.WhichOneof("value") == "tensor_type" and isinstance(value, np.ndarray):
                _check_tensor(name, kind.tensor_type, value)


def casts_to_float32(step: Step) -> bool:
    """Whether a step is a Cast to float32."""
    return step.proto.op_type == "Cast" and step.attributes.get("to") == TensorProto.FLOAT


def leaves_order_open(step: Step) -> bool:
    """Whether a step is a TopK that may write what it finds in any order."""
    return step.proto.op_type == "TopK" and not step.attributes.get("sorted", 1)


def _rounding(step: Step, kinds: str) -> Step:
    if not casts_to_float32(step):
        return step

    def rounded(x: Array, **attributes: Any) -> Any:
        computed = step.function(x, **attributes)
        return computed.astype(np.float32).astype(np.float64) if x.dtype.kind in kinds else computed

    return replace(step, function=rounded)


def run_exact(model: ModelProto | str | PathLike[str], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs of a graph on one input, in float64; ExactGraph prepares a graph for many inputs."""
    return ExactGraph(model).run(inputs)


def _check_tensor(name: str, kind: Any, array: Array) -> None:
    declared = np.dtype(np.float64) if kind.elem_type in FLOATS else _dtype(kind.elem_type)
    if array.dtype != declared and not (declared.kind == "O" and array.dtype.kind in "OU"):
        raise NotRunnableError(f"input {name} is declared as {declared}, got {array.dtype}")
    if not kind.HasField("shape"):
        return
    axes = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim]
    if len(axes) != array.ndim or any(
        size not in (None, got) for size, got in zip(axes, array.shape, strict=True)
    ):
        raise NotRunnableError(f"input {name} is declared as {axes}, got {list(array.shape)}")


def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def _copied(value: ValueInfoProto) -> ValueInfoProto:
    """A copy, since a part of a proto keeps the whole model in memory."""
    copied = ValueInfoProto()
    copied.CopyFrom(value)
    return copied


def _port(value: ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    axes = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in kind.shape.dim
    )
    if value.type.WhichOneof("value") not in ("tensor_type", None):
        return Port(value.name, str(value.type.WhichOneof("value")).removesuffix("_type"), axes)
    if kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return Port(value.name, TensorProto.DataType.Name(kind.elem_type).lower(), axes)
    return Port(value.name, _dtype(kind.elem_type).name, axes)
