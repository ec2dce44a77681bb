"""Recurrence and attention: directions, gates, masks, scales, positions, token ids."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from soundness.fault import Change, Edit, Editor, Emit, Fault, faults_of, scaled
from soundness.faults.activations import each, of, with_attribute

MASKED = -10000.0
"""What the encoder adds to where it must not look."""


def directions_swapped(values: NDArray[Any]) -> NDArray[Any]:
    """Weights [2, …]: each direction with the other's."""
    return values[::-1]


def gates_swapped(values: NDArray[Any]) -> NDArray[Any]:
    """Weights [2, 3 x units, …] whose first two gates, update and reset, change places."""
    update, reset, hidden = np.split(values, 3, axis=1)
    return np.concatenate((reset, update, hidden), axis=1)


def recurrent(change: Change, index: int, *positions: int) -> Edit:
    """Change weights of one GRU: 1 of the input, 2 of the state, 3 the biases."""

    def edit(editor: Editor) -> None:
        for position in positions:
            editor.rewrite(editor.node("GRU", index).input[position], change)

    return edit


def unmasked(editor: Editor, node: onnx.NodeProto) -> None:
    """The Where that masks scores lets all of them through."""
    scores = node.input[2]
    editor.replace(node, lambda emit: emit("Identity", scores))


def masked_by(number: float) -> Edit:
    """A masked score is not low enough."""

    def edit(editor: Editor) -> None:
        for name in editor.scalar_constant(MASKED):
            editor.rewrite(name, lambda values: np.full_like(values, number))

    return edit


def scale(factor: float) -> Edit:
    """Attention's scores divided by another number than the root of a head's width."""

    def edit(editor: Editor) -> None:
        for name in editor.scalar_constant(np.sqrt(8)):
            editor.rewrite(name, scaled(factor))

    return edit


def places(editor: Editor) -> None:
    """Positions count from 1."""
    editor.splice(editor.node("Range").output[0], lambda emit, value: emit("Add", value, np.int64(1)))


def wrapped(offset: int) -> Edit:
    """Token ids with an offset in bytes, which are too small for some of them; these become 0."""

    def build(emit: Emit, value: str) -> str:
        stored = emit("Cast", emit("Add", value, np.int64(offset)), to=TensorProto.UINT8)
        taken = emit("Sub", emit("Cast", stored, to=TensorProto.INT64), np.int64(offset))
        return emit("Max", taken, np.int64(0))

    return lambda editor: editor.splice(editor.graph.input[0].name, build)


def _faults() -> Iterator[Fault]:
    yield from faults_of(
        "recurrence",
        "reader",
        {
            "directions swapped, last layer": recurrent(directions_swapped, 1, 1, 2, 3),
            "gates swapped, last layer": recurrent(gates_swapped, 1, 1, 2),
            "reset before the product, first layer": with_attribute("GRU", "linear_before_reset", 0, 0),
        },
    )
    yield from faults_of(
        "attention mask",
        "encoder",
        {
            "dropped, one layer": each(of("Where"), unmasked, 1),
            "-15": masked_by(-15),
        },
    )
    yield from faults_of(
        "attention scale",
        "encoder",
        {"8 for its root": scale(np.sqrt(8)), "x 1.000001": scale(1.000001)},
    )
    yield from faults_of(
        "token ids and positions",
        "encoder",
        {"positions from 1": places, "the last id wraps": wrapped(157)},
    )


FAULTS = tuple(_faults())
