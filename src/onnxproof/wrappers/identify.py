"""Find out, without a job, which family a checkpoint is of, and what a job for it has to say.

The names of its tensors, the classes of what was pickled, and a ``config.json`` beside it decide which
families are asked. No other family is imported, so its library may be missing.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from onnxproof.errors import CheckpointError, RequestError
from onnxproof.wrappers.catalog import offered_families
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.fingerprints import known_families, variants_of
from onnxproof.wrappers.fitting import SHOWN
from onnxproof.wrappers.held import class_of, near_surface
from onnxproof.wrappers.likely import PACKAGES, likely_marks
from onnxproof.wrappers.nearest import why_nearly
from onnxproof.wrappers.recognise import CONFIG, Recognised
from onnxproof.wrappers.registry import get_family, recognise_with


def identify(checkpoint: Checkpoint, family: str | None = None) -> Recognised:
    """What the first family that knows the checkpoint says of it. ``family`` asks that family alone.

    A prefix that all names share is taken off if no family knows them with it. Raises CheckpointError if no
    family knows it: the message says of which network it nearly is, if it is one. Raises RequestError if one
    that may know it needs a library that is missing: the message names the extra to install.
    """
    error: RequestError | None = None
    try:
        found = _identified(checkpoint, family)
    except RequestError as refused:
        found, error = None, refused
    bare = checkpoint.without_prefix()
    while found is None and bare is not None:
        with contextlib.suppress(RequestError):
            found = _identified(bare, family)
        bare = bare.without_prefix()
    if found is not None:
        return found
    raise error or why_nearly(checkpoint, family) or _unknown(checkpoint, family)


def _identified(checkpoint: Checkpoint, family: str | None) -> Recognised | None:
    missing: list[RequestError] = []
    refused: list[CheckpointError] = []
    for name in _asked(checkpoint, family):
        try:
            one = get_family(name)
        except RequestError as error:
            if family is not None:
                raise
            missing.append(error)
            continue
        try:
            found = recognise_with(one, checkpoint)
        except CheckpointError as error:
            refused.append(error)
            continue
        if found is not None:
            return found
    if refused:
        raise refused[0]
    if missing:
        raise RequestError(f"{checkpoint.file} {_looks(checkpoint)}; {missing[0]}") from missing[0]
    return None


def _asked(checkpoint: Checkpoint, family: str | None) -> tuple[str, ...]:
    return families_to_ask(checkpoint) if family is None else (family,)


def _unknown(checkpoint: Checkpoint, family: str | None) -> CheckpointError:
    """What to say of a checkpoint that no family knows."""
    asked = _asked(checkpoint, family)
    those = f"; asked were the families {', '.join(asked)}" if asked else ""
    marks = likely_marks(_names(checkpoint))
    likely = next((name for mark in marks for name in mark.families), None)
    named = f"{likely or 'NAME'}{'' if likely is None else ' --set model.variant=NAME'}"
    return CheckpointError(
        f"{checkpoint.file} {_looks(checkpoint)}{those}, and no family knows it. Name its family with --set "
        f"model.family={named} (onnxproof families lists them), or write a job whose family module names the "
        "function that makes your network (docs/any-model.md)"
    )


def families_to_ask(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The families that may know a checkpoint, the likeliest first, and those of other packages last."""
    offered = offered_families()
    others = [entry.name for entry in offered if entry.distribution is not None and not entry.problem]
    named = dict.fromkeys((*_by_classes(checkpoint.held), *_by_files(checkpoint)))
    named |= dict.fromkeys(family for mark in likely_marks(_names(checkpoint)) for family in mark.families)
    named |= dict.fromkeys(
        family for family in known_families() if variants_of(family, checkpoint.state_dict)
    )
    there = {entry.name for entry in offered}
    return tuple(dict.fromkeys((*(name for name in named if name in there), *others)))


def _names(checkpoint: Checkpoint) -> Mapping[str, Any]:
    return {checkpoint.prefix + name: None for name in checkpoint.state_dict}


def _by_classes(held: Any) -> Iterator[str]:
    """The families of the packages whose classes the file names near its surface."""
    for found in near_surface(held, lambda value: _package(value) in PACKAGES):
        yield PACKAGES[_package(found)]


def _package(value: Any) -> str:
    return (class_of(value) or "").partition(".")[0]


def _by_files(checkpoint: Checkpoint) -> Iterator[str]:
    """The family of a folder of Hugging Face's, by its settings."""
    file = checkpoint.folder / CONFIG
    if file.is_file() and '"model_type"' in file.read_text(encoding="utf-8", errors="replace"):
        yield "transformers"


def _looks(checkpoint: Checkpoint) -> str:
    """What a person would say of the checkpoint."""
    names = list(_names(checkpoint))
    shapes = [list(tensor.shape) for tensor in checkpoint.state_dict.values()]
    first = [f"{name} {shape}" for name, shape in zip(names[:SHOWN], shapes[:SHOWN], strict=True)]
    marks = likely_marks(names)
    likely = f", by their names {marks[0].architecture}" if marks else ""
    more = ", …" if len(names) > SHOWN else ""
    return f"holds {len(names)} tensors ({', '.join(first)}{more}){likely}"
