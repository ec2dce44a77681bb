"""On what a file from elsewhere is tried to find out how it takes its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxproof.contract import Contract
from onnxproof.errors import RequestError
from onnxproof.finding.draft import NORMALIZES, Draft
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.runtime.port import Port
from onnxproof.steps.planning import settings_of
from onnxproof.validate.cases import Case, volume
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.likeness import Arrays
from onnxproof.validate.trial import plan_trial
from onnxproof.validate.views import Normalization
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.input import PictureInput

TOOK_ITS_WORD = (
    "nothing states the normalisation that the network was trained with, so the verdict takes the file's "
    'word for it: beside a norm_stats.json ({"mean": […], "std_dev": […]}) in the checkpoint\'s folder, a '
    "file that normalises otherwise fails"
)


def key_of(text: str) -> str:
    """The key of a value that is written "section.key=value"."""
    return text.partition("=")[0].strip()


@dataclass(frozen=True, slots=True)
class Trained:
    """The normalisation of the pictures on which a network was trained. ``stated`` is what states it, in
    words; it is empty if it is only the family's usual one."""

    normalization: Normalization
    stated: str


def normalization_of(made: Draft, model: WrappedModel) -> Trained | None:
    """What the checkpoint's pictures are normalised by: as the drafted job says it, or else the model's own
    input stage. None if they are not, or if the family needs no word on it."""
    mean, std = made.job.wrapper.normalization()
    if mean is not None and std is not None:
        found = next((one.stated for one in made.recognised.settings if one.key in NORMALIZES), "")
        return _trained((mean, std), found)
    for stage in model.module.modules():
        if isinstance(stage, PictureInput):
            own: Any = tuple(tuple(map(float, one.flatten().tolist())) for one in (stage.mean, stage.std))
            return _trained(own, stage.stated)
    return None


def _trained(own: Normalization, stated: str) -> Trained | None:
    known = _rounded(own)
    return None if known == NORMALIZATIONS["none"] else Trained(known, stated)


def _rounded(own: Normalization) -> Normalization:
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
    noise = [case for case in cases if case.kind == "noise"][:1]
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


def inputs_of(
    file: Path, ports: Sequence[Port], contract: Contract, mapping: Mapping[str, str], checkpoint: Path
) -> Mapping[str, Port]:
    """The file's input for each of the model's. ``mapping`` has pairs that are given.

    Raises RequestError if that cannot be found out.
    """
    known = [spec.name for spec in contract.inputs]
    found, left = pairs_of(ports, contract, mapping)
    missing = [name for name in known if name not in found]
    if not missing and not left:
        return {name: found[name] for name in known}
    told, ours = (", ".join(f"{one.name} {one}" for one in side) for side in (ports, contract.inputs))
    said = f"{file} takes {told or 'nothing'}; {checkpoint} takes {ours}"
    if missing and left:
        raise RequestError(f"{said}: say which is which with --map {left[0].name}={missing[0]}")
    if missing:
        raise RequestError(f"{said}: the file lacks {', '.join(missing)}")
    raise RequestError(f"{said}: the checkpoint's model is not given {', '.join(one.name for one in left)}")


def pairs_of(
    ports: Sequence[Port], contract: Contract, mapping: Mapping[str, str]
) -> tuple[dict[str, Port], list[Port]]:
    """The file's input for each of the model's that has one, and the file's that are none of these."""
    theirs = {port.name: port for port in ports}
    known = {spec.name: spec for spec in contract.inputs}
    found = {own: theirs[name] for name, own in mapping.items() if name in theirs and own in known}
    found |= {name: theirs[name] for name in known if name in theirs and name not in found}
    left = [port for port in ports if port not in found.values()]
    open_ = [spec for spec in known.values() if spec.name not in found]
    if len(left) == len(open_) == 1:
        return {**found, open_[0].name: left[0]}, []
    for spec in open_:
        alike = [port for port in left if len(port.shape) == len(spec.shape) and port.dtype == spec.dtype]
        rivals = [one for one in open_ if len(one.shape) == len(spec.shape) and one.dtype == spec.dtype]
        if len(alike) == len(rivals) == 1:
            found[spec.name] = alike[0]
            left.remove(alike[0])
    return found, left
