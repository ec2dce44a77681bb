"""Which model families there are: ours, one file each in families/, and those of other packages.

Another package offers a family through an entry point of the group ``onnxproof.families``; docs/families.md
shows one. Nothing here imports a family.
"""

import ast
import importlib.util
import pkgutil
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

from onnxproof.wrappers import families as ours

GROUP = "onnxproof.families"
"""The group of entry points in which other packages name their families."""


@dataclass(frozen=True, slots=True)
class FamilyEntry:
    """A family that a package offers.

    ``reference`` is where its object is, "module:attribute". ``distribution`` is the name and version of the
    package that brings it; it is None for our own families. ``summary`` is the first line of the module's
    documentation. ``problem`` says why the family cannot be used; it is empty if nothing is known against it.
    """

    name: str
    reference: str
    distribution: str | None = None
    summary: str = ""
    problem: str = ""

    @property
    def origin(self) -> str:
        """Who brings the family and where it is, as errors name it."""
        return f"{self.distribution or 'onnxproof'} ({self.reference})"


def offered_families() -> tuple[FamilyEntry, ...]:
    """All families that are offered, sorted by name; without summaries.

    Two packages may offer one of the same name: then both entries say so in ``problem``.
    """
    entries = sorted((*_our_entries(), *_foreign_entries()), key=lambda entry: entry.name)
    return tuple(_refuse_doubles(entry, entries) for entry in entries)


def describe(entry: FamilyEntry) -> FamilyEntry:
    """The entry with its summary, which is read from the module's file without importing it.

    If there is no such file, that is the entry's ``problem``.
    """
    if entry.problem:
        return entry
    module = entry.reference.partition(":")[0].strip()
    try:
        return replace(entry, summary=_first_line(module))
    # Another package's finder or file may raise anything, and must not hide the other families.
    except Exception as error:  # noqa: BLE001
        return replace(entry, problem=f"{module} cannot be read: {type(error).__name__}: {error}")


def _our_entries() -> Iterator[FamilyEntry]:
    for module in pkgutil.iter_modules(ours.__path__):
        yield FamilyEntry(module.name, f"{ours.__name__}.{module.name}:FAMILY")


def _foreign_entries() -> Iterator[FamilyEntry]:
    seen = set()
    for distribution in distributions():
        points = _points(distribution)
        if not points:
            continue
        name, version = _metadata(distribution, "Name"), _metadata(distribution, "Version")
        # Of two installations of one package, Python imports the first.
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key and key in seen:
            continue
        seen.add(key)
        called = f"{name or 'a package without a name'} {version or 'of no version'}"
        yield from (_foreign_entry(point, called) for point in points)


def _points(distribution: Distribution) -> tuple[EntryPoint, ...]:
    """The distribution's entry points of our group.

    Empty if its entry points cannot be read, for any installed package may have a damaged file.
    """
    try:
        return tuple(point for point in distribution.entry_points if point.group == GROUP)
    except Exception:  # noqa: BLE001
        return ()


def _metadata(distribution: Distribution, key: str) -> str:
    """A line of the distribution's metadata. Empty if it is missing or cannot be read."""
    try:
        metadata = distribution.metadata
        return str(metadata[key]) if key in metadata else ""
    except Exception:  # noqa: BLE001
        return ""


def _foreign_entry(point: EntryPoint, distribution: str) -> FamilyEntry:
    entry = FamilyEntry(point.name, point.value, distribution)
    module, _, attribute = (part.strip() for part in point.value.partition(":"))
    names = (*module.split("."), *attribute.split("."))
    if all(name.isidentifier() for name in names):
        return entry
    return replace(entry, problem=f'its entry point is "{point.value}"; expected "package.module:FAMILY"')


def _refuse_doubles(entry: FamilyEntry, entries: list[FamilyEntry]) -> FamilyEntry:
    same = [other.origin for other in entries if other.name == entry.name]
    if len(same) < 2:
        return entry
    return replace(entry, problem=f"it is offered by {' and by '.join(same)}: uninstall all but one")


def _first_line(module: str) -> str:
    """The first line of a module's documentation. Empty if the module is no Python file."""
    file = _find(module)
    if file.suffix != ".py":
        return ""
    with tokenize.open(file) as stream:
        return (ast.get_docstring(ast.parse(stream.read())) or "").partition("\n")[0]


def _find(module: str) -> Path:
    """The file of a module, or the folder of a package without one. ModuleNotFoundError if it is nowhere.

    ``importlib.util.find_spec`` imports the packages around a module. So it is asked for the outermost
    package alone; the inner ones are looked for in the folders of the package around them.
    """
    name, *inner = module.split(".")
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {name}", name=name)
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    file = Path(spec.origin) if spec.origin is not None else next(iter(folders), Path())
    for part in inner:
        name = f"{name}.{part}"
        packages = [folder / part for folder in folders if (folder / part).is_dir()]
        regular = [package / "__init__.py" for package in packages if (package / "__init__.py").is_file()]
        # Python's own order: a package, then a module, then folders without an __init__.py.
        found = regular or [path for folder in folders for path in sorted(folder.glob(f"{part}.*"))]
        if not found and not packages:
            raise ModuleNotFoundError(f"there is no module {name}", name=name)
        file = (found or packages)[0]
        folders = [file.parent] if regular else [] if found else packages
    return file
