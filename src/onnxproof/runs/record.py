"""What a bundle was made from: the record beside it, by which a job that is up to date is told."""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from onnxproof.document import read_json
from onnxproof.errors import CheckpointError, ModelFileError, PictureError, RequestError
from onnxproof.export.bundle import BUNDLE_FILES
from onnxproof.job import Job
from onnxproof.job.asked import calibrating_of, pictures_of
from onnxproof.job.relocated import relative, relocated
from onnxproof.runs.task import Task
from onnxproof.runtime.folder import PARITY_FILE
from onnxproof.shards import parts_of
from onnxproof.source import checkpoints_at, find_checkpoint, sha256_of, stems_of
from onnxproof.system.files import write_json
from onnxproof.system.own_file import has_keys, refuse_foreign
from onnxproof.system.parsed import parse_json
from onnxproof.system.usercode import OURS
from onnxproof.validate.baseline import files_of

FORMAT = 1

KEYS = ("format", "asked", "files", "versions", "bundle")

FOLDER = ".onnxproof"
"""The folder, beside the bundles, that holds their records."""

COMPANIONS = (".json", ".yaml", ".yml", ".txt", ".model")
"""How the names of files end that are read because they lie beside a checkpoint."""

SOURCES = (".py", ".j2", ".json")

NO_BUNDLE = "there is no bundle yet"

SHOWN = 12
"""Characters of a version or a value that a reason shows."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a bundle was made from. Paths are relative to the bundle.

    ``asked`` is the job and the options of the command. ``files`` has the SHA-256 of each file that was read
    or that the job names; None if it changed meanwhile. ``bundle`` has the SHA-256 of the bundle's own files,
    and of those of the bundle of lower precision beside it.
    """

    asked: Mapping[str, Any]
    files: Mapping[str, str | None]
    versions: Mapping[str, str]
    bundle: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The document that lies beside the bundle."""
        return {
            "format": FORMAT,
            "asked": dict(self.asked),
            "files": dict(sorted(self.files.items())),
            "versions": dict(sorted(self.versions.items())),
            "bundle": dict(self.bundle),
        }

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """The inverse of ``to_json``. Returns None if the text is no record of this format."""
        try:
            keys = read_json(text).table(KEYS)
            if keys["format"].value != FORMAT:
                return None
            return cls(
                asked=dict(keys["asked"].free_table() and keys["asked"].value),
                files={
                    name: None if entry.value is None else entry.text()
                    for name, entry in keys["files"].free_table().items()
                },
                versions={name: entry.text() for name, entry in keys["versions"].free_table().items()},
                bundle={name: entry.text() for name, entry in keys["bundle"].free_table().items()},
            )
        except ModelFileError:
            return None


def place_of(target: Path) -> Path:
    """Where the record of the bundle ``target`` lies."""
    return target.parent / FOLDER / f"{target.name}.json"


def record_of(task: Task, target: Path, read: Mapping[Path, str | None]) -> Record:
    """The record of a bundle that was just made. ``read`` are the files that it was made from, and their
    SHA-256; None if a file changed meanwhile."""
    start = os.path.realpath(target)
    return Record(
        asked_of(task, target),
        {relative(start, path): found for path, found in read.items()},
        {**_fixed_versions(), **_loaded_versions()},
        {name: sha256_of(target / name) for name in _written(task, target)},
    )


def check_record(target: Path) -> None:
    """Raise RequestError if the record of a bundle ``target`` would replace what is none. Call it before the
    work."""
    place = place_of(target)
    for path, is_wrong, wanted in (
        (place.parent, os.path.lexists(place.parent) and not place.parent.is_dir(), "a folder"),
        (place, place.is_dir(), "a file"),
    ):
        if is_wrong:
            raise RequestError(
                f"{path} is there and is not {wanted}: what {target.name} is made from is written there; "
                "move it away, or name another folder with --out"
            )
    refuse_foreign(place, lambda file: has_keys(file, KEYS), "record")


def write_record(record: Record, target: Path) -> None:
    """Write a record beside its bundle. Raises OSError, and RequestError as ``check_record``."""
    check_record(target)
    place = place_of(target)
    place.parent.mkdir(exist_ok=True)
    write_json(place, record.to_json())


def read_record(target: Path) -> Record | None:
    """The record beside a bundle. Returns None if there is none that can be read."""
    try:
        return Record.from_json(place_of(target).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def asked_of(task: Task, target: Path) -> dict[str, Any]:
    """The job with paths from the bundle, and the options of the command, as a JSON object."""
    start = os.path.realpath(target)
    baseline = task.options.get("baseline")
    sums = [] if baseline is None else [sha256_of(file) for file in files_of(baseline) if file.is_file()]
    job: dict[str, Any] = (
        {"checkpoint": relative(start, task.source), "set": list(task.options.get("set", ()))}
        if task.job is None
        else {"job": dict(relocated(task.job, target))}
    )
    asked = {**job, "validate": bool(task.options.get("validate", True)), "baseline": sums}
    plain: dict[str, Any] = parse_json(json.dumps(asked, default=str))  # as the file has it
    return plain


class Changes:
    """Tells whether bundles are up to date. Each file is read once, however many jobs name it."""

    def __init__(self) -> None:
        self._sum = functools.cache(sha256_of)

    def since(self, task: Task) -> str | None:
        """Why the task's bundle has to be made again, in words. Returns None if it is up to date."""
        try:
            return self._since(task)
        except OSError as error:
            return f"{error.filename or 'a file'} cannot be read ({error.strerror or error})"

    def _since(self, task: Task) -> str | None:
        if task.target is None:
            return "the bundle's name is not known before the work"
        record = read_record(task.target)
        if record is None:
            there = task.target.is_dir()
            return "nothing says what the bundle there was made from" if there else NO_BUNDLE
        start = os.path.realpath(task.target)
        asked = asked_of(task, task.target)
        if record.asked != asked:
            return _told_change(record.asked, asked)
        for name, found in record.bundle.items():
            if not (task.target / name).is_file() or self._sum(task.target / name) != found:
                return f"{name} in the bundle is not as it was written"
        if {*record.bundle} != {*_written(task, task.target)}:
            return "the bundle's files are not those that were written"
        for name, found in _fixed_versions().items():
            if record.versions.get(name) != found:
                return f"{name} was {record.versions.get(name, 'absent')[:SHOWN]}, and is {found[:SHOWN]}"
        for name, version in record.versions.items():
            if name not in _fixed_versions() and (now := _version(name)) != version:
                return f"{name} was {version[:SHOWN]}, and is {now[:SHOWN]}"
        for name, sum_ in record.files.items():
            if sum_ is None:
                return f"{name} changed while the job ran"
            file = Path(start, name)
            if not file.is_file():
                return f"{name} is gone"
            if self._sum(file.resolve()) != sum_:
                return f"{name} changed"
        missing = [
            relative(start, file) for file in named_files(task) if relative(start, file) not in record.files
        ]
        return f"{missing[0]} is new" if missing else None


