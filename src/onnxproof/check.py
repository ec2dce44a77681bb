"""Judge someone else's export against a checkpoint, without a job.

The family, the task and the sizes are found out from the checkpoint and the file. What the exporter chose
besides is found out by running both (search.py): which output is which, how far the graph decodes, and how
the file takes its pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.export.model import model_with
from onnxproof.finding.draft import draft
from onnxproof.finding.search import Found, Otherwise, Search
from onnxproof.finding.tried import key_of
from onnxproof.finding.unlike import SMALL_BOXES, few_pictures, half_of, other_names, says_nms
from onnxproof.graph import OnnxGraph
from onnxproof.job import Job
from onnxproof.normalizations import NORMALIZATIONS
from onnxproof.progress import Progress, silent
from onnxproof.runtime.archive import on_disk
from onnxproof.runtime.folder import data_of, refuse_in_bundle
from onnxproof.runtime.loading import read_metadata
from onnxproof.runtime.manifest import METADATA_KEY
from onnxproof.runtime.readings.oriented import OrientedNms
from onnxproof.source import model_at
from onnxproof.steps.judging import judge_elsewhere
from onnxproof.steps.look_first import refuse_job
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.arranged import Arrangement
from onnxproof.validate.baseline import BaselineLike, held_to, read_baseline
from onnxproof.validate.checks import Link
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.sight.check import failed_in_pipeline
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import Checkpoint

FITTED = (
    "the file does not say how its host fits pictures: they are fitted as the checkpoint's family trains. "
    "--set predict.filter=… and the other keys of [predict] say what your host does"
)
"""What the link ``pipeline`` rests on, of a file from elsewhere."""

NUMBERS: tuple[Link, ...] = ("function", "runtime", "decisions")
"""The links that compare the file's own numbers with the model's."""


@checks_arguments
def check(
    onnx: str | PathLike[str],
    *,
    against: str | PathLike[str],
    images: str | None = None,
    map: Mapping[str, str] = MappingProxyType({}),
    set: Sequence[str] = (),
    draw: str | PathLike[str] | None = None,
    baseline: BaselineLike | None = None,
    progress: Progress = silent,
) -> Verdict:
    """Judge an ONNX file that somebody else exported against the checkpoint ``against``, without a job.

    ``images`` is a pattern of pictures to decide on. ``map`` says which input or output of the file is
    which of the model, as in {"images": "input"}, where that cannot be found out. ``set`` has values of
    a job, "section.key=value": "model.variant=…" where the checkpoint does not say it, or "wrapper.…" to say
    how the file takes pictures. Few cases are tried unless they say "validate.effort=normal". ``draw`` is a
    folder for the pictures of ``images`` with the file's decisions on them. ``baseline`` is as for
    ``validate``. The verdict's notes say what was found out.

    Raises CheckpointError if no family knows the checkpoint, ModelFileError if the file cannot be loaded, and
    RequestError if the file is another model's, if ``draw`` lies in a bundle, or if something is missing: the
    message names the option.
    """
    if draw is not None and images is None:
        raise RequestError("--draw needs pictures to draw on: name them with --images")
    if draw is not None:
        refuse_in_bundle(Path(draw), "--draw")
    older = None if baseline is None else read_baseline(baseline)
    file = model_at(onnx)
    with on_disk(file, data_of(file)) as readable:
        found = find_out(readable, against=against, images=images, map=map, set=set, progress=progress)
        model = replace(model_with(found.job, found.checkpoint), rounded_to=found.dtype)
        if found.otherwise is not None:  # the framework normalises as is stated, not as the file does
            model = replace(model, own=model_with(found.otherwise.job, found.checkpoint).own)
        verdict = judge_elsewhere(
            found.job,
            model,
            readable,
            found.how,
            notes=found.notes,
            draw=None if draw is None else Path(draw),
            progress=progress,
        )
    if verdict.pipeline is not None and not any(key_of(text).startswith("predict.") for text in set):
        verdict = replace(verdict, notes=(*verdict.notes, FITTED))
    if found.otherwise is not None:
        verdict = failed_in_pipeline(verdict, found.otherwise.why)
    apart = any(one.status == "fail" and one.link in NUMBERS for one in verdict.checks)
    if found.guessed is not None and apart:
        verdict = replace(verdict, notes=(*verdict.notes, found.guessed))
    return verdict if older is None else held_to(verdict, older)


@dataclass(frozen=True, slots=True, eq=False)
class FoundOut:
    """What ``check`` finds out: the job, how the file is brought into its form, and both in words.

    ``error`` is how far the file then is from the model, as ``Likeness`` has it. ``dtype`` is that of most of
    the file's weights: "float32" or "float16". ``guessed`` is a note for a file whose numbers differ, on what
    was tried of its normalisation; None if nothing was. ``otherwise`` is None unless the file normalises
    pictures otherwise than is stated.
    """

    job: Job
    how: Arrangement
    notes: tuple[str, ...]
    checkpoint: Checkpoint
    error: float
    dtype: str
    guessed: str | None
    otherwise: Otherwise | None


def find_out(
    file: Path,
    *,
    against: str | PathLike[str],
    images: str | None = None,
    map: Mapping[str, str] = MappingProxyType({}),
    set: Sequence[str] = (),
    progress: Progress = silent,
) -> FoundOut:
    """What ``check`` has to know before it judges. The arguments and the errors are those of ``check``."""
    refuse_job(file, Path(against))
    more = [*set, *([] if images is None else [f"validate.images={images}"])]
    progress("recognise", 0, 0)
    made = draft(against, set=more)
    progress("arrange", 0, 0)
    leg = OrtLeg(file, made.job.validation.providers, made.job.validation.threads)
    graph = OnnxGraph.read(file)
    own = _declared(file, graph, made.job, more)
    if own:
        more += own
        made = made.again(more)
    dtype = half_of(file, graph)
    search = Search(file, made, leg, map, tuple(more), dtype)
    found = search.best()
    job, how = search.settled(found)
    notes = [f"no job is given: {made.said}", *search.notes(found, how)]
    named = other_names(graph, [one.name for one in found.model.contract.classes])
    if named is not None:
        notes.append(named)
    batch = found.model.contract.inputs[0].shape[0]
    few = few_pictures(
        graph, max((dim.max for dim in found.model.contract.dims if dim.name == batch), default=1)
    )
    if few is not None:
        notes.append(few)
    if isinstance(found.model.contract.reading, OrientedNms) and says_nms(graph):
        notes.append(SMALL_BOXES)
    if dtype != "float32":
        notes.append(
            f"the file's weights are rounded to {dtype}: its error is compared with that of the checkpoint's "
            f"model with weights and every result rounded to {dtype}"
        )
    return FoundOut(
        job,
        how,
        tuple(notes),
        made.checkpoint,
        found.likeness.error,
        dtype,
        _tried(search, found),
        search.otherwise(found),
    )


def _declared(file: Path, graph: OnnxGraph, job: Job, given: Sequence[str]) -> list[str]:
    """The dims that a file of our own declares for the job's, as ``set`` has them, but for those that are
    given. Empty for any other file."""
    text = graph.metadata(METADATA_KEY)
    if text is None:
        return []
    try:
        dims = read_metadata({METADATA_KEY: text}, file).contract.dims
    except ModelFileError:
        return []  # the hazard "metadata" says what is wrong with it
    keys = frozenset(map(key_of, given))
    known = (dim for dim in dims if dim.name in job.dims and f"dims.{dim.name}" not in keys)
    return [f'dims.{dim.name}="{dim}"' for dim in known if dim != job.dims[dim.name]]


def _tried(search: Search, found: Found) -> str | None:
    """Which normalisations were tried, for a file that fails. Returns None if none was."""
    if search.own is None or found.view is None or math.isinf(found.likeness.error):
        return None
    return (
        f"of the normalisations that were tried (the checkpoint's own, {', '.join(NORMALIZATIONS)}) this is "
        f"the nearest: pictures {found.view.said}. If the file has other constants, no arrangement is exact; "
        'say them: --set "wrapper.mean=[…]" --set "wrapper.std=[…]"'
    )
