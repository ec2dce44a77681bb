"""``onnxproof.compare``: compare one ONNX file with another, by PyTorch if a checkpoint is at hand."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from onnxproof.entry import takes_old_names
from onnxproof.errors import CheckpointError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.archive import on_disk
from onnxproof.runtime.folder import MANIFEST_FILE, data_of
from onnxproof.runtime.manifest import Manifest
from onnxproof.source import BundleArchive, BundleFolder, Source, look_at, model_at, model_in, sha256_of
from onnxproof.system.extras import is_there
from onnxproof.system.signatures import checks_arguments
from onnxproof.validate.cases import Effort
from onnxproof.validate.legs.file_a import NotEvaluatedError
from onnxproof.validate.pair.alone import compare_alone
from onnxproof.validate.renamed import named_as_in
from onnxproof.validate.trial import Settings
from onnxproof.validate.verdict import Verdict


class ByCheckpoint(Protocol):
    """Compares two files with the checkpoint that a job or a bundle, ``source``, names.

    The options are those of ``compare``; None means the job's own value. ``onnxproof.compare`` passes one
    that imports torch when it is called.
    """

    def __call__(
        self,
        a: Path,
        b: Path,
        source: str | PathLike[str],
        *,
        model: Any,
        checkpoint: str | PathLike[str] | None,
        set: Sequence[str],
        trust: bool,
        dims: Mapping[str, str],
        images: str | None,
        effort: Effort | None,
        threads: int | None,
        progress: Progress,
    ) -> Verdict: ...


class ByGraphs(Protocol):
    """Compares two files by their graphs in float64.

    The options are those of ``compare_alone``. ``onnxproof.compare`` passes one that imports torch when it is
    called.
    """

    def __call__(
        self,
        a: Path,
        b: Path,
        settings: Settings,
        *,
        dims: Mapping[str, str],
        inputs: Mapping[str, str],
        notes: Sequence[str],
        progress: Progress,
    ) -> Verdict: ...


def without_pytorch(*_files: Any, **_options: Any) -> Verdict:
    """The default ByCheckpoint, for calls that do not go through ``onnxproof.compare``. Always raises."""
    raise CheckpointError("only onnxproof.compare asks a checkpoint")


NOTHING: Mapping[str, str] = MappingProxyType({})


@takes_old_names
@checks_arguments
def compare(
    a: str | PathLike[str],
    b: str | PathLike[str],
    *,
    job: str | PathLike[str] | None = None,
    model: Any = None,
    checkpoint: str | PathLike[str] | None = None,
    set: Sequence[str] = (),
    trust: bool = False,
    dims: Mapping[str, str] = NOTHING,
    inputs: Mapping[str, str] = NOTHING,
    map: Mapping[str, str] = NOTHING,
    images: str | None = None,
    effort: Effort | None = None,
    threads: int | None = None,
    progress: Progress = silent,
    by_checkpoint: ByCheckpoint = without_pytorch,
    by_graphs: ByGraphs | None = None,
) -> Verdict:
    """Compare the ONNX file ``b`` with the ONNX file ``a``; either may be a bundle.

    If ``job`` is given (a job file or a bundle), or ``a`` is a bundle whose checkpoint and torch are at hand,
    both files are judged by PyTorch. Otherwise ``a`` takes PyTorch's place. Its graph is evaluated in float64
    with torch's kernels; if torch is not installed, or an operator of ``a`` is not evaluated, runs of ONNX
    Runtime alone are compared. ``model`` is the module itself, for a job that names no checkpoint.
    ``checkpoint`` is the checkpoint's present path, if a bundle moved. ``set`` changes the job, also a
    bundle's. ``trust`` allows to run the code that a bundle names, and to use a checkpoint that is not the
    one it was made from.

    ``dims`` maps dynamic axes to the sizes that are tried, such as "1..8". ``inputs`` maps inputs of a file
    that onnxproof did not write to texts such as "float32[batch, 3, 224, 224] in 0..255". ``map`` says
    which input or output of ``b`` is which of ``a``, as in {"images": "input"}, if their names differ.
    ``images`` is a glob pattern of pictures, relative to the working directory. If ``images``,
    ``effort`` or ``threads`` is None, the job's value is used; without a job there are no pictures, "normal"
    effort and 2 threads.

    Raises TrustError if the bundle whose checkpoint would judge names code and ``trust`` is False;
    ModelFileError, PictureError or another RequestError if the request cannot be met; CheckError if PyTorch,
    or ``a`` in its place, cannot run a declared case.
    """
    found = look_at(a)
    source, notes = (job, ()) if job is not None else _own_job(found, has_model=model is not None)
    if source is not None and inputs:
        raise RequestError("--inputs: the job declares the inputs; leave it out")
    asked = (model_in(found), model_at(b))
    with ExitStack() as opened:
        first, second = (opened.enter_context(on_disk(file, data_of(file))) for file in asked)
        named, renamed = opened.enter_context(named_as_in(first, second, map))
        verdict = None
        if source is not None:
            try:
                verdict = by_checkpoint(
                    first,
                    named,
                    source,
                    model=model,
                    checkpoint=checkpoint,
                    set=set,
                    trust=trust,
                    dims=dims,
                    images=images,
                    effort=effort,
                    threads=threads,
                    progress=progress,
                )
            except CheckpointError as error:
                if job is not None or checkpoint is not None:
                    raise
                notes = (f"A's bundle names a checkpoint that cannot be used ({error}): B is judged by A",)
        if verdict is None:
            _refuse_without_job(set, checkpoint, notes)
            settings = Settings(images=images, effort=effort or "normal", threads=threads or 2)
            verdict = _judged_by_a(
                first, named, settings, by_graphs, dims=dims, inputs=inputs, notes=notes, progress=progress
            )
    if not renamed:
        return verdict
    return replace(verdict, model_sha256=sha256_of(asked[1]), notes=(*verdict.notes, *renamed))


def _own_job(found: Source, *, has_model: bool) -> tuple[Path | None, tuple[str, ...]]:
    """The bundle at A, if its checkpoint can judge. If there is a bundle and it cannot, a note says why."""
    if isinstance(found, BundleArchive):
        return None, (f"A is {found.what}, from which its checkpoint's path does not lead: B is judged by A",)
    if not isinstance(found, BundleFolder):
        return None, ()
    reason = _no_oracle(found.manifest(), has_model=has_model)
    if reason is None:
        return found.path, ()
    return None, (f"A's bundle names a job, but {reason}: B is judged by A",)


def _no_oracle(manifest: Manifest, *, has_model: bool) -> str | None:
    """Why a bundle's checkpoint cannot judge; None if it can."""
    if not is_there("torch"):
        return "torch is not installed"
    if manifest.job is None:
        return f"{MANIFEST_FILE} holds none"
    table = manifest.job.get("model", {})
    if not has_model and table.get("family") == "module" and "builder" not in table:
        return "the module that it exported is not given"
    return None


def _refuse_without_job(
    set: Sequence[str], checkpoint: str | PathLike[str] | None, notes: Sequence[str]
) -> None:
    """Raise RequestError for options of a job. ``notes`` say why there is none."""
    for flag, given in (("--set", bool(set)), ("--checkpoint", checkpoint is not None)):
        if given:
            why = "".join(f" ({note})" for note in notes)
            raise RequestError(f"{flag} changes a job, and none is used{why}: name one with --job")


def _judged_by_a(
    a: Path,
    b: Path,
    settings: Settings,
    by_graphs: ByGraphs | None,
    *,
    dims: Mapping[str, str],
    inputs: Mapping[str, str],
    notes: Sequence[str],
    progress: Progress,
) -> Verdict:
    """The verdict on B by A's graph in float64 if it can be evaluated, by runs of ONNX Runtime otherwise."""
    reason = "torch is not installed: graphs are evaluated in float64 with it"
    if by_graphs is not None and is_there("torch"):
        try:
            return by_graphs(a, b, settings, dims=dims, inputs=inputs, notes=notes, progress=progress)
        except NotEvaluatedError as error:
            reason = str(error)
    return compare_alone(
        a, b, settings, reason=reason, dims=dims, inputs=inputs, notes=notes, progress=progress
    )
