"""How onnxproof writes files and folders, so that nothing on the disk is lost and nothing is left behind.

A file is written under a hidden name beside its target (claims.py) and renamed. A reader sees the old file or
the new one, and an error (a full disk, a signal) leaves the old file as it was.
"""

import contextlib
import ctypes
import errno
import io
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from onnxproof.errors import RequestError
from onnxproof.system.claims import Claim, claim, claimed_folder, is_at
from onnxproof.system.cleaning import cleaned_up
from onnxproof.system.disk import GONE, working_folder_is_gone
from onnxproof.system.folders import made_folder
from onnxproof.system.signals import signals_held

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""From Linux's <fcntl.h> and <linux/fs.h>."""


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises OSError; the old file is then as it was."""
    with replacing(file) as stream:
        stream.write(content)


def write_text(file: Path, text: str) -> None:
    """``write_bytes`` of a text in UTF-8."""
    write_bytes(file, text.encode("utf-8"))


def write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet, in UTF-8. Raises FileExistsError if it is, and other OSErrors."""
    with (
        signals_held(to_the_end=True),
        file.open("x", encoding="utf-8", newline="\n") as stream,
    ):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            file.unlink()
            raise


def append_bytes(file: Path, content: bytes) -> None:
    """Add to the end of a file: one that others add to, too, or in a staging folder. Raises OSError."""
    with file.open("ab") as stream:
        stream.write(content)


def write_json(file: Path, document: Mapping[str, Any]) -> None:
    """``write_bytes`` of a JSON document, indented."""
    write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of ``file`` when the block ends without an error.

    If ``file`` is a link, the file that it names is replaced, and the link stays. A device or a pipe is
    written to directly. Raises OSError if the file cannot be written, or if it is write-protected, which a
    rename alone would ignore.
    """
    if is_special(file):
        whole = io.BytesIO()  # writers of archives go back in their file, which a device cannot
        yield whole
        with file.open("wb") as special:
            special.write(whole.getbuffer())
        return
    file = Path(os.path.realpath(file))
    _require_no_loop(file)
    if file.exists():
        with file.open("r+b"):  # raises the error that writing to it would raise
            pass
    with cleaned_up() as at_end:
        with signals_held(to_the_end=True):
            claimed = claim(file)
            stream = os.fdopen(claimed.descriptor, "w+b")
            at_end.callback(_drop, claimed, stream)
        try:
            yield stream
            stream.flush()
            _sync(claimed.descriptor)
            if file.exists():
                _make_alike(claimed.path, file)
            if sys.platform == "win32":
                stream.close()  # Windows renames no open file. Elsewhere it is locked until it is renamed.
            claimed.path.replace(file)
        except OSError as error:
            if error.filename is None:
                error.filename = str(file)
            raise


def _drop(claimed: Claim, stream: BinaryIO) -> None:
    """Remove a hidden file unless it was renamed, and close it."""
    if sys.platform == "win32":  # which removes no open file
        _close(stream)
    if sys.platform == "win32" or is_at(claimed.descriptor, claimed.path):
        with contextlib.suppress(OSError):
            claimed.path.unlink()
    _close(stream)


def _close(stream: BinaryIO) -> None:
    with contextlib.suppress(OSError):  # what is left to be written does not fit on the disk
        stream.close()


@contextlib.contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """An empty hidden folder beside ``target``, which is removed with its content when the block ends.

    Leftovers of killed processes for the same target are removed first. Missing parents are made, and removed
    again if the target was not made. Raises OSError if the target's parent cannot be written.
    """
    with made_folder(target.parent), claimed_folder(target, mode=0o777) as folder:
        yield folder


@contextlib.contextmanager
def staged_together(targets: Iterable[Path]) -> Iterator[tuple[Path, ...]]:
    """Hidden places for new files and folders, which take those of ``targets`` when the block ends.

    They have the targets' names. After an error, also one of the last renames, no target is changed. If a
    target is a link, what it names is replaced. Raises OSError if one cannot be written, or is
    write-protected.
    """
    targets = tuple(targets)
    real = tuple(Path(os.path.realpath(target)) for target in targets)
    for one in real:
        _require_no_loop(one)
        if one.is_file():
            with one.open("r+b"):  # raises the error that writing to it would raise
                pass
    with contextlib.ExitStack() as held:
        folders = [held.enter_context(staging_folder(one)) for one in real]
        staged = tuple(folder / target.name for folder, target in zip(folders, targets, strict=True))
        yield staged
        for new, old in zip(staged, real, strict=True):
            if old.is_file():
                _make_alike(new, old)
        with signals_held(to_the_end=True):
            _swap_all(tuple(zip(staged, real, strict=True)))


def _swap_all(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Swap each pair of a staged path and its target, or none of them."""
    done = contextlib.ExitStack()
    with done:
        for staged, target in pairs:
            swap(staged, target)
            done.callback(_unswap, staged, target)
        done.pop_all()


