"""Write the job that a checkpoint needs: what its family recognises, with a comment on each key.

``init`` writes it to a file. ``export`` of a checkpoint runs the same job without a file.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from onnxproof.errors import CheckpointError, RequestError
from onnxproof.export.checkpoint import load_checkpoint
from onnxproof.export.model import model_with
from onnxproof.finding.longest import longest
from onnxproof.job import Job
from onnxproof.job.document import given_values, override
from onnxproof.runtime.folder import refuse_in_bundle
from onnxproof.source import JOB_SUFFIX, drafted_for, job_name, name_of, refuse_existing, stems_of
from onnxproof.system.files import check_folder, explained, write_new
from onnxproof.system.parsed import parse_toml
from onnxproof.system.signatures import checks_arguments
from onnxproof.wrappers.family import Checkpoint, WrappedModel
from onnxproof.wrappers.identify import identify
from onnxproof.wrappers.recognise import Recognised, Setting

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
PICTURE_FOLDERS = ("images", "pictures", "samples", ".")
"""Where pictures may lie, seen from the checkpoint."""

MOST_PICTURES = 64
"""A folder of more pictures is a data set: too long a trial for a first verdict."""

COLUMN = 44
"""The column in which comments begin, if the line leaves room."""

ORDER = ("model", "wrapper", "dims", "inputs", "arguments", "export", "validate", "predict")
"""The order of a job's sections."""

GIVEN = "given with --set"

EFFORT = "quick"
"""How many cases are tried if the user does not say it: the first verdict is for a person who waits."""
FEW_TRIED = "Few cases are tried, for a first verdict: --set validate.effort=normal tries every size"
FEW = '"quick" tries few cases, for a first verdict; "normal" tries every size'

SIZE, SIDES = "predict.size", ("dims.height", "dims.width")
"""Keys of which the first follows the others, unless it is given itself."""

NORMALIZES = ("wrapper.normalize", "wrapper.mean", "wrapper.std")
"""Keys of which those that are found give way to any that is given."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A job for a checkpoint. ``text`` is the job file, and ``job`` is what it says.

    ``checkpoint`` is the checkpoint as it was read from ``path``, and ``folder`` is that of the job file.
    ``file`` is where ``init`` wrote it; it is None if the job was only drafted.
    """

    job: Job
    text: str
    recognised: Recognised
    checkpoint: Checkpoint
    path: Path
    folder: Path
    file: Path | None = None

    @property
    def said(self) -> str:
        """What the checkpoint was recognised as, in one line."""
        table = self.job.model
        named = "" if table.variant is None else f", variant {table.variant}"
        return f"family {table.family}, task {table.task}{named}: {self.recognised.why}"

    def again(self, set: Sequence[str]) -> "Draft":
        """The draft with other values set in place of its own; the checkpoint is not read again."""
        given = override({}, set)
        return _drafted(self.path, self.checkpoint, self.recognised, self.folder, given)


@checks_arguments
def init(
    checkpoint: str | PathLike[str],
    *,
    out: str | PathLike[str] | None = None,
    set: Sequence[str] = (),
) -> Draft:
    """Write a job for a checkpoint, with a comment on each key that says where its value comes from.

    The file is ``out``, or ``<job name>.toml`` in the working folder. ``set`` has values of your own,
    "section.key=value". The model is built once, to see that the weights fit.

    Raises RequestError if the file is there already, and as ``draft`` does.
    """
    target = None if out is None else Path(out).expanduser()
    if target is not None:
        refuse_existing(target)
        if not target.parent.is_dir():
            raise RequestError(
                f"{target.parent} is no folder: make it first, or name another file with --out"
            )
    made = draft(checkpoint, Path() if target is None else target.parent, set)
    target = Path(f"{made.job.name}{JOB_SUFFIX}") if target is None else target
    refuse_existing(target)
    refuse_in_bundle(target)
    check_folder(target.parent, kind="file")
    narrower = within_reach(made, model_with(made.job, made.checkpoint), set)
    made = made if narrower is None else narrower[0]
    with explained(target, kind="file"):
        write_new(target, made.text)
    return replace(made, file=target)


