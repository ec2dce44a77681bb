"""Inputs of a checkpoint's model that a file from elsewhere does not take: the network has defaults."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from onnxproof.contract import Contract
from onnxproof.errors import JobError, RequestError
from onnxproof.finding.draft import Draft, toml_text
from onnxproof.finding.tried import key_of, pairs_of
from onnxproof.runtime.port import Port
from onnxproof.wrappers.family import WrappedModel


def lacking(ports: Sequence[Port], contract: Contract, mapping: Mapping[str, str]) -> tuple[str, ...]:
    """The model's inputs that the file does not take, if each of the file's is one of the model's."""
    found, left = pairs_of(ports, contract, mapping)
    return () if left or not found else tuple(one.name for one in contract.inputs if one.name not in found)


def without(
    names: Sequence[str],
    file: Path,
    made: Draft,
    contract: Contract,
    given: Sequence[str],
    build: Callable[[Sequence[str]], WrappedModel],
) -> tuple[str, WrappedModel]:
    """The value of a job that leaves inputs to the network's defaults, and the model with it.

    ``build`` builds the model with more values. Raises RequestError if the network has no such default, or
    does not run with it.
    """
    key = made.recognised.inputs_key
    said = f"{file} does not take {', '.join(names)}, which {made.checkpoint.file} needs"
    if not key or key in map(key_of, given):
        raise RequestError(f"{said}: is it this checkpoint's file?")
    setting = f"{key}={toml_text([one.name for one in contract.inputs if one.name not in names])}"
    try:
        return setting, build((setting,))
    except JobError as error:
        raise RequestError(f"{said}: {error}") from error


def note_on(names: Sequence[str]) -> str:
    """What is done about inputs that the file does not take, in words."""
    its = "its default" if len(names) == 1 else "their defaults"
    return f"the file does not take {', '.join(names)}: the network is given {its}"
