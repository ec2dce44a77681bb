"""The head for any number of classes of each input: the logits, or their sigmoid."""

import torch

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.multilabel import DEFAULT_THRESHOLD, LabelScores
from onnxproof.wrappers.class_scores import ClassScoresHead


def _reading(name: str, decode: str, validation: ValidateTable, count: int) -> LabelScores:  # noqa: ARG001
    given = validation.score_threshold
    return LabelScores((name,), decode, DEFAULT_THRESHOLD if given is None else given)


HEAD = ClassScoresHead("multilabel", torch.sigmoid, _reading)