def draft(checkpoint: str | PathLike[str], folder: Path = Path(), set: Sequence[str] = ()) -> Draft:
    """Draft the job for a checkpoint, for a job file in ``folder``. ``set`` replaces its values.

    Raises CheckpointError if no family knows the checkpoint; RequestError if it fits several variants and
    ``set`` chooses none, or if the family's library is missing.
    """
    given = given_values(set)
    table = given.get("model", {})
    path = Path(checkpoint).expanduser()
    variant, family = table.get("variant"), table.get("family")
    stems = stems_of(str(family), None if variant is None else str(variant))
    loaded = load_checkpoint(path, stems, str(table.get("weights", "auto")))
    found = identify(replace(loaded, asked=table), None if family is None else str(family))
    if found.others:
        fitting = [found.variant, *found.others] if found.variant is not None else found.others
        raise RequestError(
            f"{loaded.file}: its tensors do not tell which variant of the family {found.family} it is "
            f"({', '.join(map(str, fitting))}): say it with --set model.variant=NAME"
        )
    return _drafted(path, replace(loaded, asked=table), found, folder, given)


def drafted(checkpoint: str | PathLike[str], set: Sequence[str]) -> tuple[Draft, str]:
    """The draft of a checkpoint that is exported without a job, and the note that says so."""
    made = draft(checkpoint, set=set)
    few = f". {FEW_TRIED}" if made.job.validation.effort == EFFORT else ""
    return made, f"no job is given: {made.said}; onnxproof init writes the job{few}"


def within_reach(
    made: Draft, model: WrappedModel, set: Sequence[str]
) -> tuple[Draft, tuple[str, ...]] | None:
    """The draft with the default sizes that PyTorch runs, and a note for each dim that is narrowed.

    ``model`` is the draft's, and ``set`` what was set in place of its own values: dims among these stay.
    Returns None if PyTorch runs all sizes.
    """
    given = {text.partition("=")[0].strip().removeprefix("dims.") for text in set}
    found = {f"dims.{one.dim.name}": one for one in longest(model, made.job.validation.threads, given)}
    if not found:
        return None
    settings = [one for one in made.recognised.settings if one.key not in found]
    settings += [
        Setting(key, str(one.dim), f"what PyTorch runs: not {one.most}") for key, one in found.items()
    ]
    recognised = replace(made.recognised, settings=tuple(settings))
    return replace(made, recognised=recognised).again(set), tuple(map(str, found.values()))


def _drafted(
    path: Path, loaded: Checkpoint, found: Recognised, folder: Path, given: Mapping[str, Any]
) -> Draft:
    settings = _overridden(_settings(path, loaded, found, folder), given)
    text = _text(path, settings, loaded.notes)
    job = Job.from_document(parse_toml(text), folder=folder, source=drafted_for(path))
    return Draft(job, text, found, loaded, path, folder)


def _settings(path: Path, loaded: Checkpoint, found: Recognised, folder: Path) -> tuple[Setting, ...]:
    """All keys of the job; those of the top have no section."""
    model = [Setting("model.family", found.family, found.why)]
    model.append(Setting("model.task", found.task, "what this network decides (onnxproof tasks)"))
    if found.variant is not None:
        model.append(Setting("model.variant", found.variant, "by the names and shapes of its tensors"))
    model.append(Setting("model.checkpoint", _seen_from(folder, path), "relative to this file"))
    if loaded.asked.get("weights", "auto") != "auto":
        model.append(Setting("model.weights", loaded.asked["weights"], GIVEN))
    settings = [*model, *found.settings]
    if "validate.images" not in found.values():
        settings += _pictures(path, folder)
    if "validate.effort" not in found.values():
        settings.append(Setting("validate.effort", EFFORT, FEW))
    return tuple(settings)


def _seen_from(folder: Path, path: Path) -> str:
    """The path relative to the folder, or as it is if that leads up out of all folders."""
    here, there = os.path.realpath(folder), Path(os.path.realpath(path.parent), path.name)
    relative = os.path.relpath(there, here)
    return Path(there if relative.count("..") > 3 else relative).as_posix()


