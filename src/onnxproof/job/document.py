"""Job files as documents: what a file takes from the one that it extends, and the jobs of its matrix."""

import copy
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxproof.contract import LONGEST_NAME
from onnxproof.errors import JobError
from onnxproof.runtime.archive import is_archive
from onnxproof.source import LARGEST_JOB, BundleArchive, job_name, name_of
from onnxproof.system.parsed import DEEPEST, UnreadableError, parse_toml, toml_in

EXTENDS, MATRIX, EXCLUDE = "extends", "matrix", "exclude"
"""Keys of a job file that make a job's document and are not in it; ``EXCLUDE`` is one of ``[matrix]``."""

FILE_KEYS = (EXTENDS, MATRIX)

PATHS = ("model.checkpoint", "validate.images", "validate.annotations", "precision.images")
CODE = ("model.builder", "export.custom_ops")
"""The keys of a job whose values are relative paths; in ``CODE`` only those of the form ``file.py:NAME``."""

FIXED = ("name", "folder", *FILE_KEYS)
"""Keys that no matrix varies."""

MOST_CELLS = 1000
"""Jobs that a matrix makes at most."""

SHOWN = 40
"""Characters of a key that a message shows."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """The document of one job of a file. ``axes`` says which values of the matrix it has, as pairs of a key
    and the value as text; it is empty if the file has no matrix."""

    document: Document
    axes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Axis:
    """A key of the job, and the values that it takes in turn."""

    key: str
    values: tuple[Any, ...]


def read_document(file: Path) -> Document:
    """What a job file says, with what it takes from the file that it extends.

    Tables are merged key by key, and a file's own keys go first. Relative paths that come from a file of
    another folder are made absolute. Raises JobError if a file is missing, is no TOML, or extends itself.
    """
    chain = list(_chain(file))
    home = Path(os.path.realpath(file.parent))
    merged: Document = {}
    for place, document in reversed(chain):
        folder = Path(os.path.realpath(place.parent))
        document.pop(EXTENDS, None)
        merged = _over(merged, document if folder == home else _rebased(document, folder))
    return merged


def chain_of(file: Path) -> tuple[Path, ...]:
    """The job file, the file that it extends, the file that that one extends, and so on."""
    return tuple(path for path, _ in _chain(file))


def told(file: Path) -> str:
    """A job file as messages name it, with the files that it extends."""
    others = chain_of(file)[1:]
    return f"{file} (extends {', '.join(map(str, others))})" if others else str(file)


def _chain(file: Path) -> Iterator[tuple[Path, Document]]:
    seen: dict[Path, Path] = {}
    place: Path | None = file
    while place is not None:
        real = Path(os.path.realpath(place))
        if real in seen:
            ring = " -> ".join(map(str, (*seen.values(), place)))
            raise JobError(f"job file {place} extends itself: {ring}")
        seen[real] = place
        document = _read(place, tuple(seen.values())[:-1])
        yield place, document
        given = document.get(EXTENDS)
        if given is not None and (not isinstance(given, str) or not given):
            raise JobError(f'{place}: {EXTENDS} = {given!r}: expected the path of a job file, "base.toml"')
        place = None if given is None else place.parent / Path(given).expanduser()


def _read(file: Path, before: Sequence[Path]) -> Document:
    by = f", which {before[-1]} extends," if before else ""
    if is_archive(file):
        raise JobError(
            f"{file}{by} is {BundleArchive.what}, not a job: give the job's .toml file. To validate the "
            f"bundle, unpack it (python -m zipfile -e {file} {file.with_suffix('')}) and give that folder, "
            "since its checkpoint is named by the path from there; onnxproof selftest judges the one file by "
            "what was recorded in it"
        )
    try:
        return toml_in(file, LARGEST_JOB)
    except FileNotFoundError as error:
        raise JobError(f"job file {file}{by} does not exist: give the path of a .toml file") from error
    except IsADirectoryError as error:
        raise JobError(f"job file {file}{by} is a folder: give the path of a .toml file") from error
    except OSError as error:
        raise JobError(f"job file {file}{by} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise JobError(
            f"job file {file}{by} is no text in UTF-8 ({error}): give a .toml file, saved as UTF-8"
        ) from error
    except UnreadableError as error:
        raise JobError(f"job file {file}{by} cannot be read: {error}") from error
    except ValueError as error:
        raise JobError(f"job file {file}{by} is no TOML: {error}") from error


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> Document:
    """Tables merged key by key; ``own`` goes first."""
    made = dict(base)
    for key, value in own.items():
        before = made.get(key)
        tables = isinstance(value, Mapping) and isinstance(before, Mapping)
        made[key] = _over(before or {}, value) if tables else value
    return made


def _rebased(document: Document, folder: Path) -> Document:
    """The document with absolute paths in place of those that start at ``folder``, also in its matrix."""
    made = copy.deepcopy(document)
    for key in (*PATHS, *CODE):
        value = value_at(made, key)
        if isinstance(value, str):
            assign(made, key, absolute(value, folder, code=key in CODE))
    matrix = made.get(MATRIX)
    if isinstance(matrix, dict):
        for name, value in _lists(matrix):
            if name != EXCLUDE and isinstance(value, list):
                value[:] = [
                    value_at(_rebased(assign({}, name, one), folder), name) if name not in FIXED else one
                    for one in value
                ]
    return made


def absolute(path: str, folder: Path, *, code: bool) -> str:
    """A path of a job in ``folder``, made absolute. ``code`` says that it is a reference to code, of which
    only ``file.py:NAME`` has a path."""
    file, colon, attribute = path.partition(":") if code else (path, "", "")
    if (code and not file.endswith(".py")) or file.startswith("~"):
        return path
    return f"{folder / file}{colon}{attribute}"


def cells_of(document: Document, overrides: Sequence[str], source: str) -> tuple[Cell, ...]:
    """The jobs that a document makes: one, or one for each combination of its matrix's values.

    A cell's name is the document's, with the values that it has. ``overrides`` are as for ``override``. One
    of a key that the matrix varies takes the place of that key's values, and one that begins with "matrix."
    changes the matrix. Raises JobError if the matrix is no such, or if two cells have one name.
    """
    on_matrix = [text for text in overrides if text.startswith(f"{MATRIX}.")]
    others = [text for text in overrides if text not in on_matrix]
    bare = override(document, on_matrix)
    matrix = bare.pop(MATRIX, None)
    if matrix is None:
        return (Cell(override(bare, others)),)
    if not isinstance(matrix, dict):
        raise JobError(f"{source}: {MATRIX} = {matrix!r}: expected a table of keys and lists of values")
    excluded = matrix.pop(EXCLUDE, [])
    axes = [_fixed(axis, others) for axis in _axes(matrix, source)]
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST_CELLS:
        raise JobError(f"{source}: the matrix makes {count} jobs; expected at most {MOST_CELLS}")
    left_out = _excluded(excluded, [axis.key for axis in axes], source)
    cells = [
        _cell(bare, axes, values, others)
        for values in itertools.product(*(axis.values for axis in axes))
        if not any(_holds(entry, axes, values) for entry in left_out)
    ]
    if not cells:
        raise JobError(f"{source}: the matrix makes no job: {MATRIX}.{EXCLUDE} excludes all")
    _require_names(cells, source)
    return tuple(cells)


def _axes(matrix: Document, source: str) -> list[_Axis]:
    axes = {}
    for key, value in _lists(matrix):
        if key.partition(".")[0] in FIXED:
            raise JobError(f"{source}: {MATRIX}.{key}: a matrix does not vary {key.partition('.')[0]}")
        if not isinstance(value, list) or not value:
            raise JobError(
                f"{source}: {MATRIX}.{key} = {value!r}: expected a list of values, such as "
                f"{MATRIX}.export.opset = [18, 20]"
            )
        axes[key] = _Axis(
            key, tuple(value)
        )  # a file and the one that it extends may write one key in two ways
    if not axes:
        raise JobError(f"{source}: [{MATRIX}] is empty: give keys of the job with lists of values")
    return list(axes.values())


def _lists(table: Mapping[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of nested tables, and what is no table at each."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _lists(value, f"{head}{key}.")
        else:
            yield f"{head}{key}", value


def _fixed(axis: _Axis, overrides: Sequence[str]) -> _Axis:
    """The axis, with an override's value alone if there is one of its key."""
    own = [text for text in overrides if text.partition("=")[0].strip() == axis.key]
    return _Axis(axis.key, (value_at(override({}, own), axis.key),)) if own else axis


