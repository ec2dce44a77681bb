"""One class for each input: logits, or their softmax."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from onnxproof.job import ValidateTable
from onnxproof.wrappers.class_scores import ClassScoresHead


def _softmax(logits: Tensor) -> Tensor:
    return torch.softmax(logits, dim=1)


def _settings(validation: ValidateTable, count: int) -> Mapping[str, Any]:
    return {"top_k": min(validation.top_k, count)}


HEAD = ClassScoresHead("classification", _softmax, _settings)