def _pictures(path: Path, folder: Path) -> tuple[Setting, ...]:
    """The pictures beside the checkpoint, if there are a few."""
    beside = path if path.is_dir() else path.parent
    for name in PICTURE_FOLDERS:
        place = beside / name
        if not place.is_dir():
            continue
        kinds = Counter(file.suffix for file in place.iterdir() if file.suffix.lower() in PICTURES)
        if kinds:
            kind, count = kinds.most_common(1)[0]
            if count > MOST_PICTURES:
                continue
            pattern = f"{_seen_from(folder, place)}/*{kind}"
            return (Setting("validate.images", pattern, f"{count} pictures beside the checkpoint"),)
    return ()


def _overridden(settings: Sequence[Setting], given: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The settings with the user's own values in place of those found."""
    own = dict(_leaves(given))
    settings = _refitted(settings, own)
    if "name" in own:
        own = {"job.name": own.pop("name")} | own
    replaced = [Setting(one.key, own.pop(one.key), GIVEN) if one.key in own else one for one in settings]
    if set(NORMALIZES) & set(own):
        replaced = [one for one in replaced if one.key not in NORMALIZES or one.why == GIVEN]
    return (*replaced, *(Setting(key, value, GIVEN) for key, value in own.items()))


def _refitted(settings: Sequence[Setting], own: Mapping[str, Any]) -> Sequence[Setting]:
    """The settings with a ``predict.size`` that fits the sides that the user gives."""
    size = next((one for one in settings if one.key == SIZE), None)
    found = {one.key: str(one.value) for one in settings if one.key in SIDES}
    given = {key: str(own[key]) for key in SIDES if key in own}
    if size is None or SIZE in own or not given:
        return settings
    old, new = (
        [int(text) for text in sides.values() if text.isdecimal()] for sides in (found, {**found, **given})
    )
    fitted = replace(size, why=f"{size.why}; [dims] are given: does it still fit them?")
    if len(new) == len(SIDES) and len(old) == len(SIDES):
        why = f"{size.value} for pictures of {max(old)}, in the same ratio for those of [dims]"
        fitted = Setting(SIZE, round(size.value * max(new) / max(old)), why)
    elif len(new) == len(SIDES):
        fitted = Setting(SIZE, max(new), f"as [dims] have it; without them {size.value}, {size.why}")
    return [fitted if one is size else one for one in settings]


def _leaves(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{before}{key}.")
        else:
            found.append((f"{before}{key}", value))
    return found


def _text(path: Path, settings: Sequence[Setting], notes: Sequence[str]) -> str:
    """The job file."""
    named = next((one for one in settings if one.key == "job.name"), None)
    if named is None:
        values = {one.key: one.value for one in settings}
        named = Setting("job.name", _name(path, values), "names the bundle's folder")
    called = Path.cwd().joinpath(path).name  # "." has no name of its own
    lines = [
        f"# A job for {called}, written by onnxproof init: every key says where its value comes from.",
        *(f"# {note}" for note in notes),
        _line("name", named),
    ]
    sections: dict[str, list[str]] = {}
    for one in settings:
        section, _, key = one.key.rpartition(".")
        if section != "job":
            sections.setdefault(section, []).append(_line(key, one))
    for section in sorted(sections, key=_place):
        lines += ["", f"[{section}]", *sections[section]]
    return "\n".join(lines) + "\n"


def _place(section: str) -> tuple[int, str]:
    first = section.partition(".")[0]
    return (ORDER.index(first) if first in ORDER else len(ORDER)), section


def _line(key: str, one: Setting) -> str:
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", key)
    said = f"{key if bare else toml_text(key)} = {toml_text(one.value)}"
    return f"{said:<{COLUMN}}  # {' '.join(one.why.split())}"


def _name(path: Path, values: Mapping[str, Any]) -> str:
    """A name for the job: by the checkpoint's path, or the variant's if that says nothing."""
    return name_of(path) or job_name(str(values.get("model.variant") or values["model.family"]))


def toml_text(value: Any) -> str:
    """A value as a job file has it. Raises CheckpointError if TOML has no such value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{toml_text(str(key))} = {toml_text(one)}" for key, one in value.items()) + "}"
        )
    raise CheckpointError(f"{value!r} cannot stand in a job")
