"""Judge a file from elsewhere whose inputs and outputs have other names than the model's."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.graph import OnnxGraph
from onnxproof.near import meant
from onnxproof.on_disk import read_leaving_tensors
from onnxproof.validate.arranged import Arrangement, arranged


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
    found = [[value.name or "" for value in side] for side in (graph.inputs, graph.outputs)]
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
    with arranged(file, Arrangement(names)) as copy:
        yield copy, tuple(notes)


def refuse_unknown(
    mapping: Mapping[str, str], found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]
) -> None:
    """Raise RequestError if ``mapping`` has a name that neither side has.

    ``found`` are the file's inputs and outputs, ``wanted`` the model's.
    """
    for name, known in mapping.items():
        for side, asked, whose in ((found, name, "the file"), (wanted, known, "the model")):
            there = [one for part in side for one in part]
            if asked not in there:
                raise RequestError(
                    f"--map {name}={known}: {whose} has no input or output {asked}; it has {', '.join(there)}"
                    f"{meant(asked, there)}"
                )
