"""Normalisation: epsilons, statistics, the form of training; a simplifier that folds them wrongly."""

from collections.abc import Iterator

import numpy as np
from soundness.fault import (
    Change,
    Edit,
    Editor,
    Emit,
    Fault,
    attribute,
    faults_of,
    moved,
    scaled,
    set_attribute,
)
from soundness.faults.weights import channel, float16

MEAN, VARIANCE = 3, 4
"""The positions of a batch norm's running statistics among its inputs."""


def epsilon(op: str, indices: tuple[int, ...], factor: float) -> Edit:
    """Multiply the epsilon of some norms."""

    def edit(editor: Editor) -> None:
        for index in indices:
            node = editor.node(op, index)
            set_attribute(node, "epsilon", attribute(node, "epsilon") * factor)

    return edit


def statistic(index: int, position: int, change: Change) -> Edit:
    """Change the running mean or variance of one batch norm."""
    return lambda editor: editor.rewrite(editor.node("BatchNormalization", index).input[position], change)


def shifted_mean(index: int, share: float) -> Edit:
    """Move one channel's running mean by a share of its deviation."""

    def edit(editor: Editor) -> None:
        node = editor.node("BatchNormalization", index)
        deviation = np.sqrt(editor.values(node.input[VARIANCE]))[3]
        editor.rewrite(node.input[MEAN], channel(moved(share * deviation)))

    return edit


def batch_statistics(index: int) -> Edit:
    """A batch norm that takes the batch's own mean and variance, as in training."""

    def edit(editor: Editor) -> None:
        node = editor.node("BatchNormalization", index)
        value, scale, bias = node.input[:3]
        epsilon = attribute(node, "epsilon")

        def instead(emit: Emit) -> str:
            mean = emit("ReduceMean", value, np.array([0, 2, 3]), keepdims=1)
            centred = emit("Sub", value, mean)
            variance = emit("ReduceMean", emit("Mul", centred, centred), np.array([0, 2, 3]), keepdims=1)
            normal = emit("Div", centred, emit("Sqrt", emit("Add", variance, epsilon)))
            axes = np.array([1, 2])
            gained = emit("Mul", normal, emit("Unsqueeze", scale, axes))
            return emit("Add", gained, emit("Unsqueeze", bias, axes))

        editor.replace(node, instead)

    return edit


def momentum_step(index: int) -> Edit:
    """Running statistics that took one more step than the checkpoint's: a tenth toward (0, 1)."""

    def edit(editor: Editor) -> None:
        node = editor.node("BatchNormalization", index)
        editor.rewrite(node.input[MEAN], scaled(0.9))
        editor.rewrite(node.input[VARIANCE], lambda values: 0.9 * values + 0.1)

    return edit


def folded_input(change: Change) -> Edit:
    """The input's normalisation folded into one factor and one offset for each channel, with ``change``
    on both, as a simplifier with a poor arithmetic would."""

    def edit(editor: Editor) -> None:
        first = editor.node("Sub")
        second = editor.behind(first.output[0], "Div")
        mean, std = editor.values(first.input[1]), editor.values(second.input[1])
        factor = change(1 / std.astype(np.float64)).astype(np.float32)
        offset = change(-mean.astype(np.float64) / std).astype(np.float32)
        editor.replace(second, lambda emit: emit("Add", emit("Mul", first.input[0], factor), offset))

    return edit


def _faults() -> Iterator[Fault]:
    yield from faults_of(
        "batch norm epsilon",
        "small-variance",
        {f"x {factor:g}": epsilon("BatchNormalization", (1,), factor) for factor in (100, 1.001, 1.00001)},
    )
    yield from faults_of(
        "batch norm mean",
        "yolox-raw",
        {f"+{share:g} deviations": shifted_mean(30, share) for share in (1e-3, 1e-5)},
    )
    yield from faults_of(
        "batch norm variance",
        "resnet",
        {f"x {factor}": statistic(5, VARIANCE, scaled(factor)) for factor in (1.0001, 1.000001)},
    )
    yield from faults_of(
        "batch norm in training form",
        "resnet",
        {"batch statistics": batch_statistics(6), "statistics of a step later": momentum_step(6)},
    )
    yield from faults_of(
        "layer norm epsilon",
        "encoder",
        {
            "1e-12": epsilon("LayerNormalization", (0,), 1e-7),
            "x 2": epsilon("LayerNormalization", (1,), 2),
            "x 1.0001": epsilon("LayerNormalization", (0,), 1.0001),
        },
    )
    yield from faults_of(
        "constants folded wrongly",
        "multilabel",
        {
            "in float16": folded_input(float16),
            "to 5 digits": folded_input(lambda values: np.round(values, 5)),
            "in float32, which is right": folded_input(lambda values: values),
        },
    )


FAULTS = tuple(_faults())
