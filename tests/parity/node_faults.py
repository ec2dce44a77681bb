"""Seeded faults in single nodes of a graph: numbers moved, attributes flipped, operators replaced.

``plant`` changes one node, and nothing that another node reads: an initializer that two nodes share is
copied for the one. Whether a fault does anything is for the caller to measure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
REPLACED = {
    "Sigmoid": ("HardSigmoid", "Tanh"),
    "Mul": ("Add",),
    "Add": ("Sub", "Mul"),
    "Sub": ("Add",),
    "Div": ("Mul",),
    "MaxPool": ("AveragePool",),
    "Relu": ("LeakyRelu", "Abs"),
    "Exp": ("Softplus",),
    "Tanh": ("Sigmoid",),
    "ReduceMean": ("ReduceMax",),
    "GlobalAveragePool": ("GlobalMaxPool",),
    "ReduceMax": ("ReduceMean",),
    "Erf": ("Tanh",),
    "Max": ("Min",),
    "Min": ("Max",),
}
"""Operators, and such as stand in for them by mistake: same inputs, same shape."""


@dataclass(frozen=True)
class Fault:
    """What was changed: the kind, the node's position in the graph, and its first output."""

    kind: str
    position: int
    output: str
    operator: str
    detail: str


class Planter:
    """A copy of a graph, to change one node of."""

    def __init__(self, proto: onnx.ModelProto, position: int) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(proto)
        self.node = self.proto.graph.node[position]
        self._values = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        self._values |= {
            node.output[0]: node.attribute[0].t
            for node in self.proto.graph.node
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }

    def constants(self) -> list[int]:
        """The numbers of the inputs that are float constants."""
        return [
            number
            for number, name in enumerate(self.node.input)
            if name in self._values and self._values[name].data_type == onnx.TensorProto.FLOAT
        ]

    def value(self, number: int) -> Array:
        """A copy of a constant input."""
        return numpy_helper.to_array(self._values[self.node.input[number]]).copy()

    def rewrite(self, number: int, values: Array) -> None:
        """Give the node another constant, its own."""
        name = f"{self.node.input[number]}_moved"
        self.proto.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        self.node.input[number] = name

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node."""
        found = [entry for entry in self.node.attribute if entry.name == name]
        return helper.get_attribute_value(found[0]) if found else default

    def set(self, name: str, value: Any) -> None:
        """Give an attribute another value."""
        kept = [entry for entry in self.node.attribute if entry.name != name]
        del self.node.attribute[:]
        self.node.attribute.extend([*kept, helper.make_attribute(name, value)])


Change = Callable[[Planter, np.random.Generator], str | None]
"""Changes the planter's node; what it did, or None where the node does not lend itself to it."""


def weight_scaled(planter: Planter, random: np.random.Generator) -> str | None:
    if planter.node.op_type not in WEIGHTED or 1 not in planter.constants():
        return None
    factor = 1 + 10 ** random.uniform(-3, -1)
    planter.rewrite(1, planter.value(1) * factor)
    return f"x {factor:.4f}"


def channel_moved(planter: Planter, random: np.random.Generator) -> str | None:
    if planter.node.op_type not in WEIGHTED or 1 not in planter.constants():
        return None
    values = planter.value(1)
    channel = int(random.integers(len(values)))
    by = float(values.std()) * 10 ** random.uniform(-1.5, 0)
    values[channel] += by
    planter.rewrite(1, values)
    return f"channel {channel} by {by:.2g}"


def bias_moved(planter: Planter, random: np.random.Generator) -> str | None:
    if planter.node.op_type not in ("Conv", "Gemm", "ConvTranspose") or 2 not in planter.constants():
        return None
    values = planter.value(2)
    by = 10 ** random.uniform(-3, 0)
    values[int(random.integers(len(values)))] += by
    planter.rewrite(2, values)
    return f"by {by:.2g}"


def constant_moved(planter: Planter, random: np.random.Generator) -> str | None:
    if planter.node.op_type in (*WEIGHTED, "Resize") or not planter.constants():
        return None
    number = int(random.choice(planter.constants()))
    values = planter.value(number)
    if not values.size:
        return None
    factor = 1 + 10 ** random.uniform(-3, -0.5)
    values.reshape(-1)[int(random.integers(values.size))] *= factor
    planter.rewrite(number, values)
    return f"input {number} x {factor:.4f}"


