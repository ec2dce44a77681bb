"""Lists the model families: ours, one file each in families/, and those of other packages.

Another package offers a family through an entry point of the group ``onnxproof.families``; docs/families.md
shows one. This module imports no family.
"""

import ast
import importlib.util
import pkgutil
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

from onnxproof.errors import JobError, RequestError
from onnxproof.system.extras import require_extra
from onnxproof.text import meant
from onnxproof.wrappers import families as ours

GROUP = "onnxproof.families"
"""The group of entry points in which other packages name their families."""


@dataclass(frozen=True, slots=True)
class FamilyEntry:
    """A family that a package offers.

    ``reference`` says where the family's object is, as "module:attribute". ``distribution`` is the name and
    version of the package that contains it; it is None for our own families. ``summary`` is the first line of
    the module's docstring. ``problem`` says why the family cannot be used; it is empty if no reason is known.
    """

    name: str
    reference: str
    distribution: str | None = None
    summary: str = ""
    problem: str = ""

    @property
    def origin(self) -> str:
        """The package that contains the family and where its object is, as errors name them."""
        return f"{self.distribution or 'onnxproof'} ({self.reference})"


def offered_families() -> tuple[FamilyEntry, ...]:
    """All families that are offered, sorted by name, without their summaries.

    If two packages offer families of the same name, ``problem`` says so in both entries.
    """
    entries = sorted((*_our_entries(), *_foreign_entries()), key=lambda entry: entry.name)
    return tuple(_refuse_doubles(entry, entries) for entry in entries)


def describe(entry: FamilyEntry) -> FamilyEntry:
    """The entry with its summary, which is read from the module's file without importing the module.

    If the file does not exist or cannot be read, ``problem`` says so.
    """
    if entry.problem:
        return entry
    module = entry.reference.partition(":")[0].strip()
    try:
        return replace(entry, summary=_first_line(module))
    # Another package's import hooks or file may raise anything. That must not hide the other families.
    except Exception as error:  # noqa: BLE001
        return replace(entry, problem=f"{module} cannot be read: {type(error).__name__}: {error}")


def extra_of(entry: FamilyEntry) -> str | None:
    """The extra that brings the library of a family of ours. None if there is none, or for another package's.

    It is ``EXTRA`` in the family's module.
    """
    found = _constant(entry, "EXTRA")
    return found if isinstance(found, str) else None


def axes_of(entry: FamilyEntry) -> tuple[str, ...] | None:
    """The names in ``[dims]`` that a family of ours has whatever the checkpoint is.

    They are ``AXES`` in the family's module. None if the module has none, or for another package's family.
    """
    found = _constant(entry, "AXES")
    return found if isinstance(found, tuple) else None


def _constant(entry: FamilyEntry, name: str) -> object:
    """A constant of our family's module, which is read without importing it. None if there is none."""
    if entry.distribution is not None:
        return None
    for node in ast.parse(_find(entry.reference.partition(":")[0]).read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return ast.literal_eval(value)
    return None


def entry_of(family: str) -> FamilyEntry:
    """The family of that name. Raises JobError if there is none; RequestError if it cannot be used."""
    offered = offered_families()
    entry = next((entry for entry in offered if entry.name == family), None)
    if entry is None:
        names = [entry.name for entry in offered if not entry.problem]
        hint = meant(family, names)
        raise JobError(f'model.family = "{family}" is not known; there are: {", ".join(names)}{hint}')
    if entry.problem:
        raise RequestError(f'model.family = "{family}" cannot be used: {entry.problem}')
    return entry


def require_library(family: str) -> None:
    """Raise MissingPackageError if a package is missing that one of our families needs. Imports none."""
    for entry in _our_entries():
        if entry.name == family and (extra := extra_of(entry)) is not None:
            require_extra(extra, f"the family {family}")


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
        # If a package is installed twice, Python imports the first.
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key and key in seen:
            continue
        seen.add(key)
        called = f"{name or 'a package without a name'} {version or 'of no version'}"
        yield from (_foreign_entry(point, called) for point in points)


def _points(distribution: Distribution) -> tuple[EntryPoint, ...]:
    """The distribution's entry points of our group. Returns () if they cannot be read.

    Any installed package may have a damaged file, and that must not stop us.
    """
    try:
        return tuple(point for point in distribution.entry_points if point.group == GROUP)
    except Exception:  # noqa: BLE001
        return ()


def _metadata(distribution: Distribution, key: str) -> str:
    """The value of a key of the distribution's metadata. Returns "" if it is missing or cannot be read."""
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
    """The first line of a module's docstring. Returns "" if it has none or if it is no Python file."""
    file = _find(module)
    if file.suffix != ".py":
        return ""
    with tokenize.open(file) as stream:
        return (ast.get_docstring(ast.parse(stream.read())) or "").partition("\n")[0]


def _find(module: str) -> Path:
    """The file of a module, or the folder of a package that has no file.

    ``importlib.util.find_spec`` would import the packages that contain the module. So we call it for the
    outermost package only, and search the folders of each package for the next one. A package that is
    imported already says itself where its modules lie. Raises ModuleNotFoundError if the module does not
    exist.
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
        # Python's own order: a package, a module, then a folder without an __init__.py.
        found = regular or [path for folder in folders for path in sorted(folder.glob(f"{part}.*"))]
        if not found and not packages:
            raise ModuleNotFoundError(f"there is no module {name}", name=name)
        file = (found or packages)[0]
        folders = [file.parent] if regular else [] if found else packages
        folders = [Path(folder) for folder in getattr(sys.modules.get(name), "__path__", folders)]
    return file
