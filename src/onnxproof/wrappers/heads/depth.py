"""The head for a value of each pixel, such as its depth."""

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.depth import MapValues
from onnxproof.tensors import Field
from onnxproof.wrappers.head import Bare, Headed, find_one
from onnxproof.wrappers.heads.detection import Chosen

DEPTH_NAMES = ("depth", "predicted_depth")
"""The names that find the map among several outputs of that form."""


class _Depth:
    name = "depth"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns a map [batch, height, width] of the input's pixels."""
        at = find_one(bare, self.name, DEPTH_NAMES, "values", ("batch", "height", "width"))
        found = bare.outputs[at]
        fields = (Field(found.name, "depth", ""),)
        return Headed(Chosen(bare.module, (at,)), (found,), fields, MapValues((found.name,)))


HEAD = _Depth()
