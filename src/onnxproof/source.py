"""Tell what a path from the user is: a job, a bundle, a model, a checkpoint, or none of these.

This imports no torch and runs nothing, so ``compare`` without a checkpoint does without torch too.
"""

import glob
import hashlib
import itertools
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar

from onnxproof.errors import CheckpointError, ModelFileError, PictureError, RequestError
from onnxproof.runtime.archive import is_archive
from onnxproof.runtime.archive import sha256_of as sha256_of
from onnxproof.runtime.folder import MANIFEST_FILE, MODEL_FILE, model_file, read_manifest
from onnxproof.runtime.manifest import Manifest
from onnxproof.shards import INDEX_SUFFIX, parts_of, refuse_shards
from onnxproof.system.disk import not_there, require_possible
from onnxproof.system.parsed import toml_in

JOB_SUFFIX = ".toml"
LARGEST_JOB = 2**20
"""Bytes of a file that is asked whether it is a job. A job has some thousand."""
MODEL_SUFFIX = ".onnx"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".pth.tar", ".pt.tar")

BY_A_TRAINER = ("optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args")
"""How the names of files begin that a trainer writes beside a checkpoint."""

HUGGING_FACE = ("model.safetensors", f"model.safetensors{INDEX_SUFFIX}", "pytorch_model.bin")
"""The names under which Hugging Face's libraries save weights, in the order in which they look for them. A
folder may have the same weights under two of them."""


BY_NAME = (".npz", ".pkl")
"""Suffixes of checkpoints that are taken for one only if the file itself is named."""

MOST_PICTURES = 100_000
"""How many files a job's pattern of pictures may name: a bundle's is anyone's, and may name a whole disk."""

SAYS_NOTHING = frozenset(
    "best last model net final ckpt weights checkpoint checkpoints pytorch_model".split()
)
"""Names that training scripts give to every checkpoint."""


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job file. It is the user's own, so what it names may run."""

    path: Path
    what: ClassVar[str] = "a job"


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """A folder that holds a ``manifest.json`` or a ``model.onnx``. Others may have written it, so what it
    names runs only if the user allows it."""

    path: Path
    what: ClassVar[str] = "a bundle"

    @property
    def model(self) -> Path:
        """The path of the bundle's ONNX file, which may be missing."""
        return self.path / MODEL_FILE

    def manifest(self) -> Manifest:
        """The bundle's manifest. Raises ModelFileError if it is missing or broken."""
        return read_manifest(self.path)


@dataclass(frozen=True, slots=True)
class BundleArchive:
    """A bundle in one file. Every command reads it that needs the bundle's own files alone."""

    path: Path
    what: ClassVar[str] = "a bundle in one file"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An ONNX file."""

    path: Path
    what: ClassVar[str] = "a model"


@dataclass(frozen=True, slots=True)
class CheckpointPath:
    """A checkpoint file, or a folder that holds checkpoints and no bundle."""

    path: Path
    what: ClassVar[str] = "a checkpoint"


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A file whose name does not tell what it is."""

    path: Path
    what: ClassVar[str] = "a file of another kind"


