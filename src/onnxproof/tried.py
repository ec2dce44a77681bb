"""On what a file from elsewhere is tried to find out how it takes its inputs."""

from dataclasses import replace
from typing import Any

import numpy as np

from onnxproof.draft import Draft
from onnxproof.job import Job
from onnxproof.judging import settings_of
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.runtime.port import Port
from onnxproof.validate.cases import Case, volume
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.likeness import Arrays
from onnxproof.validate.trial import plan_trial
from onnxproof.validate.views import Normalization
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.folder import read_norm_stats
from onnxproof.wrappers.input import PictureInput


def key_of(text: str) -> str:
    """The key of a value that is written "section.key=value"."""
    return text.partition("=")[0].strip()


def normalization_of(made: Draft, model: WrappedModel) -> Normalization | None:
    """What the checkpoint's pictures are normalised by: as the job says it, or the files beside the
    checkpoint, or else the model's own input stage. None if the family needs no word on it."""
    mean, std = made.job.wrapper.normalization()
    if mean is not None and std is not None:
        return mean, std
    beside = read_norm_stats(made.checkpoint.folder)
    if beside is not None:
        return beside
    for stage in model.module.modules():
        if isinstance(stage, PictureInput):
            own = tuple(tuple(map(float, one.flatten().tolist())) for one in (stage.mean, stage.std))
            return None if own == NORMALIZATIONS["none"] else _rounded(own)
    return None


def _rounded(own: Any) -> Normalization:
    """A normalisation that float32 holds, as the numbers that it was made of."""
    for known in NORMALIZATIONS.values():
        if np.allclose(own, known, rtol=1e-6, atol=0):
            return known
    mean, std = own
    return mean, std


def small_cases(model: WrappedModel, job: Job) -> tuple[Case, ...]:
    """A small case of noise, and a picture if there is one."""
    settings = replace(settings_of(job), annotations=None, effort="quick", leaves_out=True)
    cases = sorted(plan_trial(model.contract, settings).cases, key=lambda case: volume((case,)))
    noise = [case for case in cases if case.content == "noise"][:1]
    shown = [case for case in cases if case.content == "picture" and case.native][:1]
    return tuple(noise + shown) or tuple(cases[:1])


def returned(leg: OrtLeg, fed: Arrays) -> tuple[Port, ...]:
    """The file's outputs with the sizes that they have for these inputs. As declared if it does not run."""
    try:
        found = leg.run(fed).outputs
    except Exception:  # noqa: BLE001 - ONNX Runtime raises many types
        return leg.ports.outputs
    return tuple(
        replace(port, shape=found[port.name].shape) if hasattr(found[port.name], "ndim") else port
        for port in leg.ports.outputs
    )
