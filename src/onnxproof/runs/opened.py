"""Which files a process reads, so that a change of one of them is noticed the next time."""

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from onnxproof.source import sha256_of
from onnxproof.system.usercode import INSTALLED, OURS, PACKAGE_FOLDERS

SYSTEM = tuple(map(Path, ("/proc", "/sys", "/dev", "/etc", "/lib", "/usr/lib", "/usr/share")))
"""Folders of the operating system. Installed packages are told apart by their versions."""

Seen = tuple[int, int, int]
"""Size, time of the last change in nanoseconds, and number of a file."""


class OpenedFiles:
    """Notes the files that this process opens, from ``start`` on. Python has no way to end that again, so it
    is for a process that does one job."""

    def __init__(self, named: Iterable[Path] = ()) -> None:
        """``named`` are files that are read, whether or not this process is seen to open them: libraries open
        some past Python."""
        found = {str(path): _seen(str(path)) for path in named}
        self._named = {name for name, seen in found.items() if seen is not None}
        self._read = {name: seen for name, seen in found.items() if seen is not None}
        self._written: set[str] = set()

    def start(self) -> None:
        sys.addaudithook(self._note)

    def sums(self, left_out: Path | None) -> dict[Path, str | None]:
        """The SHA-256 of each file that was read and is there still; None if it changed since.

        Of those that are not named, files of Python, of installed packages and of the system are left out,
        and so are those that this process wrote, and what lies in ``left_out``.
        """
        out = None if left_out is None else Path(os.path.realpath(left_out))
        found: dict[Path, str | None] = {}
        for name, seen in sorted(self._read.items()):
            path = Path(os.path.realpath(name))
            now = _seen(name)
            if now is None or not path.is_file():
                continue
            own = name in self._written or str(path) in self._written or _is_known_otherwise(path)
            inside = out is not None and path.is_relative_to(out)
            if name in self._named or not (own or inside):
                found[path] = sha256_of(path) if now == seen else None
        return found

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        # An error raised here would be the audited call's.
        try:
            if event == "open":
                self._opened(*arguments)
            elif event in ("os.rename", "os.link"):
                self._written.add(_whole(arguments[1]))
        except Exception:  # noqa: BLE001
            pass

    def _opened(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int):
            return
        name = _whole(path)
        writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
        if writes:
            self._written.add(name)
            return
        name = _source(name)
        if name not in self._read and (seen := _seen(name)) is not None:
            self._read[name] = seen


def _whole(path: Any) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100


def _source(name: str) -> str:
    """The file itself; of compiled code, the source that it stands for."""
    return importlib.util.source_from_cache(name) if f"{os.sep}__pycache__{os.sep}" in name else name


def _seen(name: str) -> Seen | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - a Path would be one more object for each of many calls
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _is_known_otherwise(path: Path) -> bool:
    """Whether a file is of Python, of a package, of onnxproof, or of the system."""
    return not PACKAGE_FOLDERS.isdisjoint(path.parts) or any(
        map(path.is_relative_to, (OURS, *INSTALLED, *SYSTEM))
    )
