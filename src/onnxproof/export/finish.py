"""Finish an ONNX graph: name its axes, strip what the exporter left behind, write the metadata."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import onnx
import onnx_ir as ir

from onnxproof.errors import ExportError
from onnxproof.graph import OnnxGraph, Port, ports_of
from onnxproof.runtime.manifest import FOLDS_KEY, METADATA_KEY, Manifest
from onnxproof.system.files import append_bytes, passing_file
from onnxproof.tensors import TensorSpec

PRODUCER = "onnxproof"

NO_FOLDS: Mapping[str, str] = MappingProxyType({})


def interface_of(proto: onnx.ModelProto) -> tuple[Port, ...]:
    """Name, dtype and axes of every input, then of every output. The nodes are not read."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = (value for value in proto.graph.input if value.name not in weights)
    return _ports((*inputs, *proto.graph.output))


def _ports(values: Iterable[onnx.ValueInfoProto]) -> tuple[Port, ...]:
    return ports_of([ir.serde.deserialize_value_info_proto(value, None) for value in values])


def finish(
    proto: onnx.ModelProto, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
) -> onnx.ModelProto:
    """Name the axes as the specs do, and strip what changes neither the outputs nor the interface.

    Exporters leave stack traces, machine paths and symbolic expressions in names of axes, documentation
    and metadata, partly in hash order. An axis that the graph froze keeps its size, so that validate
    sees it. Raises ExportError if names, dtypes or ranks differ from the specs'.
    """
    finished = onnx.ModelProto()
    finished.CopyFrom(proto)
    graph = finished.graph
    _name_axes(graph.input, tuple(inputs))
    _name_axes(graph.output, tuple(outputs))
    finished.producer_name = PRODUCER
    for field in ("producer_version", "doc_string", "domain", "metadata_props"):
        finished.ClearField(field)
    graph.name = PRODUCER
    for field in ("doc_string", "metadata_props", "value_info"):
        graph.ClearField(field)
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    _drop_unused(finished)
    return finished


def name_outputs(proto: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Give the graph's outputs these names, in this order.

    An exporter that computes an output ahead gives it the name of the constant. Such an output gets an
    Identity node. Returns the graph as it is if the number of outputs is another.
    """
    outputs = proto.graph.output
    if len(outputs) != len(names) or [output.name for output in outputs] == [*names]:
        return proto
    named = onnx.ModelProto()
    named.CopyFrom(proto)
    taken = {value for node in proto.graph.node for value in node.output} | {
        value.name for value in (*proto.graph.input, *proto.graph.initializer)
    }
    for output, name in zip(named.graph.output, names, strict=True):
        if output.name != name and name not in taken:
            named.graph.node.append(onnx.helper.make_node("Identity", [output.name], [name]))
            output.name = name
    return named


def _drop_unused(proto: onnx.ModelProto) -> None:
    """Drop the initializers that no node reads: exporters leave some behind."""
    used, graph = OnnxGraph(proto).used, proto.graph
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]


def _name_axes(values: Iterable[onnx.ValueInfoProto], specs: tuple[TensorSpec, ...]) -> None:
    values = tuple(values)
    if [value.name for value in values] != [spec.name for spec in specs]:
        got, expected = (", ".join(v.name for v in vs) for vs in (values, specs))
        raise ExportError(f"the graph has the tensors {got}; expected {expected}")
    for value, port, spec in zip(values, _ports(values), specs, strict=True):
        axes = port.axes or ()
        if port.dtype != spec.dtype or len(axes) != len(spec.shape):
            raise ExportError(f"the graph's {value.name} is {port.dtype}{list(axes)}; expected {spec}")
        for axis, name in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(name, str) and not axis.HasField("dim_value"):
                axis.dim_param = name
            elif isinstance(name, int) and not axis.HasField("dim_value"):
                axis.dim_value = name


def stamped(
    proto: onnx.ModelProto,
    manifest: Manifest,
    folder: Path | None = None,
    folds: Mapping[str, str] = NO_FOLDS,
) -> onnx.ModelProto:
    """The graph with the manifest in its metadata. ``folder`` has the tensors that are left on the disk.

    ``folds`` has the norm that was folded into each convolution before the capture.

    Raises ExportError if the graph is not valid ONNX.
    """
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    metadata = {METADATA_KEY: manifest.to_metadata()}
    if folds:
        metadata[FOLDS_KEY] = json.dumps(dict(folds), sort_keys=True, separators=(",", ":"))
    onnx.helper.set_model_props(made, metadata)
    try:
        _check(made, folder)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        told = str(error).strip()
        advice = "" if "bfloat16" not in told else f": {WIDER}"
        raise ExportError(f"the exported graph is not valid ONNX: {told}{advice}") from error
    return made


WIDER = (
    "ONNX takes bfloat16 in convolutions from opset 22 on, and in TopK from 24: raise export.opset, "
    "or take float16"
)
"""What to do where an operator of the chosen opset does not take bfloat16."""


def add_metadata(file: Path, key: str, value: str) -> None:
    """Add an entry to a file's metadata. The bytes that are there stay: protobuf joins repeated fields."""
    more = onnx.ModelProto(metadata_props=[onnx.StringStringEntryProto(key=key, value=value)])
    append_bytes(file, more.SerializeToString())


def _check(proto: onnx.ModelProto, folder: Path | None) -> None:
    """Raise what ``onnx.checker`` raises. It looks for external data beside the file that it checks."""
    if folder is None:
        onnx.checker.check_model(proto, full_check=True)
        return
    with passing_file(folder / "checked.onnx", proto.SerializeToString()) as file:
        onnx.checker.check_model(str(file), full_check=True)
