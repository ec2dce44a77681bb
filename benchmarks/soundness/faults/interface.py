"""Inputs and outputs: exchanged, missing, called otherwise, of another dtype or precision."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto
from soundness.fault import Edit, Editor, Fault, faults_of


def exchanged(editor: Editor) -> None:
    """Two outputs of one form carry each other's values."""
    first, second = (entry.name for entry in editor.graph.output[:2])
    makers = editor.maker(first), editor.maker(second)
    for node in makers:
        node.output[:] = [{first: second, second: first}.get(name, name) for name in node.output]


def in_another_order(editor: Editor) -> None:
    """The outputs are declared in the opposite order."""
    outputs = [onnx.ValueInfoProto.FromString(entry.SerializeToString()) for entry in editor.graph.output]
    del editor.graph.output[:]
    editor.graph.output.extend(reversed(outputs))


def dropped(editor: Editor) -> None:
    """The last output is missing."""
    del editor.graph.output[-1]


def renamed(editor: Editor) -> None:
    """The last output has another name."""
    output = editor.graph.output[-1]
    name, output.name = output.name, f"{output.name}_1"
    node = editor.maker(name)
    for place in [node, *editor.readers(name)]:
        place.output[:] = [output.name if entry == name else entry for entry in place.output]
        place.input[:] = [output.name if entry == name else entry for entry in place.input]


def through(dtype: int, output: int = -1) -> Edit:
    """An output is rounded to a smaller dtype on its way."""

    def edit(editor: Editor) -> None:
        editor.splice(
            editor.graph.output[output].name,
            lambda emit, value: emit("Cast", emit("Cast", value, to=dtype), to=TensorProto.FLOAT),
        )

    return edit


def declared_as(dtype: int, output: int) -> Edit:
    """An output comes in another dtype."""

    def edit(editor: Editor) -> None:
        entry = editor.graph.output[output]
        editor.splice(entry.name, lambda emit, value: emit("Cast", value, to=dtype))
        entry.type.tensor_type.elem_type = dtype

    return edit


def _faults() -> Iterator[Fault]:
    kind = "outputs swapped"
    yield from faults_of(kind, "dense", {"values exchanged": exchanged})
    yield from faults_of(kind, "finder", {"declared in another order": in_another_order})
    kind = "output dropped or renamed"
    yield from faults_of(kind, "finder", {"dropped": dropped})
    yield from faults_of(kind, "segmenter", {"renamed": renamed})
    kind = "output rounded"
    yield from faults_of(kind, "yolox-split", {"scores through float16": through(TensorProto.FLOAT16)})
    yield from faults_of(kind, "classifier", {"through bfloat16": through(TensorProto.BFLOAT16)})
    kind = "output of another dtype"
    yield from faults_of(kind, "segmenter", {"mask as int32": declared_as(TensorProto.INT32, 0)})
    yield from faults_of(kind, "resnet", {"logits as float64": declared_as(TensorProto.DOUBLE, 0)})


FAULTS = tuple(_faults())
