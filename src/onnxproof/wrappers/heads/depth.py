"""The head for a value of each pixel, such as its depth."""

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.depth import MapValues
from onnxproof.tensors import Field
from onnxproof.wrappers.head import Bare, Headed, listed
from onnxproof.wrappers.heads.detection import Chosen

DEPTH_NAMES = ("depth", "predicted_depth")
"""The names that find the map among several outputs of that form."""


class _Depth:
    name = "depth"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns a map [batch, height, width] of the input's pixels."""
        fitting = [i for i, spec in enumerate(bare.outputs) if "float" in spec.dtype and len(spec.shape) == 3]
        named = [i for i in fitting if bare.outputs[i].name in DEPTH_NAMES] or fitting
        if len(named) != 1:
            raise JobError(
                "the task depth needs one output of values [batch, height, width], or one named "
                f"{' or '.join(DEPTH_NAMES)}; the module returns {listed(bare.outputs)}"
            )
        found = bare.outputs[named[0]]
        fields = (Field(found.name, "depth", ""),)
        return Headed(Chosen(bare.module, named), (found,), fields, MapValues((found.name,)))


HEAD = _Depth()