@dataclass(frozen=True, slots=True)
class OtherFolder:
    """A folder that is no bundle and holds no checkpoint."""

    path: Path
    what: ClassVar[str] = "a folder"


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing at the path."""

    path: Path
    what: ClassVar[str] = "nothing"


Source = (
    JobFile | BundleFolder | BundleArchive | ModelFile | CheckpointPath | OtherFile | OtherFolder | Nothing
)


def look_at(path: str | PathLike[str]) -> Source:
    """What is at the path. Decides by a file's suffix and by a folder's contents.

    Raises RequestError if no file can have such a path.
    """
    require_possible(path)
    given = Path(path)
    if given.is_dir():
        if (given / MANIFEST_FILE).is_file() or (given / MODEL_FILE).is_file():
            return BundleFolder(given)
        return CheckpointPath(given) if _checkpoints_in(given) else OtherFolder(given)
    if not given.exists():
        return Nothing(given)
    if is_archive(given):
        return BundleArchive(given)
    suffix = given.suffix.lower()
    if suffix == JOB_SUFFIX:
        return JobFile(given)
    if suffix == MODEL_SUFFIX:
        return ModelFile(given)
    named = _is_checkpoint(given.name) or suffix in BY_NAME
    return CheckpointPath(given) if named else OtherFile(given)


def model_at(path: str | PathLike[str]) -> Path:
    """The ONNX file that a path names, or that the bundle there holds. Raises as ``model_in``."""
    return model_in(look_at(path))


def model_in(source: Source) -> Path:
    """The ONNX file that was found, or that the bundle holds.

    One that lies in a bundle in one file is named as if that were a folder (runtime/archive.py). Raises
    ModelFileError if there is none, RequestError if it is a job or a checkpoint.
    """
    if isinstance(source, JobFile) or (isinstance(source, CheckpointPath) and source.path.is_file()):
        raise RequestError(
            f"{source.path} is {source.what}, not a model: give a bundle (the folder that export wrote) or "
            "an .onnx file"
        )
    return model_file(source.path)


def bundle_at(path: str | PathLike[str], *, archives: bool = False) -> Path:
    """The folder of the bundle at a path; with ``archives`` also a bundle in one file.

    Raises ModelFileError if there is none, or no model in it.
    """
    match look_at(path):
        case BundleArchive(path=archive):
            model_file(archive)
            if archives:
                return archive
            raise ModelFileError(
                f"{archive} is {BundleArchive.what}: give the folder that export wrote, or unpack it "
                f"(python -m zipfile -e {archive} {archive.with_suffix('')})"
            )
        case BundleFolder() as found:
            if not found.model.is_file():
                raise ModelFileError(f"{found.model} does not exist: copy the whole bundle again")
            return found.path
        case other:
            is_kind = other.path.is_file() or other.path.is_dir()
            told = f"is {other.what}, not a bundle" if is_kind else not_there(path)
            raise ModelFileError(
                f"{path} {told}: give the folder that export wrote, with {MODEL_FILE} and {MANIFEST_FILE}"
            )


def find_checkpoint(path: Path, stems: Collection[str] = ()) -> Path:
    """The checkpoint file at a path, or the only one in a folder there.

    If the folder holds several, it is the one whose name without suffix is in ``stems``. Raises
    CheckpointError if there is none, more than one is left, or it is a part of one.
    """
    files = checkpoints_at(path)
    if len(files) > 1:
        files = tuple(file for file in files if file.name.partition(".")[0] in stems) or files
    refuse_shards(files)
    if len(files) == 1:
        return files[0]
    raise CheckpointError(
        f"folder {path} holds {len(files)} checkpoints ({', '.join(file.name for file in files)}): "
        "name the file in model.checkpoint"
    )


def stems_of(family: str, variant: str | None) -> tuple[str, ...]:
    """The names, without suffix, that a variant's checkpoint may have in a folder; () without a variant."""
    return () if variant is None else (variant, f"{family}_{variant}")


def checkpoints_at(path: Path) -> tuple[Path, ...]:
    """The file itself, or the checkpoints in a folder, sorted by name.

    A path that does not exist may end in the id of a model, OWNER/NAME, that lies in the cache of Hugging
    Face. Raises CheckpointError if there is none.
    """
    require_possible(path)
    if path.is_file():
        return (path,)
    if not path.is_dir():
        cached = _in_hub_cache(path)
        if cached is None:
            hint = ""
            if not _is_checkpoint(path.name):
                hint = (
                    "; the id of a model on the Hugging Face Hub is looked up in the cache "
                    f"({hub_cache()}), and nothing is downloaded"
                )
            raise CheckpointError(
                f"checkpoint {path} {not_there(path)}: give a file or a folder that holds one{hint}"
            )
        path = cached
    files = _checkpoints_in(path)
    if not files:
        expected = ", ".join(f"*{suffix}" for suffix in CHECKPOINT_SUFFIXES)
        raise CheckpointError(f"folder {path} holds no checkpoint: expected one of {expected} in it")
    return files


