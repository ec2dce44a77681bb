"""The head of the task raw. It leaves the module's outputs as they are."""

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.raw import Unread
from onnxproof.wrappers.head import Bare, Headed, plain_field


class _Raw:
    name = "raw"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        return Headed(bare.module, bare.outputs, tuple(plain_field(spec) for spec in bare.outputs), Unread())


HEAD = _Raw()
