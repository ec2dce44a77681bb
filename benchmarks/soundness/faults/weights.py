"""Numbers that a checkpoint brought and that the file has otherwise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from soundness.fault import (
    FILE,
    Change,
    Edit,
    Editor,
    Emit,
    Fault,
    NothingPlantedError,
    Plant,
    faults_of,
    moved,
    scaled,
)

Array = NDArray[Any]

DATA = "model.data"
"""The file that external weights lie in."""


def weight(op: str, index: int, change: Change, position: int = 1) -> Edit:
    """Change a node's weights, or its bias at ``position`` 2."""
    return lambda editor: editor.rewrite(editor.node(op, index).input[position], change)


def largest(change: Change) -> Change:
    """Change the one number of largest magnitude."""

    def apply(values: Array) -> Array:
        flat = values.reshape(-1)
        place = int(np.argmax(np.abs(flat)))
        flat[place : place + 1] = change(flat[place : place + 1])
        return values

    return apply


def channel(change: Change, index: int = 3) -> Change:
    """Change one output channel."""

    def apply(values: Array) -> Array:
        values[index] = change(values[index])
        return values

    return apply


def bfloat16(values: Array) -> Array:
    """Round float32 to 8 bits of mantissa, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: Array = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return rounded.astype(np.uint32).view(np.float32)


def float16(values: Array) -> Array:
    """Round to 11 bits of mantissa."""
    return values.astype(np.float16).astype(np.float32)


def to_levels(bits: int) -> Change:
    """Round to integers of so many bits, one scale for each output channel."""

    def apply(values: Array) -> Array:
        top = 2 ** (bits - 1) - 1
        scales = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / top
        rounded: Array = np.round(values / scales) * scales
        return rounded

    return apply


def every_weight(change: Change) -> Edit:
    """Change all weights of two axes and more; what is not float32 stays."""

    def edit(editor: Editor) -> None:
        count = 0
        for tensor in editor.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1 and np.prod(tensor.dims) > 16:
                editor.rewrite(tensor.name, change)
                count += 1
        if not count:
            raise NothingPlantedError("the graph has no weights")

    return edit


def quantised(op: str, index: int) -> Edit:
    """Store one node's weights as int8 with a DequantizeLinear behind them, as quantizers do."""

    def edit(editor: Editor) -> None:
        node = editor.node(op, index)
        values = editor.values(node.input[1])
        scales = np.abs(values).max(axis=tuple(range(1, values.ndim))) / 127
        levels = np.round(values / scales.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        emit = Emit(editor)
        node.input[1] = emit("DequantizeLinear", levels, scales.astype(np.float32), axis=0)
        for new in reversed(emit.nodes):
            editor.graph.node.insert(0, new)

    return edit


def external(change_data: Change) -> Plant:
    """A plant that moves the weights into a file beside the model, whose bytes are another checkpoint's:
    ``change_data`` is given all of them as float32 [n]."""

    def plant(proto: onnx.ModelProto, folder: Path) -> Path:
        copied = onnx.ModelProto()
        copied.CopyFrom(proto)
        file = folder / FILE
        onnx.save_model(copied, file, save_as_external_data=True, all_tensors_to_one_file=True, location=DATA)
        data = folder / DATA
        before = data.read_bytes()
        length = len(before) // 4 * 4
        new = np.asarray(change_data(np.frombuffer(before[:length], np.float32).copy()), np.float32)
        after = new.tobytes() + before[length:]
        if after == before:
            raise NothingPlantedError("the external data are as they were")
        data.write_bytes(after)
        return file

    return plant


def another_run(values: Array) -> Array:
    """The weights of another run of the training: all of them a little elsewhere."""
    return values * np.random.default_rng(0).normal(1, 0.02, values.shape)


def last_tenth_older(values: Array) -> Array:
    """The last tenth from a step before."""
    start = values.size * 9 // 10
    values[start:] *= np.random.default_rng(1).normal(1, 1e-4, values.size - start)
    return values


def first_half(values: Array) -> Array:
    """The data file ends too early, as after a broken copy."""
    return values[: values.size // 2]


def _faults() -> Iterator[Fault]:
    yield from faults_of(
        "weight tensor scaled",
        "yolox",
        {f"x {factor}": weight("Conv", 20, scaled(factor)) for factor in (1.0001, 1.00001, 1.000001)},
    )
    yield from faults_of(
        "one weight scaled",
        "yolox",
        {f"x {factor}": weight("Conv", 40, largest(scaled(factor))) for factor in (1.01, 1.0001, 1.00001)},
    )
    yield from faults_of(
        "channel scaled",
        "resnet",
        {
            "zero": weight("Conv", 6, channel(scaled(0))),
            "x 1.00001": weight("Conv", 6, channel(scaled(1.00001))),
        },
    )
    yield from faults_of(
        "bias moved",
        "classifier",
        {f"+{step:g}": weight("Gemm", 0, channel(moved(step)), 2) for step in (1e-4, 1e-6)},
    )
    yield from faults_of(
        "weights rounded to float16",
        "yolox-split",
        {
            "all": every_weight(float16),
            "one tensor": weight("Conv", 20, float16),
            "one number": weight("Conv", 20, largest(float16)),
        },
    )
    yield from faults_of(
        "weights rounded to bfloat16",
        "multilabel",
        {"all": every_weight(bfloat16), "one tensor": weight("Conv", 10, bfloat16)},
    )
    yield from faults_of(
        "weights quantised",
        "resnet",
        {
            "one tensor to int8": quantised("Conv", 4),
            "one tensor to 22 bits": weight("Conv", 4, to_levels(22)),
        },
    )
    kind = "stale external data"
    yield Fault(kind, "another run", "multilabel", external(another_run))
    yield Fault(kind, "a tenth a step older", "multilabel", external(last_tenth_older))
    yield Fault(kind, "half is missing", "multilabel", external(first_half))


FAULTS = tuple(_faults())
