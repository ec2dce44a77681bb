"""What a deployment runs: NumPy, ONNX Runtime and Pillow, never torch."""

from onnxproof.runtime.manifest import ClassInfo, Manifest, Preprocess
from onnxproof.runtime.nms import nms
from onnxproof.runtime.predictor import Prediction, Predictor, load
from onnxproof.runtime.preprocess import Transform, prepare, read_picture

__all__ = [
    "ClassInfo",
    "Manifest",
    "Prediction",
    "Predictor",
    "Preprocess",
    "Transform",
    "load",
    "nms",
    "prepare",
    "read_picture",
]
