"""Errors of the disk that are nobody's fault in the code: a path that cannot be, no room, no right to it."""

import errno
import os
import stat
from collections.abc import Callable, Mapping

from onnxproof.errors import RequestError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The disk, or the user's share of it, is full."""

NOT_WRITABLE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)

NOT_READ = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)
"""What is wrong with a path that a request names, or with who asks for it."""

LONG, SHOWN = 200, 60
"""Characters: of a longer path a message shows so many, the last ones."""

NULL = "embedded null"
"""How Python's ValueError for a path with a null character begins."""


GONE = "the working folder is gone, it was removed or replaced: change to one that is there"


def working_folder_is_gone() -> bool:
    """Whether the folder that relative paths start at was removed."""
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd would make a Path of it
    except FileNotFoundError:
        return True
    return False


def request_of(error: BaseException) -> RequestError | None:
    """The error to tell in place of one that looking at, reading or writing a file raised.

    Returns None if the disk is not the reason.
    """
    if isinstance(error, ValueError) and str(error).startswith(NULL):
        return RequestError("a path that the request names holds a null character: mend it")
    if isinstance(error, FileNotFoundError) and working_folder_is_gone():
        return RequestError(GONE)
    if not isinstance(error, OSError) or (error.filename is None and error.errno not in FULL):
        return None
    place = "a file" if error.filename is None else shown(os.fsdecode(error.filename))
    reason = os.strerror(error.errno or 0)
    if error.errno in NOT_READ:
        advice = "give another path" if error.errno == errno.ENAMETOOLONG else "see who may read it"
        return RequestError(f"{place} cannot be read ({reason}): {advice}")
    if error.errno in (*FULL, errno.EROFS):
        return RequestError(f"{place} cannot be written ({reason}): free space, or write to another disk")
    return None


_OTHERWISE: Mapping[str, Callable[[int], bool]] = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    "a socket": stat.S_ISSOCK,
}


def not_there(path: str | os.PathLike[str]) -> str:
    """Why there is no file to read at a path, in words: "does not exist", or "is a pipe, not a file"."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as below
    except (OSError, ValueError):
        return "does not exist"
    kind = next((kind for kind, is_one in _OTHERWISE.items() if is_one(mode)), None)
    return "does not exist" if kind is None else f"is {kind}, not a file"


def require_possible(path: str | os.PathLike[str]) -> None:
    """Raise RequestError if no file can have this path, because it is too long.

    There is nothing at one with a null character, as pathlib says itself.
    """
    try:
        os.stat(path)  # noqa: PTH116 - Path.stat would make a Path of it first
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and (told := request_of(error)) is not None:
            raise told from error
    except ValueError:
        return


def shown(path: str) -> str:
    """A path for a message: the end of a very long one."""
    return path if len(path) <= LONG else f"…{path[-SHOWN:]}"