def lowered_of(job: Job | None, target: Path) -> Path | None:
    """The bundle of lower precision beside a bundle; None if there is none."""
    place = None if job is None else job.precision.beside(target)
    return place if place is not None and place.is_dir() else None


def _written(task: Task, target: Path) -> list[str]:
    """The names, seen from a bundle, of its files and of those of the bundle of lower precision beside it."""
    beside = lowered_of(task.job, target)
    names = [
        *BUNDLE_FILES,
        *(() if beside is None else (f"../{beside.name}/{name}" for name in BUNDLE_FILES)),
    ]
    return [name for name in names if (target / name).is_file()]


def _told_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first value that differs, by its key."""
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            return _told_change(old, new)
        return f"{key} was {str(old)[:SHOWN]}, and is {str(new)[:SHOWN]}"
    return "the job changed"


def named_files(task: Task) -> list[Path]:
    """The files that a task names: the checkpoint's and those beside it, the pictures, the labels, code, and
    whatever else in its arguments is the path of a file."""
    job = task.job
    checkpoint = _checkpoint(task)
    paths = [*checkpoint, *_beside(checkpoint)]
    if job is None:
        return [file.resolve() for file in paths]
    paths += _found_pictures(job)
    code = [(name or "").partition(":")[0] for name in (job.model.builder, job.export.custom_ops)]
    others = [*code, job.validation.annotations, *_texts([job.model.kwargs, job.arguments])]
    paths += [job.resolve(name) for name in others if name and _is_file(job.resolve(name))]
    return [path.resolve() for path in dict.fromkeys(paths)]


def _checkpoint(task: Task) -> list[Path]:
    """The files of the task's checkpoint; of all in its folder if the job alone does not say which."""
    job = task.job
    if job is not None and job.model.checkpoint is None:
        return []
    path = task.source if job is None else job.resolve(str(job.model.checkpoint))
    try:
        if job is not None and job.model.variant is not None:
            variant = job.model.variant
            files: Sequence[Path] = [find_checkpoint(path, stems_of(job.model.family, variant))]
        else:
            files = checkpoints_at(path)
    except CheckpointError:
        try:
            files = checkpoints_at(path)
        except CheckpointError:
            return []
    found = []
    for file in files:
        try:
            found += [file, *(part for part in parts_of(file) if part.is_file())]
        except CheckpointError:
            found.append(file)
    return list(dict.fromkeys(found))


def checkpoint_bytes(task: Task) -> int:
    """How many bytes the files of the task's checkpoint take; 0 if it names none."""
    return sum(file.stat().st_size for file in _checkpoint(task))


def _found_pictures(job: Job) -> tuple[Path, ...]:
    try:
        return (*pictures_of(job), *calibrating_of(job))
    except PictureError:
        return ()


def _beside(checkpoint: Sequence[Path]) -> list[Path]:
    """The files that may be read because they lie beside a checkpoint."""
    folders = dict.fromkeys(file.parent for file in checkpoint)
    return [
        file
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in COMPANIONS and file.is_file()
    ]


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


@functools.cache
def _fixed_versions() -> Mapping[str, str]:
    """The interpreter, the system, and onnxproof's own code."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "onnxproof's code": _own_code(),
    }


def _own_code() -> str:
    digest = hashlib.sha256()
    for file in sorted(file for file in OURS.rglob("*") if file.suffix in SOURCES):
        digest.update(f"{file.relative_to(OURS).as_posix()} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _loaded_versions() -> dict[str, str]:
    """The installed packages of which this process has imported something, and their versions."""
    packages = importlib.metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in sys.modules}
    names = {one for top in tops for one in packages.get(top, ())} - {"onnxproof"}
    return {name: _version(name) for name in sorted(names)}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def kept_verdict(target: Path) -> str | None:
    """The text of a bundle's verdict. Returns None if it has none."""
    file = target / PARITY_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None
