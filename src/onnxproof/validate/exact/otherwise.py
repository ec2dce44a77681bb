"""Say of a constant that is known, but that bears the name of a tensor whose numbers it does not hold.

Exporters and simplifiers may put another tensor under an old name, so this says something only of a file that
does not state the checkpoint's function.
"""

import numpy as np

from onnxproof.validate.exact.checkpoint import Array
from onnxproof.validate.exact.known import Known

SHOWN = 4
"""How many numbers are told."""

CHANNELS = 1
"""The axis of a convolution's weight, and of a picture's mean, along which the picture's channels lie."""
PICTURE = 3
"""How many channels a picture has."""


def otherwise(name: str, values: Array, known: Known) -> str | None:
    """What a constant holds in place of the checkpoint's tensor of its name and size; None if it is that, or
    if there is none.

    The constant is copied: a fold has other numbers by right.
    """
    own = known.weights.tensors.get(name)
    if own is None or own.shape != values.shape or own.dtype.kind != "f":
        return None
    wanted = own.astype(values.dtype)
    if np.array_equal(wanted, values, equal_nan=True):
        return None
    for axis in range(values.ndim):
        if np.array_equal(np.flip(wanted, axis), values, equal_nan=True):
            colours = axis == CHANNELS and values.shape[axis] == PICTURE
            order = "channel order" if colours else "order"
            return f"{name} holds its numbers in another {order} (axis {axis} reversed)"
    return f"{name} holds {_listed(values)}, and the checkpoint's {_listed(wanted)}"


def _listed(values: Array) -> str:
    flat = values.reshape(-1)
    more = ", …" if flat.size > SHOWN else ""
    return ", ".join(f"{value:.6g}" for value in flat[:SHOWN].tolist()) + more
