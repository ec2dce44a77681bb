"""The head of the task raw. It leaves the module's outputs as they are.

An output without elements has no field: no value of it can be compared.
"""

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.raw import Unread
from onnxproof.wrappers.head import Bare, Headed, plain_field


class _Raw:
    name = "raw"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        fields = tuple(plain_field(spec) for spec in bare.outputs if 0 not in spec.shape)
        return Headed(bare.module, bare.outputs, fields, Unread())


HEAD = _Raw()
