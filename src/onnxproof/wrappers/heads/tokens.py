"""The head for a class of each token of a text: the logits, and which tokens count."""

from torch import Tensor, nn

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.tokens import TokenLogits
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.head import Bare, Headed, find_logits

LOGITS, COUNTED = "logits", "counted"
"""The names of the file's outputs. The second is left out if no input is a padding mask."""


class TokenInference(nn.Module):
    """Returns the logits [b, time, C] at the place ``logits`` of what a module returns, and which tokens
    count.

    ``mask`` is the place of the padding mask [b, time] among the inputs; None if there is none.
    """

    def __init__(self, module: nn.Module, logits: int, mask: int | None) -> None:
        super().__init__()
        self.module = module
        self.logits = logits
        self.mask = mask

    def forward(self, *inputs: Tensor) -> Outputs:
        """Logits [b, time, C] and int64 [b, time], 1 where a token counts."""
        logits: Tensor = self.module(*inputs)[self.logits]
        return (logits,) if self.mask is None else (logits, (inputs[self.mask] != 0).long())


class _Tokens:
    name = "tokens"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns class logits [batch, time, classes].

        If one input is ``as mask`` and has the logits' first two axes, only the tokens that it keeps count.
        """
        logits = find_logits(bare, self.name, ("batch", "time", "classes"))
        axes = bare.outputs[logits].shape
        masks = [at for at, spec in enumerate(bare.inputs) if spec.mask and spec.shape == axes[:2]]
        mask = masks[0] if masks else None
        specs = [TensorSpec(LOGITS, "float32", axes)]
        fields = [Field(LOGITS, "logit", "")]
        if mask is not None:
            specs.append(TensorSpec(COUNTED, "int64", axes[:2]))
            fields.append(Field(COUNTED, "counted", "", kind="label"))
        reading = TokenLogits(tuple(spec.name for spec in specs))
        return Headed(TokenInference(bare.module, logits, mask), tuple(specs), tuple(fields), reading)


HEAD = _Tokens()