def _unswap(staged: Path, target: Path) -> None:
    if staged.exists():
        swap(staged, target)
    else:
        target.rename(staged)


def remove_own(path: Path) -> None:
    """Remove a file or a folder that onnxproof made, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def linked(file: Path, place: Path) -> None:
    """Make a file readable at another place too: by a link on one disk, else by a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        return
    try:
        os.link(file.resolve(), place)
    except OSError:
        shutil.copyfile(file, place)


@contextlib.contextmanager
def passing_file(file: Path, content: bytes) -> Iterator[Path]:
    """A file that is there inside the block alone."""
    with cleaned_up() as at_end:
        with signals_held(to_the_end=True):
            write_bytes(file, content)
            at_end.callback(remove_own, file)
        yield file


def swap(staged: Path, target: Path) -> None:
    """Put ``staged`` at ``target``. The old content of ``target``, if any, is at ``staged`` afterwards."""
    with signals_held(to_the_end=True):
        if not target.exists():
            staged.rename(target)
        elif not exchange(staged, target):
            # Only Linux exchanges two names in one step. Elsewhere the target is missing between two renames.
            old = staged.with_name(f"{staged.name}-old")
            target.rename(old)
            staged.rename(target)
            old.rename(staged)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step. Returns False if the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return bool(done == 0)


@contextlib.contextmanager
def explained(place: Path, flag: str = "--out", kind: str = "folder") -> Iterator[None]:
    """Turn an OSError into a RequestError that names the place, and the flag that chooses another."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and working_folder_is_gone():
            raise RequestError(GONE) from error
        raise RequestError(
            f"{place} cannot be written ({error.strerror or error}): name another {kind} with {flag}"
        ) from error


def check_folder(folder: Path, flag: str = "--out", kind: str = "folder") -> None:
    """Raise RequestError if files cannot be written into ``folder``. A missing folder is not made.

    ``kind`` is what ``flag`` names: a folder, or a file in it. Call it before slow work, whose result would
    be lost otherwise.
    """
    with explained(folder, flag, kind):
        place = folder
        while not place.exists() and place != place.parent:
            _require_no_loop(Path(os.path.realpath(place)))
            if place.is_symlink():
                raise FileNotFoundError(errno.ENOENT, f"{place} is a link that leads nowhere")
            place = place.parent
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{place} is a file")
        with tempfile.TemporaryFile(dir=place):
            pass


def check_file(file: Path, flag: str, kind: str = "file") -> None:
    """Raise RequestError if a file cannot be written. A missing one is not made; its folders may be missing.

    ``kind`` is what ``flag`` names: a file, or the folder that it is in. Call it before slow work, whose
    result would be lost otherwise. "-" is refused: who gives it expects standard output.
    """
    if str(file) == "-":
        raise RequestError(f"{flag} - is not standard output here: name a file")
    with explained(file, flag, kind):
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        real = Path(os.path.realpath(file))
        _require_no_loop(real)
        if file.is_symlink() and not real.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"it is a link into {real.parent}, which is not there")
        if file.exists():
            with file.open("r+b"):  # raises the error that writing to it would raise
                pass
    if not is_special(file):  # which is written to directly
        check_folder(file.parent, flag, kind)


def refuse_inputs(targets: Iterable[Path], inputs: Iterable[Path], flag: str = "--out") -> None:
    """Raise RequestError if a file to be written is one of the files that the command reads.

    Links and other spellings of the same file count as that file. Call it before the work.
    """
    read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    for target in targets:
        identity = _identity(target)
        if identity in read:
            given = read[identity]
            what = "is read" if given == target else f"is the same file as {given}, which is read"
            raise RequestError(
                f"{target} {what} by this command and would be overwritten: name another place with {flag}"
            )


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path is ``folder`` or lies below it, by links or other spellings too."""
    wanted = _identity(folder)
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # a path with a null character leads nowhere
        return False
    return wanted is not None and any(_identity(place) == wanted for place in (real, *real.parents))


def _make_alike(new: Path, old: Path) -> None:
    """Give a file the mode of another, and its owner if this process may."""
    found = old.stat()
    if sys.platform != "win32" and os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.chown(new, found.st_uid, found.st_gid)
    new.chmod(stat.S_IMODE(found.st_mode))


def _sync(descriptor: int) -> None:
    """Write the content to the disk before the file is renamed, so that a full disk raises its error here."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no fsync
            raise


def loop_in(real: Path) -> Path | None:
    """The link in a path that is there although the path is resolved: it leads to itself. None if there is
    none."""
    return next((place for place in (real, *real.parents) if place.is_symlink()), None)


def _require_no_loop(real: Path) -> None:
    """Raise OSError if a link in a resolved path leads to itself."""
    loop = loop_in(real)
    if loop is not None:
        raise OSError(errno.ELOOP, f"{loop} is a link that leads to itself", str(real))


def is_special(file: Path) -> bool:
    """Whether there is a device, a pipe or a socket of that name."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and number of a file on the disk. Returns None if there is no file of that name."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
