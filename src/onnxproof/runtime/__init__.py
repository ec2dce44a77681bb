"""What a deployment runs: NumPy, ONNX Runtime and Pillow, never torch."""

from onnxproof.contract import ClassInfo, Preprocess
from onnxproof.runtime.loading import load
from onnxproof.runtime.manifest import Manifest
from onnxproof.runtime.nms import nms
from onnxproof.runtime.plain import PlainModel, gather, load_plain, picture_array, read_arrays
from onnxproof.runtime.prediction import Prediction
from onnxproof.runtime.predictor import Predictor
from onnxproof.runtime.preprocess import Transform, prepare, read_picture
from onnxproof.runtime.request import Answer, PictureRequest, answer, parse_request
from onnxproof.runtime.stored import write_arrays
from onnxproof.runtime.timings import Timings
from onnxproof.runtime.video import Frame, frames_of

__all__ = [
    "Answer",
    "ClassInfo",
    "Frame",
    "Manifest",
    "PictureRequest",
    "PlainModel",
    "Prediction",
    "Predictor",
    "Preprocess",
    "Timings",
    "Transform",
    "answer",
    "frames_of",
    "gather",
    "load",
    "load_plain",
    "nms",
    "parse_request",
    "picture_array",
    "prepare",
    "read_arrays",
    "read_picture",
    "write_arrays",
]
