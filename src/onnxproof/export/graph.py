"""Reading and finishing ONNX graphs: the interface, the axes' names, what is stripped, the metadata."""

from collections.abc import Iterable, Iterator

import onnx

from onnxproof.errors import ExportError
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.tensors import TensorSpec

PRODUCER = "onnxproof"

Interface = tuple[tuple[str, str, tuple[int | str, ...]], ...]


def interface_of(proto: onnx.ModelProto) -> Interface:
    """Name, dtype and axes (ints, and names of dynamic axes) of every input, then every output."""
    initializers = {tensor.name for tensor in proto.graph.initializer}
    values = [value for value in proto.graph.input if value.name not in initializers]
    return tuple(_describe(value) for value in (*values, *proto.graph.output))


def _describe(value: onnx.ValueInfoProto) -> tuple[str, str, tuple[int | str, ...]]:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    axes = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in tensor.shape.dim
    )
    return value.name, dtype, axes


def finish(
    proto: onnx.ModelProto, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
) -> onnx.ModelProto:
    """Name the axes as the specs do and strip what is neither function nor interface.

    Exporters leave traces, machine paths and symbolic expressions in names of axes, documentation
    and metadata, partly in hash order. An axis that the graph froze keeps its size, so that validate
    sees it. Raises ExportError where names, dtypes or ranks are not the specs'.
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
    _drop_unused(graph)
    return finished


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the initializers that no node reads: exporters leave some behind."""
    used = {*_read_in(graph), *(value.name for value in graph.output)}
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in used:
            del graph.initializer[index]


def _read_in(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that a graph's nodes read, those in the bodies of loops and branches too."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _read_in(body)
                yield from (value.name for value in body.output)


def _name_axes(values: Iterable[onnx.ValueInfoProto], specs: tuple[TensorSpec, ...]) -> None:
    values = tuple(values)
    if [value.name for value in values] != [spec.name for spec in specs]:
        got, expected = (", ".join(v.name for v in vs) for vs in (values, specs))
        raise ExportError(f"the graph has the tensors {got}; expected {expected}")
    for value, spec in zip(values, specs, strict=True):
        _, dtype, axes = _describe(value)
        if dtype != spec.dtype or len(axes) != len(spec.shape):
            raise ExportError(f"the graph's {value.name} is {dtype}{list(axes)}; expected {spec}")
        for axis, name in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(name, str) and not axis.HasField("dim_value"):
                axis.dim_param = name
            elif isinstance(name, int) and not axis.HasField("dim_value"):
                axis.dim_value = name


def stamp(proto: onnx.ModelProto, manifest: Manifest) -> bytes:
    """The file's bytes with the manifest in its metadata; the same graph gives the same bytes."""
    stamped = onnx.ModelProto()
    stamped.CopyFrom(proto)
    onnx.helper.set_model_props(stamped, {METADATA_KEY: manifest.to_metadata()})
    try:
        onnx.checker.check_model(stamped, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {str(error).strip()}") from error
    content: bytes = stamped.SerializeToString(deterministic=True)
    return content
