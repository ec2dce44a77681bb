"""Installed packages that are made up for a test."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def install(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    name: str,
    files: Mapping[str, str],
    entry_points: str,
    *,
    metadata: str | None = None,
) -> None:
    """Put a package into ``folder`` as pip would, and the folder on the path for as long as the test runs.

    ``files`` are the texts of its modules by their path; ``entry_points`` are the lines of the group
    "onnxproof.families", or a whole file if they begin with "[".
    """
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module_of(file), raising=False)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    default = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(default if metadata is None else metadata, encoding="utf-8")
    if not entry_points.startswith("["):
        entry_points = f"[onnxproof.families]\n{entry_points}\n"
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
    if str(folder) not in sys.path:
        monkeypatch.syspath_prepend(folder)


def module_of(file: str) -> str:
    """The dotted name of the module in a file of a package."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
