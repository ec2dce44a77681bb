"""From a picture to the model's input, and from the input's coordinates back to the picture's."""

from onnxproof.runtime.preprocess.lay import (
    Placement,
    Transform,
    as_network_sees,
    place,
    prepare,
    prepare_read,
    to_input,
    transform_of,
)
from onnxproof.runtime.preprocess.picture import TRANSPARENT, Picture, read_picture

__all__ = [
    "TRANSPARENT",
    "Picture",
    "Placement",
    "Transform",
    "as_network_sees",
    "place",
    "prepare",
    "prepare_read",
    "read_picture",
    "to_input",
    "transform_of",
]
