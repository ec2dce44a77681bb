"""Link the packages that an extra needs from one environment into another: ``linked.py WHEEL EXTRA FOLDER``.

Run by the Python of the environment that has them. What pip would install, and nothing else, then lies in
FOLDER (the other one's site-packages) without a download; pip installs what is missing here.
"""

import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_string
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(wheel: Path, extra: str) -> Iterator[Requirement]:
    """What a wheel with an extra requires, without the markers: they hold."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode("utf-8"))
    own = canonicalize_name(str(metadata["Name"]))
    todo, seen = [extra], set()
    while todo:
        one = todo.pop()
        seen.add(one)
        for text in metadata.get_all("Requires-Dist", []):
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": one}):
                continue
            if canonicalize_name(wanted.name) == own:
                todo += [other for other in wanted.extras if other not in seen]
            else:
                wanted.marker = None
                yield wanted


def closure(requirements: Iterator[Requirement]) -> dict[str, Distribution]:
    """The installed distributions that requirements lead to, by name."""
    found: dict[str, Distribution] = {}
    todo = [(requirement, "") for requirement in requirements]
    seen = set()
    while todo:
        wanted, extra = todo.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        for one in ("", *sorted(wanted.extras)):
            if (name, one) in seen:
                continue
            seen.add((name, one))
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:
                continue
            todo += [(Requirement(text), one) for text in found[name].requires or ()]
    return found


def link(one: Distribution, folder: Path) -> None:
    """Link a distribution's files into a folder; scripts, which name their own Python, are left out."""
    for file in one.files or ():
        source = Path(str(one.locate_file(file)))
        if ".." in file.parts or not source.is_file():
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            continue
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


if __name__ == "__main__":
    for found in closure(needed(Path(sys.argv[1]), sys.argv[2])).values():
        link(found, Path(sys.argv[3]))
