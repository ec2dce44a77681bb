"""The head for a vector of each input."""

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.embedding import Vectors
from onnxproof.tensors import Field
from onnxproof.wrappers.head import Bare, Headed, listed
from onnxproof.wrappers.heads.detection import Chosen

NAMES = ("embedding", "embeddings", "pooler_output")
"""The names that find the vectors among several outputs of that form."""


class _Embedding:
    name = "embedding"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns vectors [batch, size]."""
        fitting = [i for i, spec in enumerate(bare.outputs) if "float" in spec.dtype and len(spec.shape) == 2]
        named = [i for i in fitting if bare.outputs[i].name in NAMES] or fitting
        if len(named) != 1:
            raise JobError(
                "the task embedding needs one output of vectors [batch, size], or one named "
                f"{' or '.join(NAMES)}; the module returns {listed(bare.outputs)}"
            )
        found = bare.outputs[named[0]]
        fields = (Field(found.name, "embedding", ""),)
        return Headed(Chosen(bare.module, named), (found,), fields, Vectors((found.name,)))


HEAD = _Embedding()
