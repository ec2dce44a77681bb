"""What is wrong with a request, as far as that shows before PyTorch is imported, which takes seconds.

The commands ask here first. The functions that they call afterwards raise the same errors.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from onnxproof.errors import JobError, ModelFileError, RequestError
from onnxproof.export.bundle import check_bundle
from onnxproof.job import Job, refuse_open_axes, refuse_other_dims, refuse_unused_dims
from onnxproof.job.asked import (
    file_to_validate,
    files_read,
    job_in,
    job_to_export,
    job_to_validate,
    pictures_of,
)
from onnxproof.job.document import given_values, override
from onnxproof.job.words import explain
from onnxproof.runtime.archive import in_archive
from onnxproof.runtime.session import open_session
from onnxproof.runtime.wire import NotReadError, Wire, WireError
from onnxproof.sniffed import refuse_other_files
from onnxproof.source import (
    JOB_SUFFIX,
    BundleFolder,
    CheckpointPath,
    JobFile,
    checkpoints_at,
    drafted_for,
    look_at,
    model_at,
    name_of,
    refuse_existing,
)
from onnxproof.wrappers.catalog import axes_of, entry_of, require_library

GRAPH = 7
"""The number of the field ``graph`` of ModelProto, in onnx.proto."""


def refuse_to_export(source: Path | Job, out: Path, set: Sequence[str]) -> Job | CheckpointPath:
    """Raise what ``export`` raises of a job's file, a checkpoint's beginning, and the folder to write.

    Returns what ``job_to_export`` has read.
    """
    job = job_to_export(source, set)
    if isinstance(job, CheckpointPath):
        _refuse_checkpoint(job.path)
        given = _refuse_values(job.path, set) or name_of(job.path)
        if given is not None:
            check_bundle(out / str(given), files_read(job.path, None))
        return job
    _refuse_family(job)
    given = job.model.checkpoint
    if given is not None:
        _refuse_checkpoint(job.resolve(given))
    check_bundle(out / job.name, files_read(source, job))
    if given is not None:  # a family that needs one says so, later, before it asks for pictures
        pictures_of(job)
    return job


def refuse_to_init(checkpoint: Path, out: Path | None, set: Sequence[str]) -> None:
    """Raise what ``init`` raises of the job to write, and of a checkpoint's beginning."""
    given = _refuse_values(checkpoint, set) or name_of(checkpoint)
    if out is not None:
        refuse_existing(out.expanduser())
    elif given is not None:
        refuse_existing(Path(f"{given}{JOB_SUFFIX}"))
    _refuse_checkpoint(checkpoint)


def refuse_to_check(onnx: Path, against: Path, set: Sequence[str]) -> None:
    """Raise what ``check`` raises of a file that is no model, and of a checkpoint's beginning."""
    file = model_at(onnx)
    refuse_job(file, against)
    _refuse_values(against, set)
    if not in_archive(file):
        _refuse_model(file)
    _refuse_checkpoint(against)


def refuse_job(file: Path, against: Path) -> None:
    """Raise RequestError if ``check`` gets a job in place of the checkpoint."""
    if isinstance(look_at(against), JobFile):
        raise RequestError(
            f"{against} is a job: onnxproof validate {against} --onnx {file} judges a file by a job"
        )


def refuse_to_validate(
    source: Path, onnx: Path | None, set: Sequence[str], checkpoint: Path | None = None
) -> None:
    """Raise what ``validate`` and ``bisect`` raise of a job's file, a bundle's manifest, the file that is to
    be compared, and the beginning of the checkpoint that a job names."""
    found = look_at(source)
    if isinstance(found, BundleFolder):
        manifest = found.manifest()
        job_in(found.path, manifest, set)
        require_library((manifest.job or {}).get("model", {}).get("family", ""))
    else:
        asked = job_to_validate(source, set, checkpoint=checkpoint)
        _refuse_family(asked.job)
        file_to_validate(asked, onnx)
        given = asked.job.model.checkpoint
        if given is not None:
            _refuse_checkpoint(asked.job.resolve(given))
    if onnx is not None and onnx.is_file():
        _refuse_model(onnx)
    elif isinstance(found, BundleFolder) and found.model.is_file():
        _refuse_model(found.model)


def _refuse_family(job: Job) -> None:
    """Raise what is wrong with the family's name, its library and the names in ``[dims]``."""
    entry = entry_of(job.model.family)
    require_library(entry.name)
    known = axes_of(entry)
    own = job.wrapper.resize == "host"  # else the pictures' own sizes are dims, too
    if known is not None and own:
        refuse_other_dims(job, known)
    if entry.name == "module":
        refuse_open_axes(job.inputs.values(), job.dims)
        if own and job.inputs:
            refuse_unused_dims(job)


def _refuse_values(checkpoint: Path, set: Sequence[str]) -> str | None:
    """Raise what drafting a job for a checkpoint raises of values that are given. Returns the name if one is
    given."""
    given = given_values(set)
    source, keys = drafted_for(checkpoint), tuple(f"{text.partition('=')[0].strip()}." for text in set)
    try:
        Job.model_validate(override({"name": "given", "model": {"family": "given"}}, set))
    except ValidationError as error:
        # What depends on other keys is left to the whole job.
        wrong = [
            explain(source, entry, Job)
            for entry in error.errors()
            if entry["type"] == "extra_forbidden" or f"{'.'.join(map(str, entry['loc']))}.".startswith(keys)
        ]
        if wrong:
            raise JobError(*wrong) from error
    except RequestError as error:
        raise JobError(f"{source}: {error}") from error
    name = given.get("name")
    return None if name is None else str(name)


def _refuse_checkpoint(path: Path) -> None:
    files = checkpoints_at(path.expanduser())
    if len(files) == 1:
        refuse_other_files(files[0])


def _refuse_model(file: Path) -> None:
    """Let ONNX Runtime refuse a file whose bytes are no model's: it does so at once."""
    if not _is_model(file):
        open_session(file)
        raise ModelFileError(f"{file} holds no graph: give an .onnx file")


def _is_model(file: Path) -> bool:
    """Whether the bytes are a protobuf message with a graph in it, as far as that can be told."""
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(number == GRAPH for number, _, _ in Wire(data).fields(0, len(data)))
    except WireError:
        return False
    except (OSError, ValueError, NotReadError):
        return True
