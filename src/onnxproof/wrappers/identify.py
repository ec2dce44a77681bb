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
from onnxproof.wrappers.held import class_of
from onnxproof.wrappers.likely import PACKAGES, likely_marks
from onnxproof.wrappers.recognise import CONFIG, Recognised
from onnxproof.wrappers.registry import get_family, recognise_with

DEEPEST = 3
"""How many containers the pickled model may lie in."""


def identify(checkpoint: Checkpoint, family: str | None = None) -> Recognised:
    """What the first family that knows the checkpoint says of it. ``family`` asks that family alone.

    A prefix that all names share is taken off if no family knows them with it. Raises CheckpointError if no
    family knows it, and RequestError if one that may know it needs a library that is missing: the message
    names the extra to install.
    """
    try:
        return _identified(checkpoint, family)
    except RequestError:
        bare = checkpoint.without_prefix()
        while bare is not None:
            with contextlib.suppress(RequestError):
                return _identified(bare, family)
            bare = bare.without_prefix()
        raise


def _identified(checkpoint: Checkpoint, family: str | None) -> Recognised:
    missing: list[RequestError] = []
    refused: list[CheckpointError] = []
    asked: list[str] = []
    for name in (family,) if family is not None else families_to_ask(checkpoint):
        try:
            one = get_family(name)
        except RequestError as error:
            if family is not None:
                raise
            missing.append(error)
            continue
        asked.append(name)
        try:
            found = recognise_with(one, checkpoint)
        except CheckpointError as error:
            refused.append(error)
            continue
        if found is not None:
            return found
    if refused:
        raise refused[0]
    looks = _looks(checkpoint)
    if missing:
        raise RequestError(f"{checkpoint.file} {looks}; {missing[0]}") from missing[0]
    those = f"; asked were the families {', '.join(asked)}" if asked else ""
    marks = likely_marks(_names(checkpoint))
    likely = next((name for mark in marks for name in mark.families), None)
    named = f"{likely or 'NAME'}{'' if likely is None else ' --set model.variant=NAME'}"
    raise CheckpointError(
        f"{checkpoint.file} {looks}{those}, and no family knows it. Name its family with --set "
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


def _by_classes(held: Any, depth: int = 0) -> Iterator[str]:
    """The families of the packages whose classes the file names near its surface."""
    named = class_of(held)
    package = (named or "").partition(".")[0]
    if package in PACKAGES:
        yield PACKAGES[package]
    elif isinstance(held, Mapping) and depth < DEEPEST:
        for value in held.values():
            yield from _by_classes(value, depth + 1)


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
