"""What a file declares of its inputs and outputs, and what is assumed where it declares nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from onnxproof.contract import Contract, whole_outputs
from onnxproof.errors import RequestError
from onnxproof.runtime.loading import read_metadata
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.runtime.port import Port
from onnxproof.runtime.readings.rows import RowReading
from onnxproof.runtime.tasks import raw
from onnxproof.tensors import DTYPES, Dim, TensorSpec
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.sizes import require_names, with_sizes
from onnxproof.validate.table_ranges import Guess

BATCHES, SIDES, LENGTHS = "1..4", "64..256 step 32", "1..64"
"""The default sizes of a first axis, a picture's side, another axis."""

NAME = "file"
"""The name of the contract of a file that names none."""

PICTURE_AXES = 4
"""Axes of an input that may take pictures: batch, channels, height, width."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A file's contract, notes on what was assumed in it, and the names of the inputs and dims of which it
    was."""

    contract: Contract
    notes: tuple[str, ...]
    guessed: frozenset[str]


def contract_of(
    leg: OrtLeg,
    file: Path,
    dims: Mapping[str, str],
    inputs: Mapping[str, str],
    tables: Mapping[str, Guess] = MappingProxyType({}),
) -> Declared:
    """What a file declares, with the sizes in ``dims`` in place of its own, and what was assumed.

    ``tables`` are the ranges that the graphs suggest for inputs that nobody declared.

    Raises RequestError if ``dims`` names no dynamic axis, if ``inputs`` do not fit the file or its metadata
    declares them already, or if a tensor is of a kind that cannot be compared.
    """
    metadata = leg.metadata
    if METADATA_KEY in metadata:
        if inputs:
            raise RequestError(f"--inputs: {file} declares its inputs itself, in its metadata; leave it out")
        contract = _contract_of_manifest(read_metadata(metadata, file), dims)
        assumed: dict[str, str] = {}
    else:
        contract, assumed = _contract_of_graph(leg, dims, inputs)
    specs = tuple(
        replace(spec, range=(tables[spec.name].low, tables[spec.name].high))
        if spec.name in tables and spec.range is None and not spec.mask
        else spec
        for spec in contract.inputs
    )
    guessed = [new.name for old, new in zip(contract.inputs, specs, strict=True) if old != new]
    notes = []
    if assumed:
        told = ", ".join(f"{name}={text}" for name, text in assumed.items())
        notes.append(f"A does not say which sizes it takes; assumed: {told} (--dim NAME=RANGE says others)")
    ranges = [f"{name} in {tables[name]}" for name in guessed]
    if METADATA_KEY not in metadata:
        ranges += [
            f"{spec.name} {spec} in 0..1"
            for spec in specs
            if spec.range is None and spec.dtype != "bool" and not spec.mask
        ]
    if ranges:
        notes.append(
            f"A does not say which values it takes; drawn: {'; '.join(ranges)} "
            '(--inputs "NAME=DTYPE[AXES] in LOW..HIGH" says others)'
        )
    return Declared(replace(contract, inputs=specs), tuple(notes), frozenset([*guessed, *assumed]))


def _contract_of_manifest(manifest: Manifest, dims: Mapping[str, str]) -> Contract:
    contract = with_sizes(manifest.contract, dims)
    reading = contract.reading
    if not isinstance(reading, RowReading):
        return contract
    # Only PyTorch gives the proposals. Rows are paired by class, so the class is not compared as a field.
    graph = replace(reading.graph, proposals=None)
    fields = tuple(field for field in contract.fields if field.output != reading.outputs[1])
    return replace(contract, fields=fields, reading=replace(reading, graph=graph))


def _contract_of_graph(
    leg: OrtLeg, dims: Mapping[str, str], inputs: Mapping[str, str]
) -> tuple[Contract, dict[str, str]]:
    """The contract, and the sizes in it that are assumed, by the axis's name."""
    ports = leg.ports.inputs
    require_names(inputs, [port.name for port in ports], "--inputs", "input")
    specs = tuple(
        _spec_of(port, TensorSpec.parse(port.name, inputs[port.name]) if port.name in inputs else None)
        for port in ports
    )
    sizes = {name: text for spec in reversed(specs) for name, text in _assumed_sizes(spec)}
    require_names(dims, [*sizes])
    assumed = {name: text for name, text in sizes.items() if name not in dims}
    outputs = tuple(_spec_of(port, None) for port in leg.ports.outputs)
    contract = Contract(
        name=NAME,
        task=raw.TASK.name,
        inputs=specs,
        outputs=outputs,
        dims=tuple(Dim.parse(name, dims.get(name, text)) for name, text in sizes.items()),
        fields=whole_outputs(outputs),
        preprocess=None,
        classes=(),
        reading=raw.Unread(),
    )
    return contract, assumed


def _spec_of(port: Port, told: TensorSpec | None) -> TensorSpec:
    """A tensor of the file. Dynamic axes without a name are named after the tensor and their position.
    ``told`` is what the user says of it; raises RequestError if the file has something else."""
    if port.dtype not in DTYPES:
        raise RequestError(
            f"{port.name} is {port.dtype}, which cannot be compared; expected one of {', '.join(DTYPES)}"
        )
    if told is None:
        axes = (f"{port.name}_{i}" if axis is None else axis for i, axis in enumerate(port.shape))
        return TensorSpec(port.name, port.dtype, tuple(axes))
    fits = (
        told.dtype == port.dtype
        and len(told.shape) == len(port.shape)
        and all(
            not isinstance(size, int) or axis == size
            for axis, size in zip(told.shape, port.shape, strict=True)
        )
    )
    if not fits:
        raise RequestError(
            f"--inputs {port.name}={told}: the file has {port}; expected its dtype and fixed axes"
        )
    return told


def _assumed_sizes(spec: TensorSpec) -> Iterator[tuple[str, str]]:
    """The default sizes of an input's dynamic axes, by the axis's name."""
    picture = len(spec.shape) == PICTURE_AXES
    channels_last = picture and isinstance(spec.shape[3], int) and not isinstance(spec.shape[1], int)
    sides = () if not picture else (1, 2) if channels_last else (2, 3)
    for place, axis in enumerate(spec.shape):
        if isinstance(axis, str):
            first = place == 0 and len(spec.shape) > 1
            yield axis, BATCHES if first else SIDES if place in sides else LENGTHS
