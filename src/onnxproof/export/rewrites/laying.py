"""The fitting of pictures in the graph."""

from onnxproof.export import laying
from onnxproof.export.rewrites.values import Value, op


def laid(pictures: Value, preprocess: str) -> Value:
    """``onnxproof::laid``."""
    return laying.laid(op, pictures, preprocess)


def placement(pictures: Value, preprocess: str) -> Value:
    """``onnxproof::placement``."""
    return laying.placement(op, pictures, preprocess)
