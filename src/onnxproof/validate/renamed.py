"""Judge a file from elsewhere whose inputs and outputs have other names than the model's."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
from google.protobuf.message import DecodeError

from onnxproof.contract import Contract
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.files import linked, scratch_folder, write_bytes
from onnxproof.graph import OnnxGraph
from onnxproof.on_disk import read_leaving_tensors
from onnxproof.runtime.folder import MODEL_FILE

FILES_OWN = "_of_the_file"
"""What a value inside the graph gets behind its name if an input or output gets that name."""


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
    _refuse_unknown(mapping, found, wanted)
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
    if not names:
        yield file, ()
        return
    with scratch_folder() as folder:
        for tensor in graph.stored:
            if tensor.place is not None:
                linked(file.parent / tensor.place.location, folder / tensor.place.location)
        copy = folder / (MODEL_FILE if not (folder / MODEL_FILE).exists() else f"named-{MODEL_FILE}")
        write_bytes(copy, renamed(graph, names))
        yield copy, tuple(notes)


def renamed(graph: OnnxGraph, names: Mapping[str, str]) -> bytes:
    """The model of a graph with other names for its inputs and outputs."""
    model = ir.serde.deserialize_model(graph.proto)
    whole = model.graph
    own = {id(value): value for value in (*whole.inputs, *whole.outputs)}
    made = [value for node in whole.all_nodes() for value in node.outputs]
    for value in (*whole.initializers.values(), *made):
        if id(value) not in own and value.name in names.values():
            value.name = f"{value.name}{FILES_OWN}"
    for value in own.values():
        value.name = names.get(value.name or "", value.name)
    content: bytes = ir.serde.serialize_model(model).SerializeToString()
    return content


def _refuse_unknown(
    mapping: Mapping[str, str], found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]
) -> None:
    for name, known in mapping.items():
        for side, asked, whose in ((found, name, "the file"), (wanted, known, "the model")):
            there = [one for part in side for one in part]
            if asked not in there:
                raise RequestError(
                    f"--map {name}={known}: {whose} has no input or output {asked}; it has {', '.join(there)}"
                )
