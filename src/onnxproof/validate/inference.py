"""onnx's inference of types and shapes, in a process of its own with limits on time and memory.

It makes lists as long as the sizes that it follows, and a file of 300 bytes may state any size, or compute
it: ``Range(0, 2**60)`` alone would take all memory. The weights stay here, since no shape depends on them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import onnx

from onnxproof.runtime.look import LARGEST_RANK
from onnxproof.system.confined import Confined, ConfinedError, Limits

Shape = tuple[int, ...]

SMALL = 512
"""The most elements of a tensor that stays in the copy whose shapes are inferred: larger are no sizes."""

MEMORY_GIB = 1.0
"""GiB that the child may take, beside ``COPIES`` of the file. A network of 20,000 nodes takes 0.2."""
COPIES = 8
"""How many copies of a model an inference makes, as bytes and as objects."""


class ShapesError(Exception):
    """onnx cannot infer the shapes. The message says why."""


@dataclass(frozen=True, slots=True)
class Inferred:
    """Shapes that are known as a whole, and element types (of ``onnx.TensorProto``), by name of the value."""

    shapes: dict[str, Shape]
    types: dict[str, int]


Sizes = Mapping[str, Sequence[int | None]]
"""Sizes of the axes of inputs, by name. None leaves an axis as it is."""

_begun: list[Confined] = []


def begin() -> None:
    """Start the process of the next ``Inference`` already."""
    if not _begun:
        _begun.append(_started())


def _started() -> Confined:
    why = "its shapes are inferred in a process of its own"
    return Confined("onnxproof.validate._inference_child", "", "onnx", why, Limits.from_environment())


class Inference:
    """The shapes of a graph at any sizes of its inputs. ``name`` is the file, for messages.

    Its process starts with the first question, if ``begin`` did not start it, and ends with this object.
    """

    def __init__(self, proto: onnx.ModelProto, name: str) -> None:
        """``proto`` has no large weights: ``without_weights``."""
        self._content = proto.SerializeToString()
        self._name = name

    @cached_property
    def _child(self) -> Confined:
        child = _begun.pop() if _begun else _started()
        limits = Limits.from_environment()
        needed = MEMORY_GIB + COPIES * len(self._content) / 2**30
        child.name, child.limits = self._name, Limits(limits.time_s, min(limits.memory_gib, needed))
        child.ask((self._content, LARGEST_RANK, child.limits), "reading")
        return child

    def at(self, sizes: Sizes) -> Inferred:
        """What follows from these sizes.

        Raises ShapesError if onnx raises an error or needs too much memory, ModelFileError if it crashes or
        takes too long.
        """
        return Inferred(*self._asked(sizes, strict=False))

    def complaint(self, sizes: Sizes) -> str:
        """What onnx says of the nodes that cannot take their inputs; "" if all can. Raises as ``at`` does."""
        return str(self._asked(sizes, strict=True))

    def _asked(self, sizes: Sizes, *, strict: bool) -> Any:
        try:
            return self._child.ask((sizes, strict), "inferring the shapes of")
        except ConfinedError as error:
            raise ShapesError(str(error)) from error


def without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph whose large initializers are inputs. It has no shapes of intermediate values."""
    light = onnx.ModelProto(ir_version=max(proto.ir_version, 8), opset_import=proto.opset_import)
    light.graph.name = "light"
    light.graph.node.extend(proto.graph.node)
    light.graph.input.extend(proto.graph.input)
    given = {value.name for value in proto.graph.input}
    for tensor in proto.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL and math.prod(tensor.dims) <= SMALL:
            light.graph.initializer.append(tensor)
        elif tensor.name not in given:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    light.graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in proto.graph.output)
    return light
