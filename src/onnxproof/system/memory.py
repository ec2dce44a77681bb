"""How much memory there is, and whether it is enough for a model, asked before the work starts."""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from onnxproof.errors import RequestError

GB = 10**9

SMALL = 2**28
"""Bytes of weights up to which nothing is asked: such a model fits wherever PyTorch does."""

FACTOR = 2.5
"""How many times its weights an export or a validation takes, with the weights themselves, beside ``BASE``.
Measured with benchmarks/memory.py."""

BASE = GB
"""Bytes that PyTorch, ONNX Runtime and the work on a single layer take."""

BEGUN = GB // 2
"""Bytes of ``BASE`` that are taken already when a model has been built."""

UNLIMITED = 2**60
"""From so many bytes on, a limit of a control group of version 1 is none."""


def estimated_bytes(weights: int) -> int:
    """How many bytes of memory an export or a validation takes in all, of a model with so many of weights."""
    return int(FACTOR * weights) + BASE


def require_memory(weights: int) -> None:
    """Raise RequestError if the memory is not enough to export or validate a model that has been built.

    ``weights`` is how many bytes its weights take.
    """
    there = available_bytes()
    needed = int((FACTOR - 1) * weights) + BASE - BEGUN
    if weights > SMALL and there is not None and there < needed:
        raise RequestError(
            f"the model has {weights / GB:.1f} GB of weights, and the work on it needs about "
            f"{needed / GB:.1f} GB of memory more; there are {there / GB:.1f} GB: end other programs, or use "
            "a machine with more memory"
        )


def require_memory_to_read(file: Path) -> None:
    """Raise RequestError if the memory is not enough to read a checkpoint. It is read as a whole."""
    there, needed = available_bytes(), file.stat().st_size
    if needed > SMALL and there is not None and there < needed:
        raise RequestError(
            f"the checkpoint {file} takes {needed / GB:.1f} GB of memory to read, and there are "
            f"{there / GB:.1f} GB: end other programs, use a machine with more memory, or save the weights "
            "alone, without an optimizer's state"
        )


def available_bytes(root: Path = Path("/")) -> int | None:
    """How many bytes of memory this process may still take. Returns None if the system does not tell.

    On Linux it is the least of what the machine has, swap included, and what the control groups of the
    process leave. ``root`` is where /proc and /sys are.
    """
    if sys.platform == "win32":
        return _of_windows()
    found = [*_of_machine(root), *_of_groups(root)]
    if not found and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(found, default=None)


def _of_machine(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return
    kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    if "MemAvailable" in kib:
        yield (kib["MemAvailable"] + kib.get("SwapFree", 0)) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    """What each control group of the process leaves (kernel.org, cgroup-v2.rst and cgroup-v1/memory.rst)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, limit, used = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit, used = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inner = root / top / path.lstrip("/")
        # In a container the path may be the host's, and the process's own group is the top.
        for folder in dict.fromkeys((inner, *inner.parents, root / top)):
            left = _left(folder, limit, used)
            if left is not None:
                yield left


def _left(folder: Path, limit: str, used: str) -> int | None:
    """What a control group leaves. Its cached files count as free, since the system gives them up."""
    try:
        most = int((folder / limit).read_text(encoding="ascii"))
        taken = int((folder / used).read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None  # no such group, or "max"
    cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return None if most >= UNLIMITED else max(most - taken + cached, 0)


def _of_windows() -> int | None:
    """GlobalMemoryStatusEx: what is left of the memory and the paging file."""
    fields = "total free total_paging free_paging total_virtual free_virtual free_extended".split()

    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in fields),
        ]

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - it exists on Windows alone
    return int(status.free_paging) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None