def hub_cache() -> Path:
    """Where Hugging Face's libraries keep what they downloaded, as huggingface_hub finds it."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(home) if home else Path(cache) / "huggingface").expanduser() / "hub"


def _in_hub_cache(path: Path) -> Path | None:
    """The newest snapshot of the model whose id is the path's last two parts. Returns None if there is none.

    The cache has models--OWNER--NAME/refs/main, which holds the name of a folder in snapshots/.
    """
    kept = hub_cache() / "--".join(("models", *path.parts[-2:]))
    main = kept / "refs" / "main"
    if not main.is_file():
        return None
    snapshot = kept / "snapshots" / main.read_text(encoding="utf-8").strip()
    return snapshot if snapshot.is_dir() else None


def _checkpoints_in(folder: Path) -> tuple[Path, ...]:
    files = {file.name: file for file in sorted(folder.iterdir()) if _is_checkpoint(file.name)}
    own = [name for name in HUGGING_FACE if name in files]
    for name in own[1:]:
        del files[name]
    shards = {part for file in files.values() for part in parts_of(file) if part != file}
    return tuple(
        file for name, file in files.items() if file not in shards and not name.startswith(BY_A_TRAINER)
    )


def _is_checkpoint(name: str) -> bool:
    """Whether a name is a checkpoint's. Anything may be called .bin, Hugging Face's weights among it."""
    whole = name.lower().removesuffix(INDEX_SUFFIX)
    return whole.endswith(CHECKPOINT_SUFFIXES) or (whole.endswith(".bin") and "pytorch_model" in whole)


def sha256_of_checkpoint(file: Path) -> str:
    """The SHA-256 of a checkpoint's file; that of its files' sums, in their order, if an index names several.

    Raises CheckpointError if one of the files is missing.
    """
    parts = parts_of(file)
    if parts == (file,):
        return sha256_of(file)
    for part in parts:
        if not part.is_file():
            raise CheckpointError(
                f"checkpoint {file} names {part.name}, which is not there: copy it beside it"
            )
    return hashlib.sha256("".join(map(sha256_of, parts)).encode()).hexdigest()


def name_of(checkpoint: Path) -> str | None:
    """The name of a checkpoint's job: its own, or its folder's if that says nothing (best.pt).

    The folder counts where the path names one: runs/detect/train3/weights/best.pt is train3. Returns None if
    none says anything.
    """
    stem = checkpoint.name if checkpoint.is_dir() else checkpoint.name.partition(".")[0]
    names = (stem, *reversed(checkpoint.parent.parts))
    told = next((one for one in names if one.strip("./\\") and one.lower() not in SAYS_NOTHING), None)
    return None if told is None else job_name(told)


def drafted_for(checkpoint: Path) -> str:
    """What messages call the job that is drafted for a checkpoint."""
    return f"the job drafted for {checkpoint.expanduser()}"


def job_name(text: str) -> str:
    """A text as the name of a job: without the characters that a folder's name should not have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._") or "job"


def refuse_existing(job: Path) -> None:
    """Raise RequestError if a job's file, or anything else, is there already."""
    if not os.path.lexists(job):
        return
    advice = "name another file with --out"
    if job.is_dir():
        raise RequestError(f"{job} is a folder, and a job is a file: {advice}")
    if _is_job(job):
        advice = f"run it with onnxproof export {job}, or {advice}"
    raise RequestError(f"{job} is there already, and is left as it is: {advice}")


def _is_job(file: Path) -> bool:
    """Whether a file is TOML and names a model, as a job does."""
    try:
        document = toml_in(file, LARGEST_JOB)
    except (OSError, ValueError):
        return False
    return isinstance(document.get("model"), dict)


def find_pictures(pattern: str | None, folder: Path, key: str = "validate.images") -> tuple[Path, ...]:
    """The files that a glob pattern matches, sorted; () for None. ``key`` is the job's for it.

    Raises PictureError if it matches none, or more than ``MOST_PICTURES``.
    """
    if pattern is None:
        return ()
    # Path.glob takes neither "..", which jobs use, nor absolute patterns.
    found = glob.iglob(str(Path(pattern).expanduser()), root_dir=folder, recursive=True)  # noqa: PTH207
    files = sorted(
        itertools.islice(filter(Path.is_file, (folder / name for name in found)), MOST_PICTURES + 1)
    )
    if len(files) > MOST_PICTURES:
        raise PictureError(
            f'{key} = "{pattern}" names more than {MOST_PICTURES:,} files, seen from {folder}: name fewer '
            "pictures; onnxproof validate --images takes very many"
        )
    if not files:
        raise PictureError(
            f'{key} = "{pattern}" names no file, seen from {folder}: '
            'give a path or a pattern such as "pictures/*.png", in the job or with '
            f"--set {key}=PATTERN"
        )
    return tuple(files)
