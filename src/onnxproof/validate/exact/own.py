"""Hold what a file of onnxproof's own took from the checkpoint to the checkpoint's bits.

Such a file holds a tensor of the checkpoint as it is, or what a fold or the forward makes of it. Nobody else
rounded it. So a constant that is the tensor but for its last digits was changed, and what that does is not
excused as rounding. A file from elsewhere may have been converted more than once, and is excused.
"""

from collections.abc import Sequence

import numpy as np

from onnxproof.graph import OnnxGraph
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.validate.exact.checkpoint import Array
from onnxproof.validate.exact.known import Known
from onnxproof.validate.exact.layouts import same
from onnxproof.validate.exact.match import Match
from onnxproof.validate.exact.nearest import SMALLEST, Near
from onnxproof.validate.exact.pieces import whole

ALMOST = 3e-6
"""The largest rms difference, as a share of the tensor's rms, at which a constant is the tensor but for its
last digits. It is 50 times what one rounding makes, so a larger one shows whether it is excused or not. A
batch norm that was never trained scales by less than 1 - 4.9e-6 (an eps of 1e-5)."""


def is_own(graph: OnnxGraph, known: Known) -> bool:
    """Whether onnxproof wrote the file, by its metadata, from a checkpoint that is known."""
    return known.checkpoint and graph.metadata(METADATA_KEY) is not None


def explains_nothing(name: str, values: Array, match: Match, known: Known) -> bool:
    """Whether a constant was matched with a tensor of the checkpoint times one, plus nothing.

    It differs from that tensor, or it would be known by it. What changes no number explains no difference.
    """
    if match.exact is None or values.dtype != np.float32:
        return False
    bears_name = name in known.weights.tensors
    if not bears_name and (not match.names or values.size < SMALLEST):
        return False  # what the forward computes may round to a tensor that it has nothing to do with
    rounded = match.exact.astype(values.dtype)
    if same(rounded, values):
        return False
    found = whole(name, rounded, known.stored)
    return found is not None and not any(map(known.is_computed, found.names))


def was_changed(values: Array, near: Sequence[Near], known: Known) -> bool:
    """Whether a constant that matches nothing is one of the checkpoint's tensors, or one with a batch norm
    folded in, but for its last digits.

    ``near`` is what it is like. Not so if the forward may have computed it, or if it may be the tensor with
    more batch norms folded in that hardly scale. A fold is known within the roundings that it takes in
    float32, whoever does it. What lies farther from it is none.
    """
    if values.dtype != np.float32 or not near or known.recorded.missing:
        return False
    if not all(one.folded or one.what in known.weights.tensors for one in near):
        return False
    if any(known.is_computed(name) for one in near for name in one.names):
        return False
    norms = [norm for size in set(values.shape) for norm in known.norms.get(size, ())]
    if any(np.all(np.abs(norm.gain - 1) <= ALMOST) for norm in norms):
        return False
    return all(one.share <= ALMOST for one in near)
