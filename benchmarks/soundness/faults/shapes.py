"""Axes that are declared dynamic and are not, and batches whose members are not all answered."""

from collections.abc import Iterator

import numpy as np
from soundness.fault import Build, Edit, Editor, Emit, Fault, NothingPlantedError, faults_of


def declared(axis: int, size: int) -> Edit:
    """An axis of the first input is declared fixed."""

    def edit(editor: Editor) -> None:
        dim = editor.graph.input[0].type.tensor_type.shape.dim[axis]
        if not dim.HasField("dim_param"):
            raise NothingPlantedError(f"axis {axis} is no dynamic one")
        dim.dim_value = size

    return edit


def frozen_shape(axis: int, size: int) -> Edit:
    """What the graph first reads as the size of an axis becomes a constant, as tracing leaves it."""

    def edit(editor: Editor) -> None:
        for node in editor.nodes("Shape"):
            taken = {entry.name: entry.i for entry in node.attribute}
            if taken == {"start": axis, "end": axis + 1}:
                editor.replace(node, lambda emit: emit("Identity", np.array([size])))
                return
        raise NothingPlantedError(f"the graph does not read the size of axis {axis}")

    return edit


def input_cut(axis: int, size: int, index: int = 0) -> Edit:
    """No more than so many of an input's axis are looked at."""

    def edit(editor: Editor) -> None:
        editor.splice(
            editor.graph.input[index].name,
            lambda emit, value: emit("Slice", value, np.array([0]), np.array([size]), np.array([axis])),
        )

    return edit


def inputs_cut(axis: int, size: int) -> Edit:
    """The same of all inputs."""

    def edit(editor: Editor) -> None:
        for index in range(len(editor.graph.input)):
            input_cut(axis, size, index)(editor)

    return edit


def through_fixed_size(height: int, width: int) -> Edit:
    """The picture goes through one size and back, which only a picture of that size survives."""

    def build(emit: Emit, value: str) -> str:
        shape = emit("Shape", value)
        fixed = emit(
            "Concat", emit("Slice", shape, np.array([0]), np.array([2])), np.array([height, width]), axis=0
        )
        small = emit("Resize", value, "", "", fixed, mode="linear")
        return emit("Resize", small, "", "", shape, mode="linear")

    return lambda editor: editor.splice(editor.graph.input[0].name, build)


def first_for_all(emit: Emit, value: str) -> str:
    """Every member of the batch gets the first one's answer."""
    first = emit("Slice", value, np.array([0]), np.array([1]), np.array([0]))
    return emit("Expand", first, emit("Shape", value))


def from_third_on(emit: Emit, value: str) -> str:
    """Members of the batch from the third on get the second one's answer."""
    size = emit("Gather", emit("Shape", value), np.int64(0))
    places = emit("Min", emit("Range", np.int64(0), size, np.int64(1)), np.int64(1))
    return emit("Gather", value, places, axis=0)


def on_output(build: Build) -> Edit:
    """Put nodes behind every output."""

    def edit(editor: Editor) -> None:
        for output in editor.graph.output:
            editor.splice(output.name, build)

    return edit


def _faults() -> Iterator[Fault]:
    kind = "batch frozen"
    yield from faults_of(kind, "yolox", {"declared, 2": declared(0, 2)})
    yield from faults_of(kind, "finder", {"by Reshape, 2": frozen_shape(0, 2)})
    yield from faults_of(kind, "mobile", {"by Slice, 2": input_cut(0, 2)})
    kind = "size frozen"
    yield from faults_of(kind, "yolox", {"height declared, 96": declared(2, 96)})
    yield from faults_of(kind, "resnet", {"96 x 96 and back": through_fixed_size(96, 96)})
    yield from faults_of(kind, "encoder", {"time by Slice, 20": inputs_cut(1, 20)})
    kind = "batch not answered"
    yield from faults_of(kind, "yolox-split", {"the first for all": on_output(first_for_all)})
    yield from faults_of(kind, "classifier", {"from the third on": on_output(from_third_on)})


FAULTS = tuple(_faults())
