"""From a module's outputs to what the task of sequences takes: logits, and how many steps count."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from onnxproof.errors import JobError
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.family import Outputs

LOGITS, LENGTHS = "logits", "lengths"
"""The outputs of a file for sequences."""

LOGITS_NAMES = (LOGITS, "out")
"""What networks call their logits where they return more than one tensor of that form."""


class SequenceInference(nn.Module):
    """A module that returns, among others, logits [b, time, C]: these, and the sequences' lengths if known.

    The lengths int64 [b] are the module's own output at the position ``lengths``, or what the padding mask
    [b, time] at the position ``mask`` among the inputs leaves of each sequence.
    """

    def __init__(self, module: nn.Module, logits: int, lengths: int | None, mask: int | None) -> None:
        super().__init__()
        self.module = module
        self.logits = logits
        self.lengths = lengths
        self.mask = mask

    def forward(self, *inputs: Tensor) -> Outputs:
        """Logits [b, time, C], and lengths int64 [b] where they are known."""
        outputs = self.module(*inputs)
        if self.lengths is not None:
            return outputs[self.logits], outputs[self.lengths].long()
        if self.mask is not None:
            return outputs[self.logits], (inputs[self.mask] != 0).long().sum(dim=1)
        return (outputs[self.logits],)


def as_sequence(
    wrapped: nn.Module,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    decode: str,
    blank: Any,
) -> tuple[nn.Module, tuple[TensorSpec, ...], tuple[Field, ...], dict[str, Any]]:
    """The wrapped module, its outputs, their fields and the task's settings.

    ``blank`` is the index of the blank of connectionist temporal classification, None where there is none.
    Raises JobError where the module's outputs, ``decode`` or ``blank`` do not fit the task.
    """
    if decode not in ("auto", "none"):
        raise JobError(f'wrapper.decode = "{decode}" is not for the task sequence; there is: none')
    logits = _logits(outputs)
    batch, time, count = outputs[logits].shape
    if blank is not None and not (type(blank) is int and 0 <= blank < int(count)):
        raise JobError(
            f"the module's attribute blank is {blank!r}; expected the index of the blank among the "
            f"{count} classes of its logits, 0 to {int(count) - 1}, or None where it has no blank"
        )
    lengths = _lengths(outputs, batch)
    mask = _mask(inputs, batch, time) if lengths is None else None
    specs = [TensorSpec(LOGITS, "float32", (batch, time, count))]
    fields = [Field(LOGITS, "logit", "")]
    if lengths is not None or mask is not None:
        specs.append(TensorSpec(LENGTHS, "int64", (batch,)))
        fields.append(Field(LENGTHS, "length", "steps", kind="label"))
    return (
        SequenceInference(wrapped, logits, lengths, mask),
        tuple(specs),
        tuple(fields),
        {"decode": "none", "outputs": [spec.name for spec in specs], "blank": blank},
    )


def _logits(outputs: Sequence[TensorSpec]) -> int:
    """The position of the output that holds the logits, the classes on its last axis."""
    found = [i for i, spec in enumerate(outputs) if spec.dtype == "float32" and len(spec.shape) == 3]
    chosen = [i for i in found if outputs[i].name in LOGITS_NAMES] or found
    if len(chosen) != 1 or not isinstance(outputs[chosen[0]].shape[2], int):
        listed = ", ".join(f"{spec.name}: {spec}" for spec in outputs)
        raise JobError(
            "the task sequence needs one output of logits [batch, time, classes], or one named "
            f"{' or '.join(LOGITS_NAMES)}; the module returns {listed}"
        )
    return chosen[0]


def _lengths(outputs: Sequence[TensorSpec], batch: int | str) -> int | None:
    """The position of the module's own lengths; None where it returns none."""
    for position, spec in enumerate(outputs):
        if spec.name == LENGTHS:
            if spec.shape != (batch,) or spec.dtype not in ("int32", "int64"):
                raise JobError(
                    f"the module's output {LENGTHS} is {spec}; expected int64[{batch}], how many steps of "
                    "each sequence's logits count"
                )
            return position
    return None


def _mask(inputs: Sequence[TensorSpec], batch: int | str, time: int | str) -> int | None:
    """The position of the padding mask that runs along the logits; None where no input is a mask."""
    masks = [i for i, spec in enumerate(inputs) if spec.mask]
    along = [i for i in masks if inputs[i].shape == (batch, time)]
    if masks and len(along) != 1:
        listed = ", ".join(f"{inputs[i].name} {inputs[i]}" for i in masks)
        raise JobError(
            f"which steps count is not known: the logits are [{batch}, {time}, classes], and of the masks "
            f"{listed} {len(along)} have the axes [{batch}, {time}]; return {LENGTHS} int64[{batch}] "
            "beside the logits"
        )
    return along[0] if along else None
