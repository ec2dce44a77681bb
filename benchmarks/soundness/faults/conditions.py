"""Damage that shows on some inputs only: one in so many, one size, no object, every other run."""

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto
from soundness.fault import Build, Edit, Editor, Emit, Fault, faults_of

PIXELS = ((7.0, 10, 20, 0), (13.0, 31, 30, 1), (29.0, 50, 41, 2))
"""Weight, row, column and channel of what an input is told apart by."""


def nan_one_in(count: int) -> Edit:
    """NaN where a hash of three bytes of a picture [b, h, w, 3] in 0..255 is 1 modulo ``count``."""

    def edit(editor: Editor) -> None:
        source = editor.graph.input[0].name

        def build(emit: Emit, value: str) -> str:
            picked = [
                emit(
                    "Mul",
                    emit(
                        "Slice",
                        source,
                        np.array([row, column, channel]),
                        np.array([row + 1, column + 1, channel + 1]),
                        np.array([1, 2, 3]),
                    ),
                    weight,
                )
                for weight, row, column, channel in PIXELS
            ]
            total = emit("Floor", emit("Sum", *picked))
            hashed = emit("Squeeze", emit("Mod", total, float(count), fmod=1), np.array([2, 3]))
            # No NaN stands in the file: it comes of a root.
            hit = emit("Cast", emit("Equal", hashed, 1.0), to=TensorProto.FLOAT)
            return emit("Add", value, emit("Sqrt", emit("Neg", hit)))

        editor.splice(editor.graph.output[0].name, build)

    return edit


def nan_without_contrast(editor: Editor) -> None:
    """What is divided by a picture's contrast is NaN where it has one colour only."""
    source = editor.graph.input[0].name

    def build(emit: Emit, value: str) -> str:
        axes = np.array([1, 2, 3])
        contrast = emit(
            "Sub", emit("ReduceMax", source, axes, keepdims=0), emit("ReduceMin", source, axes, keepdims=0)
        )
        ratio = emit("Unsqueeze", emit("Div", contrast, contrast), np.array([1]))
        return emit("Mul", value, ratio)

    editor.splice(editor.graph.output[0].name, build)


def at_size(step: float, **sizes: int) -> Edit:
    """Every number of the output moved where the picture [b, 3, h, w] has this height, and width."""

    def edit(editor: Editor) -> None:
        source = editor.graph.input[0].name

        def build(emit: Emit, value: str) -> str:
            shape = emit("Shape", source)
            offset = emit("Identity", np.array([step], np.float32))
            for axis, size in sizes.items():
                place = {"height": 2, "width": 3}[axis]
                alike = emit("Equal", emit("Gather", shape, np.array([place])), np.array([size]))
                offset = emit("Mul", offset, emit("Cast", alike, to=TensorProto.FLOAT))
            return emit("Add", value, offset)

        editor.splice(editor.graph.output[0].name, build)

    return edit


def row_when_empty(editor: Editor) -> None:
    """A row of zeros where there should be none."""
    empty = _count(
        editor, lambda emit, count: emit("Cast", emit("Equal", count, np.array([0])), to=TensorProto.INT64)
    )
    for output in editor.graph.output:
        rank = len(output.type.tensor_type.shape.dim)

        def build(emit: Emit, value: str, rank: int = rank) -> str:
            zeros = np.zeros(2 * rank - 1, np.int64)
            pads = emit("Concat", zeros[:rank], _at(emit, rank, empty), axis=0)
            return emit("Pad", value, pads)

        editor.splice(output.name, build)


def _at(emit: Emit, rank: int, first: str) -> str:
    """The end pads of an array: ``first`` for the first axis, 0 for others."""
    if rank == 1:
        return first
    return emit("Concat", first, np.zeros(rank - 1, np.int64), axis=0)


def _count(editor: Editor, build: Build) -> str:
    """The number of rows [1] of the scores before NMS's cut reaches the outputs, put through ``build``."""
    scores = editor.maker("scores").input[1]
    emit = Emit(editor)
    answer = build(emit, emit("Shape", scores))
    place = list(editor.graph.node).index(editor.maker(scores)) + 1
    for offset, node in enumerate(emit.nodes):
        editor.graph.node.insert(place + offset, node)
    return answer


def fails_when_empty(editor: Editor) -> None:
    """The best score is looked up, which an empty list does not have."""

    def build(emit: Emit, value: str) -> str:
        best = emit("Gather", value, np.array([0]), axis=0)
        return emit("Min", value, emit("Max", best, 1.0))

    editor.splice("scores", build)


def dropout(editor: Editor) -> None:
    """A Dropout in training form, before the last dense layer. ONNX Runtime's optimizer takes it out (which
    it should not), other runtimes and other levels run it."""
    editor.splice(
        editor.node("Gemm", -1).input[0],
        lambda emit, value: emit("Dropout", value, np.float32(0.1), np.array(True), seed=3),
    )


def random_zeros(ratio: float) -> Edit:
    """The same spelt out, as a decomposing exporter leaves it."""

    def build(emit: Emit, value: str) -> str:
        dropped = emit("Less", emit("RandomUniformLike", value, seed=3.0), ratio)
        return emit("Where", dropped, 0.0, emit("Div", value, 1 - ratio))

    return lambda editor: editor.splice(editor.node("Gemm", -1).input[0], build)


def _faults() -> Iterator[Fault]:
    yield from faults_of(
        "NaN on one input in so many", "classifier", {str(count): nan_one_in(count) for count in (3, 1000)}
    )
    yield from faults_of("NaN on a picture of one colour", "multilabel", {"0 / 0": nan_without_contrast})
    yield from faults_of(
        "wrong at one size",
        "yolox-raw",
        {
            "+0.01 at height 96": at_size(0.01, height=96),
            "+1e-5 at 160 x 64": at_size(1e-5, height=160, width=64),
            "+0.01 at height 128": at_size(0.01, height=128),
        },
    )
    yield from faults_of(
        "wrong where nothing is detected",
        "fcos",
        {"a row of zeros": row_when_empty, "does not run": fails_when_empty},
    )
    yield from faults_of(
        "dropout in training form",
        "resnet",
        {"a node, 0.1": dropout, "spelt out, 0.001": random_zeros(0.001)},
    )


FAULTS = tuple(_faults())