def _excluded(entries: Any, keys: Sequence[str], source: str) -> list[dict[str, Any]]:
    """What each entry of ``exclude`` asks of a cell, by the axes' keys."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry for entry in entries):
        raise JobError(f"{source}: {MATRIX}.{EXCLUDE} = {entries!r}: expected a list of tables")
    return [dict(_asked(entry, keys, source)) for entry in entries]


def _asked(
    entry: Mapping[str, Any], keys: Sequence[str], source: str, head: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        key = f"{head}{name}"
        if key in keys:
            yield key, value
        elif isinstance(value, dict):
            yield from _asked(value, keys, source, f"{key}.")
        else:
            raise JobError(
                f"{source}: {MATRIX}.{EXCLUDE} names {key}, which the matrix does not vary; it varies "
                f"{', '.join(keys)}"
            )


def _holds(entry: Mapping[str, Any], axes: Sequence[_Axis], values: Sequence[Any]) -> bool:
    cell = {axis.key: value for axis, value in zip(axes, values, strict=True)}
    return all(cell[key] == value for key, value in entry.items())


def _cell(document: Document, axes: Sequence[_Axis], values: Sequence[Any], overrides: Sequence[str]) -> Cell:
    made = copy.deepcopy(document)
    last = Counter(axis.key.rpartition(".")[2] for axis in axes)
    parts, texts = [], []
    for axis, value in zip(axes, values, strict=True):
        before = value_at(made, axis.key)
        merged = isinstance(value, dict) and isinstance(before, dict)
        assign(made, axis.key, _over(before, value) if merged else value)
        text = _text(axis.key, value)
        short = axis.key.rpartition(".")[2]
        key = short if last[short] == 1 else axis.key
        parts.append(text if isinstance(value, dict) else f"{key}_{text}")
        texts.append((axis.key, text))
    made = override(made, overrides)
    if isinstance(made.get("name"), str):
        made["name"] = "-".join((made["name"], *parts))
    return Cell(made, tuple(texts))


def _text(key: str, value: Any) -> str:
    """A value as a part of a name."""
    if isinstance(value, dict):
        return "-".join(f"{job_name(str(name))}_{_text(f'{key}.{name}', one)}" for name, one in value.items())
    if isinstance(value, list):
        return "_".join(_text(key, one) for one in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and key in PATHS:
        told = name_of(Path(value)) if key == "model.checkpoint" else None
        return told or job_name(Path(value).name)
    return job_name(str(value))


def _require_names(cells: Sequence[Cell], source: str) -> None:
    names = Counter(cell.document.get("name") for cell in cells)
    for name, count in names.items():
        if isinstance(name, str) and count > 1:
            raise JobError(f"{source}: {count} jobs of the matrix are named {name}: are values given twice?")
        if isinstance(name, str) and len(name) > LONGEST_NAME:
            raise JobError(
                f"{source}: the matrix makes the name {name[:40]}… of {len(name)} characters; expected at "
                f"most {LONGEST_NAME}: vary fewer keys, or values with shorter texts"
            )


def value_at(document: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of a document. Returns None if there is none."""
    found: Any = document
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def assign(document: Document, key: str, value: Any) -> Document:
    """Put a value at a dotted key. Returns the document. Raises JobError if a part of the key is a value."""
    *tables, last = key.split(".")
    table = document
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise JobError(f"{key}: {part} is a value, not a section")
    table[last] = value
    return document


