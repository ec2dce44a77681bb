"""From a picture to the model's input, and from the input's coordinates back to the picture's."""

from onnxproof.runtime.preprocess.lay import Transform, prepare, to_input
from onnxproof.runtime.preprocess.picture import TRANSPARENT, Picture, read_picture

__all__ = ["TRANSPARENT", "Picture", "Transform", "prepare", "read_picture", "to_input"]