def attribute_flipped(planter: Planter, random: np.random.Generator) -> str | None:
    node = planter.node
    if node.op_type in ("Conv", "MaxPool", "AveragePool"):
        pads = list(planter.attribute("pads", ()))
        half = len(pads) // 2
        if not any(pads):
            return None
        side = int(random.choice([axis for axis in range(half) if pads[axis]]))
        pads[side], pads[side + half] = pads[side] - 1, pads[side + half] + 1
        planter.set("pads", pads)
        return f"pads {pads}"
    if node.op_type in ("BatchNormalization", "LayerNormalization"):
        epsilon = planter.attribute("epsilon", 1e-5) * float(random.choice([2, 10, 100]))
        planter.set("epsilon", epsilon)
        return f"epsilon {epsilon:g}"
    if node.op_type in ("Softmax", "LogSoftmax", "ArgMax"):
        axis = planter.attribute("axis", -1)
        planter.set("axis", -2 if axis in (-1, 3) else -1)
        return "axis"
    if node.op_type == "Concat":
        planter.set("axis", 1 if planter.attribute("axis", 0) != 1 else 2)
        return "axis"
    if node.op_type == "Resize":
        mode = b"linear" if planter.attribute("mode", b"nearest") == b"nearest" else b"nearest"
        planter.set("mode", mode)
        return f"mode {mode.decode()}"
    if node.op_type in ("LeakyRelu", "Elu", "Gemm"):
        planter.set("alpha", planter.attribute("alpha", 1.0) * 1.05)
        return "alpha"
    if node.op_type == "Transpose":
        axes = list(planter.attribute("perm", ()))
        if len(axes) < 3:
            return None
        one, two = (int(axis) for axis in random.choice(len(axes), 2, replace=False))
        axes[one], axes[two] = axes[two], axes[one]
        planter.set("perm", axes)
        return f"perm {axes}"
    return None


def operator_replaced(planter: Planter, random: np.random.Generator) -> str | None:
    node = planter.node
    if node.op_type not in REPLACED:
        return None
    chosen = str(random.choice(REPLACED[node.op_type]))
    node.op_type = chosen
    if chosen == "AveragePool":
        planter.set("count_include_pad", 0)
    kept = [entry for entry in node.attribute if entry.name not in ("storage_order", "dilations")]
    if chosen == "AveragePool":
        del node.attribute[:]
        node.attribute.extend(kept)
    return chosen


def inputs_swapped(planter: Planter, random: np.random.Generator) -> str | None:
    node = planter.node
    if node.op_type not in ("Sub", "Div", "Concat", "MatMul", "Pow", "Where") or len(node.input) < 2:
        return None
    first, second = (1, 2) if node.op_type == "Where" else (0, 1)
    if node.op_type == "Concat":
        first, second = (int(n) for n in random.choice(len(node.input), 2, replace=False))
    node.input[first], node.input[second] = node.input[second], node.input[first]
    return f"{first} and {second}"


KINDS: dict[str, Change] = {
    "weight scaled": weight_scaled,
    "channel moved": channel_moved,
    "bias moved": bias_moved,
    "constant moved": constant_moved,
    "attribute flipped": attribute_flipped,
    "operator replaced": operator_replaced,
    "inputs swapped": inputs_swapped,
}


def plant(
    proto: onnx.ModelProto, kind: str, random: np.random.Generator
) -> tuple[onnx.ModelProto, Fault] | None:
    """A graph with a fault of that kind in a node drawn from those that can have it; None where none can."""
    for position in random.permutation(len(proto.graph.node)):
        planter = Planter(proto, int(position))
        operator = planter.node.op_type
        detail = KINDS[kind](planter, random)
        if detail is not None:
            return planter.proto, Fault(kind, int(position), planter.node.output[0], operator, detail)
    return None


def draws(protos: dict[str, onnx.ModelProto], seed: int) -> Iterator[tuple[str, onnx.ModelProto, Fault]]:
    """Faults without end: kinds and graphs in turn, nodes at random."""
    random = np.random.default_rng(seed)
    while True:
        for kind in KINDS:
            for name, proto in protos.items():
                planted = plant(proto, kind, random)
                if planted is not None:
                    yield name, *planted
