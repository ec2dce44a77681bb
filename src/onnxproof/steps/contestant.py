"""The process of ``bench`` that runs a bundle's checkpoint in PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any

from onnxproof.deploy.bench import Torch
from onnxproof.deploy.contestant import serve
from onnxproof.job.asked import job_to_validate
from onnxproof.steps.opening import wrapped_for
from onnxproof.wrappers.timed import timed_module


def main() -> None:
    """Rebuild the checkpoint as ``validate`` does, and answer turns."""
    serve(_open)


def _open(what: Torch, feeds: Mapping[str, Any]) -> tuple[Callable[[], list[Any]], tuple[str, ...]]:
    asked = job_to_validate(what.bundle, what.set, checkpoint=what.checkpoint, trust=what.trust)
    model = wrapped_for(asked.job, None)
    return timed_module(model, feeds, what.threads, compiled=what.compiled), asked.notes
