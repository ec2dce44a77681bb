"""What a family finds out about a checkpoint without a job: the keys of a job that builds and runs it.

A family may have a method ``recognise``. ``onnxproof init``, ``export CHECKPOINT`` and ``check`` ask it.
wrappers/identify.py finds the families to ask by wrappers/likely.py.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from onnxproof.errors import RequestError
from onnxproof.normalizations import Channels, name_of
from onnxproof.system.parsed import json_in
from onnxproof.tensors import Dim
from onnxproof.wrappers.family import Checkpoint
from onnxproof.wrappers.folder import read_norm_stats

CONFIG = "config.json"
"""The settings of a model of Hugging Face's libraries and timm's, beside its weights."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a job, as ``--set`` writes it ("predict.size", "dims.height"), with its value.

    ``why`` says where the value comes from, for the comment behind it: "the checkpoint's own args".
    ``stated`` is what states it, a file's name, say; it is empty for a default that nothing confirms.
    ``check`` fails a file that normalises otherwise than is stated.
    """

    key: str
    value: Any
    why: str
    stated: str = ""

    def __post_init__(self) -> None:
        if self.key.count(".") < 1 or not all(self.key.split(".")):
            raise RequestError(f'the setting "{self.key}" is no key of a job; expected section.key')


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a checkpoint is, and what a job for it has to say.

    ``variant`` is None if the family needs none. ``why`` says in words by what the family recognised the
    checkpoint. ``settings`` are the job's other keys, of any section, in the order in which they are written;
    a key that needs no other value than its default is left out. ``decodes`` are all values of
    ``wrapper.decode`` that the family has for this checkpoint, the default first. ``others`` are variants
    that the names and shapes fit as well as ``variant``: if there are any, the user is asked for one.
    ``heads`` are values of a job, "section.key=value", with which the checkpoint is exported with another of
    its heads. ``inputs_key`` is the key of a job that names the inputs which the file takes, if the family
    can leave others to the network's defaults; it is empty if it cannot.
    """

    family: str
    task: str
    variant: str | None
    why: str
    settings: tuple[Setting, ...] = ()
    decodes: tuple[str, ...] = ("auto",)
    others: tuple[str, ...] = ()
    heads: tuple[tuple[str, ...], ...] = ()
    inputs_key: str = ""

    def values(self) -> Mapping[str, Any]:
        """The settings' values by their keys."""
        return {one.key: one.value for one in self.settings}


class Recognises(Protocol):
    """A family that knows its own checkpoints."""

    def recognise(self, checkpoint: Checkpoint) -> Recognised | None:
        """What the checkpoint is. Returns None if it is not the family's.

        It looks at the names and shapes in ``checkpoint.state_dict``, at what the file holds beside them
        (``checkpoint.held``), and at the files beside it. It builds no network, and runs no code that the
        file names. Raises CheckpointError if the checkpoint is the family's and cannot be used.
        """


def dim_settings(
    dims: Iterable[Dim], why: str = "the sizes that the family exports by default"
) -> tuple[Setting, ...]:
    """``[dims]`` as settings."""
    return tuple(Setting(f"dims.{dim.name}", str(dim), why) for dim in dims)


def normalization_settings(
    checkpoint: Checkpoint, normalize: str | tuple[Channels, Channels], why: str, stated: str = ""
) -> tuple[Setting, ...]:
    """The normalisation as settings; () where a norm_stats.json beside the checkpoint has it.

    ``normalize`` is a name of normalizations.py, or mean and standard deviation. ``stated`` is as in
    ``Setting``.
    """
    if read_norm_stats(checkpoint.folder) is not None:
        return ()
    if isinstance(normalize, str):
        return (Setting("wrapper.normalize", normalize, why, stated),)
    mean, std = normalize
    named = name_of(mean, std)
    if named is not None:
        return (Setting("wrapper.normalize", named, why, stated),)
    return (
        Setting("wrapper.mean", list(mean), why, stated),
        Setting("wrapper.std", list(std), why, stated),
    )


def chosen_variant(checkpoint: Checkpoint, fitting: Sequence[str]) -> tuple[str, tuple[str, ...], str] | None:
    """The variant among those that fit which the checkpoint names, the others if it names none, and why.

    A name is taken from what the user asked for, from the file's own settings (timm's ``arch``), from
    ``architecture`` in a config.json beside it, and from the file's name (resnet18-f37072fd.pth). Returns
    None if nothing fits.
    """
    asked = checkpoint.asked.get("variant")
    if asked is not None:
        fits = asked in fitting
        return asked, (), f"the variant {'is given, and it fits the tensors' if fits else 'is given'}"
    if not fitting:
        return None
    for name, source in names_given(checkpoint):
        if name in fitting:
            return name, (), f"the names and shapes of its tensors are those of {name}, which {source} names"
    first, *others = fitting
    return first, tuple(others), f"the names and shapes of its tensors are those of {first}"


def config_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """The config.json beside the checkpoint. Returns an empty one if there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        document = json_in(checkpoint.folder / CONFIG)
        if isinstance(document, dict):
            return document
    return {}


def names_given(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """What may name a variant, and where it stands."""
    held = checkpoint.held
    if isinstance(held, Mapping) and isinstance(held.get("arch"), str):
        yield held["arch"].partition(".")[0], "the checkpoint itself"
    named = config_of(checkpoint).get("architecture")
    if isinstance(named, str):
        yield named.partition(".")[0], CONFIG
    for stem in (checkpoint.file.stem, checkpoint.file.stem.partition("-")[0]):
        yield stem, "the file's name"
