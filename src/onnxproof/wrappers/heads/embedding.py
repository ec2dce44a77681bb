"""The head for a vector of each input."""

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.embedding import Vectors
from onnxproof.tensors import Field
from onnxproof.wrappers.head import Bare, Headed, find_one
from onnxproof.wrappers.heads.detection import Chosen

NAMES = ("embedding", "embeddings", "pooler_output")
"""The names that find the vectors among several outputs of that form."""


class _Embedding:
    name = "embedding"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns vectors [batch, size]."""
        at = find_one(bare, self.name, NAMES, "vectors", ("batch", "size"))
        found = bare.outputs[at]
        fields = (Field(found.name, "embedding", ""),)
        return Headed(Chosen(bare.module, (at,)), (found,), fields, Vectors((found.name,)))


HEAD = _Embedding()
