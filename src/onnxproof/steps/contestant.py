"""The process of ``bench`` that runs a bundle's checkpoint in PyTorch."""

from onnxproof.deploy.bench import Torch
from onnxproof.deploy.contestant import Feeds, Run
from onnxproof.job.asked import job_to_validate
from onnxproof.steps.opening import wrapped_for
from onnxproof.wrappers.timed import timed_module


def open_it(what: Torch, feeds: Feeds) -> tuple[Run, tuple[str, ...]]:
    """Rebuild the checkpoint as ``validate`` does."""
    asked = job_to_validate(what.bundle, what.set, checkpoint=what.checkpoint, trust=what.trust)
    model = wrapped_for(asked.job, None)
    return timed_module(model, feeds, what.threads, compiled=what.compiled), asked.notes
