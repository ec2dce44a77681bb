"""Judge a file from elsewhere whose inputs and outputs have other names than the model's."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.graph import OnnxGraph
from onnxproof.on_disk import read_leaving_tensors
from onnxproof.text import meant
from onnxproof.validate.arranged import Arrangement, arranged

ORDERED = "has its inputs or outputs in another order: a host must take them by name"
"""What a note says of a file that is put in order."""


@contextlib.contextmanager
def named_alike(
    file: Path, contract: Contract, mapping: Mapping[str, str]
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The file, or a copy whose inputs and outputs have the contract's names, and notes on what was renamed.

    ``mapping`` says which name of the file is which of the contract. One input that is left on both sides is
    taken for the same, and so is one output. Raises RequestError if ``mapping`` has a name that neither has.
    """
    try:
        graph = OnnxGraph(read_leaving_tensors(file))
    except (DecodeError, ModelFileError):
        yield file, ()  # who loads it tells what is wrong
        return
    found = _names_of(graph)
    wanted = [[spec.name for spec in side] for side in (contract.inputs, contract.outputs)]
    refuse_unknown(mapping, found, wanted)
    names: dict[str, str] = {}
    notes = []
    for kind, ours, theirs in zip(("input", "output"), wanted, found, strict=True):
        own = {name: mapping[name] for name in theirs if name in mapping}
        left = [name for name in theirs if name not in ours and name not in own]
        open_ = [name for name in ours if name not in theirs and name not in own.values()]
        if len(left) == len(open_) == 1:
            own[left[0]] = open_[0]
        notes += [f"the file's {kind} {name} is the model's {known}" for name, known in own.items()]
        names |= own
    order = other_order(names, found, wanted) if mapping else ()
    notes += [f"the file {ORDERED}"] if order else []
    with arranged(file, Arrangement(names, order=order)) as copy:
        yield copy, tuple(notes)


@contextlib.contextmanager
def named_as_in(a: Path, b: Path, mapping: Mapping[str, str]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The file ``b``, or a copy with other names for its inputs and outputs, and notes on what was renamed.

    ``mapping`` says which name of ``b`` is which of ``a``; no other is renamed. Raises RequestError if it has
    a name that neither has, ModelFileError if one of the files cannot be read.
    """
    if not mapping:
        yield b, ()
        return
    wanted, found = (_names_of(OnnxGraph.read(file)) for file in (a, b))
    refuse_unknown(mapping, found, wanted, ("B", "A"))
    notes = [
        f"B's {'input' if name in found[0] else 'output'} {name} is A's {known}"
        for name, known in mapping.items()
    ]
    order = other_order(mapping, found, wanted)
    notes += [f"B {ORDERED}"] if order else []
    with arranged(b, Arrangement(mapping, order=order)) as copy:
        yield copy, tuple(notes)


def other_order(
    names: Mapping[str, str], found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """The model's inputs and outputs, if a file has them in another order; () if it has not.

    ``names`` has the model's name of each of the file's whose name differs, ``found`` are the file's inputs
    and outputs, ``wanted`` the model's.
    """
    for theirs, ours in zip(found, wanted, strict=True):
        known = [names.get(name, name) for name in theirs]
        if known != list(ours) and sorted(known) == sorted(ours):
            return tuple(name for side in wanted for name in side)
    return ()


def _names_of(graph: OnnxGraph) -> list[list[str]]:
    """The names of the inputs and those of the outputs."""
    return [[value.name or "" for value in side] for side in (graph.inputs, graph.outputs)]


def refuse_unknown(
    mapping: Mapping[str, str],
    found: Sequence[Sequence[str]],
    wanted: Sequence[Sequence[str]],
    whose: tuple[str, str] = ("the file", "the model"),
) -> None:
    """Raise RequestError if ``mapping`` has a name that neither side has.

    ``found`` are the file's inputs and outputs, ``wanted`` the model's. ``whose`` is what the message calls
    the two.
    """
    for name, known in mapping.items():
        for side, asked, owner in ((found, name, whose[0]), (wanted, known, whose[1])):
            there = [one for part in side for one in part]
            if asked not in there:
                raise RequestError(
                    f"--map {name}={known}: {owner} has no input or output {asked}; it has {', '.join(there)}"
                    f"{meant(asked, there)}"
                )
