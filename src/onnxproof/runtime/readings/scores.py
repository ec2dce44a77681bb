"""Scores from logits, in the dtype of the logits."""

import numpy as np

from onnxproof.runtime.readings.adjustable import Array


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)), element by element. It is 0 where exp(-x) overflows."""
    with np.errstate(over="ignore"):
        result: Array = 1 / (1 + np.exp(-logits))
    return result


def softmax(logits: Array) -> Array:
    """exp(x) / sum(exp(x)) over the last axis, of logits less the largest."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True)
    return result
