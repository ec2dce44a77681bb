"""Any number of classes for each input: logits, or their sigmoid."""

from collections.abc import Mapping
from typing import Any

import torch

from onnxproof.job import ValidateTable
from onnxproof.runtime.tasks.multilabel import DEFAULT_THRESHOLD
from onnxproof.wrappers.class_scores import ClassScoresHead


def _settings(validation: ValidateTable, count: int) -> Mapping[str, Any]:  # noqa: ARG001
    given = validation.score_threshold
    return {"score_threshold": DEFAULT_THRESHOLD if given is None else given}


HEAD = ClassScoresHead("multilabel", torch.sigmoid, _settings)
