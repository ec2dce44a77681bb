"""Recurrences."""

from collections.abc import Callable, Sequence

import numpy as np

from onnxproof.validate.exact.arrays import Array
from onnxproof.validate.exact.operators.named import Function, activations
from onnxproof.validate.exact.registry import operator

Step = Callable[[Array, tuple[Array, ...], int], tuple[Array, ...]]
Numbers = Sequence[float] | None


def _functions(
    names: Sequence[str] | None, defaults: Sequence[str], directions: int, alphas: Numbers, betas: Numbers
) -> list[list[Function]]:
    """The activations of each direction."""
    chosen = [*defaults] * directions if not names else list(names)
    functions = activations(chosen, alphas or (), betas or ())
    count = len(defaults)
    return [functions[start : start + count] for start in range(0, len(functions), count)]


def _recurrence(
    x: Array,
    lengths: Array | None,
    starts: Sequence[Array | None],
    hidden: int,
    direction: str,
    layout: int,
    step: Step,
) -> tuple[Array, ...]:
    """Run ``step(x_t, states, direction)`` over time: Y and each state's last value.

    ``x`` [time, batch, inputs], states [directions, batch, hidden]. After its ``lengths`` a row's output is 0
    and its state stays; backwards it begins at its own end.
    """
    if layout:
        x = np.swapaxes(x, 0, 1)
    time, batch = x.shape[:2]
    directions = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    outputs = np.zeros((time, len(directions), batch, hidden))
    ends: list[tuple[Array, ...]] = []
    for number, backwards in enumerate(directions):
        states = tuple(
            np.zeros((batch, hidden)) if start is None else _of_direction(start, number, layout)
            for start in starts
        )
        for moment in reversed(range(time)) if backwards else range(time):
            moved = step(x[moment], states, number)
            if lengths is None:
                states = moved
                outputs[moment, number] = moved[0]
            else:
                running = (moment < lengths)[:, None]
                states = tuple(np.where(running, new, old) for new, old in zip(moved, states, strict=True))
                outputs[moment, number] = np.where(running, moved[0], 0.0)
        ends.append(states)
    last = [np.stack([states[index] for states in ends]) for index in range(len(starts))]
    if layout:
        return np.transpose(outputs, (2, 0, 1, 3)), *(np.swapaxes(state, 0, 1) for state in last)
    return outputs, *last


def _of_direction(state: Array, direction: int, layout: int) -> Array:
    chosen: Array = state[:, direction] if layout else state[direction]
    return chosen


def _clipped(x: Array, clip: float | None) -> Array:
    return x if not clip else np.clip(x, -clip, clip)


@operator("GRU")
def _gru(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    start: Array | None = None,
    *,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Array, ...]:
    """Gates in the order update, reset, hidden."""
    size = r.shape[-1] if hidden_size is None else hidden_size
    bias = np.zeros((w.shape[0], 6 * size)) if b is None else b

    chosen = _functions(activations, ("Sigmoid", "Tanh"), len(w), activation_alpha, activation_beta)

    def step(x_t: Array, states: tuple[Array, ...], number: int) -> tuple[Array, ...]:
        gate, candidate = chosen[number]
        (h,) = states
        of_x = x_t @ w[number].T + bias[number, : 3 * size]
        of_h = h @ r[number][: 2 * size].T + bias[number, 3 * size : 5 * size]
        z = gate(_clipped(of_x[:, :size] + of_h[:, :size], clip))
        reset = gate(_clipped(of_x[:, size : 2 * size] + of_h[:, size:], clip))
        r_h, b_h = r[number][2 * size :], bias[number, 5 * size :]
        memory = reset * (h @ r_h.T + b_h) if linear_before_reset else (reset * h) @ r_h.T + b_h
        new = candidate(_clipped(of_x[:, 2 * size :] + memory, clip))
        return ((1 - z) * new + z * h,)

    return _recurrence(x, lengths, [start], size, direction, layout, step)


@operator("LSTM")
def _lstm(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    start: Array | None = None,
    cell: Array | None = None,
    peepholes: Array | None = None,
    *,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Array, ...]:
    """Gates in the order input, output, forget, cell. ``input_forget`` forgets what is not let in."""
    size = r.shape[-1] if hidden_size is None else hidden_size
    bias = np.zeros((w.shape[0], 8 * size)) if b is None else b
    peeps = np.zeros((w.shape[0], 3 * size)) if peepholes is None else peepholes

    chosen = _functions(activations, ("Sigmoid", "Tanh", "Tanh"), len(w), activation_alpha, activation_beta)

    def step(x_t: Array, states: tuple[Array, ...], number: int) -> tuple[Array, ...]:
        gate, candidate, squash = chosen[number]
        h, c = states
        whole = x_t @ w[number].T + h @ r[number].T + bias[number, : 4 * size] + bias[number, 4 * size :]
        i, o, f, g = np.split(whole, 4, axis=1)
        peep_i, peep_o, peep_f = np.split(peeps[number], 3)
        i = gate(_clipped(i + peep_i * c, clip))
        f = 1 - i if input_forget else gate(_clipped(f + peep_f * c, clip))
        new = f * c + i * candidate(_clipped(g, clip))
        return gate(_clipped(o + peep_o * new, clip)) * squash(new), new

    return _recurrence(x, lengths, [start, cell], size, direction, layout, step)


@operator("RNN")
def _rnn(
    x: Array,
    w: Array,
    r: Array,
    b: Array | None = None,
    lengths: Array | None = None,
    start: Array | None = None,
    *,
    activation_alpha: Numbers = None,
    activation_beta: Numbers = None,
    activations: Sequence[str] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> tuple[Array, ...]:
    size = r.shape[-1] if hidden_size is None else hidden_size
    bias = np.zeros((w.shape[0], 2 * size)) if b is None else b

    chosen = _functions(activations, ("Tanh",), len(w), activation_alpha, activation_beta)

    def step(x_t: Array, states: tuple[Array, ...], number: int) -> tuple[Array, ...]:
        (activation,) = chosen[number]
        whole = x_t @ w[number].T + states[0] @ r[number].T + bias[number, :size] + bias[number, size:]
        return (activation(_clipped(whole, clip)),)

    return _recurrence(x, lengths, [start], size, direction, layout, step)
