"""The head for a class of each step of a sequence: the logits, and the length of each sequence."""

from collections.abc import Sequence

from torch import Tensor, nn

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.sequence import StepLogits
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.family import Outputs
from onnxproof.wrappers.head import Bare, Headed, find_logits

LOGITS, LENGTHS = "logits", "lengths"
"""The names of the file's outputs. The second is left out if no lengths are known."""


class SequenceInference(nn.Module):
    """Returns the logits [b, time, C] of a module that returns a flat tuple, and the sequences' lengths.

    ``logits`` is the place of the logits in that tuple. The lengths, int64 [b], come from

    - the module's output at the position ``lengths``, if that is not None;
    - the padding mask [b, time], the input at the position ``mask``, otherwise: the number of its ones.

    If both are None, no lengths are returned.
    """

    def __init__(self, module: nn.Module, logits: int, lengths: int | None, mask: int | None) -> None:
        super().__init__()
        self.module = module
        self.logits = logits
        self.lengths = lengths
        self.mask = mask

    def forward(self, *inputs: Tensor) -> Outputs:
        """Return logits [b, time, C], and lengths int64 [b] if they are known."""
        outputs = self.module(*inputs)
        if self.lengths is not None:
            return outputs[self.logits], outputs[self.lengths].long()
        if self.mask is not None:
            return outputs[self.logits], (inputs[self.mask] != 0).long().sum(dim=1)
        return (outputs[self.logits],)


class _Sequence:
    name = "sequence"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns class logits [batch, time, classes].

        If the module has an attribute ``blank``, that is the index of the blank class of connectionist
        temporal classification (CTC). The length of each sequence is the module's output ``lengths``, int64
        [batch]. If it has no such output, the lengths are read from the padding mask among its inputs. If
        there is no mask either, all steps count.
        """
        logits = find_logits(bare, self.name, ("batch", "time", "classes"))
        batch, time, count = bare.outputs[logits].shape
        blank = getattr(bare.own, "blank", None)
        if blank is not None and not (type(blank) is int and 0 <= blank < int(count)):
            raise JobError(
                f"the module's attribute blank is {blank!r}; expected the index of the blank among the "
                f"{count} classes of its logits, 0 to {int(count) - 1}, or None if it has no blank"
            )
        lengths = _lengths(bare.outputs, batch)
        mask = _mask(bare.inputs, batch, time) if lengths is None else None
        specs = [TensorSpec(LOGITS, "float32", (batch, time, count))]
        fields = [Field(LOGITS, "logit", "")]
        if lengths is not None or mask is not None:
            specs.append(TensorSpec(LENGTHS, "int64", (batch,)))
            fields.append(Field(LENGTHS, "length", "steps", kind="label"))
        return Headed(
            SequenceInference(bare.module, logits, lengths, mask),
            tuple(specs),
            tuple(fields),
            StepLogits(tuple(spec.name for spec in specs), blank),
        )


HEAD = _Sequence()


def _lengths(outputs: Sequence[TensorSpec], batch: int | str) -> int | None:
    """The position of the module's output ``lengths``. Returns None if it has no such output."""
    for position, spec in enumerate(outputs):
        if spec.name == LENGTHS:
            if spec.shape != (batch,) or spec.dtype not in ("int32", "int64"):
                raise JobError(
                    f"the module's output {LENGTHS} is {spec}; expected int64[{batch}], the number of steps "
                    "that count in each sequence"
                )
            return position
    return None


def _mask(inputs: Sequence[TensorSpec], batch: int | str, time: int | str) -> int | None:
    """The position of the padding mask that has the logits' axes. Returns None if no input is a mask.

    Raises JobError if there are masks, and not exactly one of them has these axes.
    """
    masks = [i for i, spec in enumerate(inputs) if spec.mask]
    along = [i for i in masks if inputs[i].shape == (batch, time)]
    if masks and len(along) != 1:
        listed = ", ".join(f"{inputs[i].name} {inputs[i]}" for i in masks)
        raise JobError(
            f"the lengths of the sequences are not known: the logits are [{batch}, {time}, classes], and "
            f"{len(along)} of the masks ({listed}) have the axes [{batch}, {time}]; return {LENGTHS} "
            f"int64[{batch}] beside the logits"
        )
    return along[0] if along else None
