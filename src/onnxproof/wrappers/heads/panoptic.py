"""The head for segments by queries: the logits of their classes, and of their masks."""

from onnxproof.errors import JobError
from onnxproof.job import ValidateTable
from onnxproof.runtime.readings.query_masks import QueryMaskReading
from onnxproof.runtime.tasks.panoptic import QueryMasks
from onnxproof.tensors import Field, TensorSpec
from onnxproof.wrappers.head import Bare, Headed, listed
from onnxproof.wrappers.heads.detection import Chosen, picture_axes

CLASSES, MASKS = "class_logits", "mask_logits"
"""The names of the file's outputs."""

DEFAULT_THRESHOLD = 0.5
"""The probability above which a query counts, as in transformers' post-processing."""


class _Panoptic:
    name = "panoptic"
    decodes = ("none",)

    def attach(self, bare: Bare, decode: str, validation: ValidateTable) -> Headed:
        """Put the head behind a module that returns class logits and mask logits.

        They are [batch, queries, classes + 1] and [batch, queries, h, w]. The last column of the class logits
        is "no object".
        """
        return with_queries(bare, self.name, QueryMasks, validation)


HEAD = _Panoptic()


def with_queries(
    bare: Bare,
    task: str,
    kind: type[QueryMasks | QueryMaskReading],
    validation: ValidateTable,
) -> Headed:
    """A module with the outputs of queries that have classes and masks, and the reading ``kind`` of them."""
    chosen = [_only(bare, task, name, rank) for name, rank in ((CLASSES, 3), (MASKS, 4))]
    classes, masks = (bare.outputs[at] for at in chosen)
    columns = classes.shape[2]
    if bare.classes and columns != len(bare.classes) + 1:
        raise JobError(
            f'{len(bare.classes)} classes are named and "no object", the module\'s output {classes.name} '
            f"has {columns} columns: name each class in model.classes, in the order that the model was "
            "trained with"
        )
    given = validation.score_threshold
    height, width = picture_axes(bare.inputs)
    reading = kind(
        (CLASSES, MASKS),
        (height, width),
        score_threshold=DEFAULT_THRESHOLD if given is None else given,
    )
    return Headed(
        Chosen(bare.module, chosen),
        (TensorSpec(CLASSES, "float32", classes.shape), TensorSpec(MASKS, "float32", masks.shape)),
        (Field(CLASSES, "class_logit", ""), Field(MASKS, "mask_logit", "")),
        reading,
    )


def _only(bare: Bare, task: str, name: str, rank: int) -> int:
    """The position of the output of that name or, if none has it, of the only one with so many axes."""
    fitting = [
        i for i, spec in enumerate(bare.outputs) if spec.dtype == "float32" and len(spec.shape) == rank
    ]
    chosen = [i for i in fitting if bare.outputs[i].name == name] or fitting
    if len(chosen) != 1:
        raise JobError(
            f"the task {task} needs class logits [batch, queries, classes + 1] and mask logits "
            f"[batch, queries, h, w], named {CLASSES} and {MASKS} if there are others; the module returns "
            f"{listed(bare.outputs)}"
        )
    return chosen[0]
