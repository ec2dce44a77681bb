"""The head for one class of each input: the logits, or their softmax."""

import torch
from torch import Tensor

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.classification import RankedScores
from onnxproof.wrappers.class_scores import ClassScoresHead


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits, dim=1)


def _reading(name: str, decode: str, validation: ValidateTable, count: int) -> RankedScores:
    return RankedScores((name,), decode, min(validation.top_k, count))


HEAD = ClassScoresHead("classification", _softmax, _reading)