def override(document: Document, texts: Sequence[str]) -> Document:
    """A document with values replaced by "section.key=value". Raises JobError for any other form."""
    changed = copy.deepcopy(document)
    for text in texts:
        _apply(changed, text)
    return changed


def given_values(texts: Sequence[str]) -> Document:
    """The values of "section.key=value" alone, for a job that is yet to be drafted.

    Raises JobError as ``override`` does, and for what a job cannot have.
    """
    given = override({}, texts)
    if "folder" in given:
        raise JobError("--set folder=…: no key of a job, whose paths start at its own folder")
    if not isinstance(given.get("model", {}), dict):
        raise JobError("--set model=…: expected a key of the section, such as model.variant=NAME")
    return given


def _apply(document: Document, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise JobError(f'--set {override}: expected section.key=value, for example "export.opset=18"')
    if key.strip() in FILE_KEYS:
        raise JobError(f"--set {key.strip()}=…: a job file says that itself: write it into the file")
    if key.count(".") >= DEEPEST:
        raise JobError(f"--set {key[:SHOWN]}…: no job is nested deeper than {DEEPEST} levels")
    try:
        found = parse_toml(f"value = {text}")
    except UnreadableError as error:
        raise JobError(f"--set {key}=…: its value cannot be read: {error}") from error
    except ValueError:
        found = {"value": text}
    if len(found) != 1:
        raise JobError(f"--set {override}: expected one value; give each key with a --set of its own")
    value = found["value"]
    try:
        assign(document, key.strip(), value)
    except JobError as error:
        raise JobError(f"--set {override}: {str(error).partition(': ')[2]}") from error
