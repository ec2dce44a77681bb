"""Tell what a path from the user is: a job, a bundle, a model, a checkpoint, or none of these.

This imports no torch and runs nothing, so ``compare`` without a checkpoint does without torch too.
"""

import glob
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import ClassVar

from onnxproof.errors import CheckpointError, PictureError, RequestError
from onnxproof.runtime.folder import MANIFEST_FILE, MODEL_FILE, model_file, read_manifest
from onnxproof.runtime.manifest import Manifest

JOB_SUFFIX = ".toml"
MODEL_SUFFIX = ".onnx"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".safetensors")


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


Source = JobFile | BundleFolder | ModelFile | CheckpointPath | OtherFile | OtherFolder | Nothing


def look_at(path: str | PathLike[str]) -> Source:
    """What is at the path. Decides by a file's suffix and by a folder's contents."""
    given = Path(path)
    if given.is_dir():
        if (given / MANIFEST_FILE).is_file() or (given / MODEL_FILE).is_file():
            return BundleFolder(given)
        return CheckpointPath(given) if _checkpoints_in(given) else OtherFolder(given)
    if not given.exists():
        return Nothing(given)
    suffix = given.suffix.lower()
    if suffix == JOB_SUFFIX:
        return JobFile(given)
    if suffix == MODEL_SUFFIX:
        return ModelFile(given)
    return CheckpointPath(given) if suffix in CHECKPOINT_SUFFIXES else OtherFile(given)


def model_at(path: str | PathLike[str]) -> Path:
    """The ONNX file that a path names, or that the bundle there holds.

    Raises ModelFileError if there is none, RequestError if the path is a job or a checkpoint.
    """
    source = look_at(path)
    if isinstance(source, JobFile) or (isinstance(source, CheckpointPath) and source.path.is_file()):
        raise RequestError(
            f"{path} is {source.what}, not a model: give a bundle (the folder that export wrote) or an .onnx "
            "file"
        )
    return model_file(path)


def find_checkpoint(path: Path, stems: Collection[str] = ()) -> Path:
    """The checkpoint file at a path, or the only one in a folder there.

    If the folder holds several, it is the one whose name without suffix is in ``stems``. Raises
    CheckpointError if there is none, or more than one is left.
    """
    files = checkpoints_at(path)
    if len(files) > 1:
        files = tuple(file for file in files if file.stem in stems) or files
    if len(files) == 1:
        return files[0]
    raise CheckpointError(
        f"folder {path} holds {len(files)} checkpoints ({', '.join(file.name for file in files)}): "
        "name the file in model.checkpoint"
    )


def checkpoints_at(path: Path) -> tuple[Path, ...]:
    """The file itself, or the checkpoints in a folder, sorted by name. Raises CheckpointError if there is
    none."""
    if path.is_file():
        return (path,)
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path} does not exist: give a file or a folder that holds one")
    files = _checkpoints_in(path)
    if not files:
        expected = ", ".join(f"*{suffix}" for suffix in CHECKPOINT_SUFFIXES)
        raise CheckpointError(f"folder {path} holds no checkpoint: expected one of {expected} in it")
    return files


def _checkpoints_in(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(file for file in folder.iterdir() if file.suffix in CHECKPOINT_SUFFIXES))


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_pictures(pattern: str | None, folder: Path) -> tuple[Path, ...]:
    """The files that a glob pattern matches, sorted; () for None. Raises PictureError if it matches none."""
    if pattern is None:
        return ()
    # Path.glob takes neither "..", which jobs use, nor absolute patterns.
    found = glob.glob(str(Path(pattern).expanduser()), root_dir=folder, recursive=True)  # noqa: PTH207
    files = sorted(file for file in (folder / name for name in found) if file.is_file())
    if not files:
        raise PictureError(
            f'validate.images = "{pattern}" names no file, seen from {folder}: '
            'give a path or a pattern such as "pictures/*.png", in the job or with '
            "--set validate.images=PATTERN"
        )
    return tuple(files)
