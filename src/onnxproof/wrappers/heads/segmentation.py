"""The head for the class of every pixel: the logits, or a mask and its confidence, decided in the graph."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.segmentation import ClassMaps, PixelLogits
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.head import Bare, Headed, find_logits, plain_field

MASK, CONFIDENCE = "mask", "confidence"
"""The names of the file's outputs if the arg-max is in the graph."""

AXES = ("batch", "classes", "height", "width")


class MaskInference(nn.Module):
    """Applies softmax and arg-max to the logits [b, C, H, W] of a module that returns a flat tuple.

    ``position`` is the place of the logits in that tuple.
    """

    def __init__(self, module: nn.Module, position: int) -> None:
        super().__init__()
        self.module = module
        self.position = position

    def forward(self, *inputs: Tensor) -> Outputs:
        """Return class indices, int64 [b, H, W], and the probability of each pixel's class [b, H, W]."""
        confidence, mask = torch.max(self._probabilities(inputs), dim=1)
        return mask, confidence

    def forward_with_margins(self, *inputs: Tensor) -> tuple[Outputs, Mapping[str, Tensor]]:
        """Return what ``forward`` returns, and each pixel's lead over the next class [b, H, W]."""
        probabilities = self._probabilities(inputs)
        confidence, mask = torch.max(probabilities, dim=1)
        if probabilities.shape[1] == 1:
            return (mask, confidence), {"mask": torch.full_like(confidence, torch.inf)}
        second = torch.topk(probabilities, 2, dim=1).values[:, 1]
        return (mask, confidence), {"mask": confidence - second}

    def _probabilities(self, inputs: Outputs) -> Tensor:
        logits: Tensor = self.module(*inputs)[self.position]
        return torch.softmax(logits, dim=1)


class _Segmentation:
    name = "segmentation"
    decodes = ("mask", "none")

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns class logits [batch, classes, height, width].

        With ``decode`` "none", the logits must be its only output.
        """
        chosen = find_logits(bare, self.name, AXES)
        if decode == "none":
            if len(bare.outputs) > 1:
                raise JobError('wrapper.decode = "none": the module returns more than its logits; use "mask"')
            (logits,) = bare.outputs
            reading = PixelLogits((logits.name,))
            return Headed(bare.module, bare.outputs, (plain_field(logits),), reading)
        batch, _, height, width = bare.outputs[chosen].shape
        return Headed(
            MaskInference(bare.module, chosen),
            (
                TensorSpec(MASK, "int64", (batch, height, width)),
                TensorSpec(CONFIDENCE, "float32", (batch, height, width)),
            ),
            (
                Field(MASK, "mask", "class", kind="label", ranks="confidence"),
                Field(CONFIDENCE, "confidence", "probability"),
            ),
            ClassMaps((MASK, CONFIDENCE)),
        )


HEAD = _Segmentation()
