"""Which values the graph declares as float16 or bfloat16: what is cast like one of them is rounded."""

from collections.abc import Mapping
from functools import lru_cache

from onnx import NodeProto, TensorProto, defs

from onnxproof.validate.exact.load import NARROW


def kinds_written(node: NodeProto, opset: int, kinds: Mapping[str, int]) -> dict[str, int]:
    """The narrow float types of what a node writes, by name, from those of what it reads.

    An output has the type of the inputs that share its type variable in the operator's schema.
    """
    if node.op_type == "Cast" and not node.domain:
        to = next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
        return {node.output[0]: to}
    if node.op_type == "Constant" and not node.domain:
        stored = [attribute.t.data_type for attribute in node.attribute if attribute.name == "value"]
        return dict(zip(node.output, stored, strict=False))
    if not any(kinds.get(name) in NARROW for name in node.input):
        return {}
    sources = _sources(node.domain, node.op_type, opset)
    written: dict[str, int] = {}
    for index, name in enumerate(node.output):
        shared = sources[min(index, len(sources) - 1)] if sources else range(len(node.input))
        read = [node.input[one] for one in shared if one < len(node.input)]
        kind = next((kinds[one] for one in read if one in kinds), TensorProto.UNDEFINED)
        if name and kind in NARROW:
            written[name] = kind
    return written


@lru_cache(maxsize=1024)
def _sources(domain: str, name: str, opset: int) -> tuple[tuple[int, ...], ...]:
    """For each output of an operator the inputs that share its type; empty if the operator has no schema."""
    try:
        schema = defs.get_schema(name, max(opset, 1), domain)
    except defs.SchemaError:
        return ()
    return tuple(
        tuple(index for index, given in enumerate(schema.inputs) if given.type_str == output.type_str)
        for output in schema.outputs
    )
