"""Whether outputs are numbers from which something can be decided."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def why_undecided(
    outputs: Mapping[str, Array], names: Iterable[str], row: int, rows: int, *, needs_all: bool
) -> str | None:
    """Why nothing can be decided from a row of the outputs of these names; None if it can.

    An output with ``rows`` along its first axis is looked at in that ``row``, any other as a whole. With
    ``needs_all`` no number may be NaN or positive infinity; else not all numbers of an output may be NaN.
    """
    for name in names:
        values = outputs[name]
        if values.dtype.kind != "f":
            continue
        if values.ndim and len(values) == rows:
            values = values[row]
        if not values.size or np.max(values) < np.inf:  # false for NaN, too
            continue
        bad = np.isnan(values)
        if needs_all:
            bad |= values == np.inf
        count = int(np.count_nonzero(bad))
        if count == values.size or (needs_all and count):
            return (
                f"the output {name} holds NaN or infinity in {count} of {values.size} numbers, so nothing "
                "is decided: the model, or what it was given, is at fault"
            )
    return None
