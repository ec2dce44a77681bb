"""Rare operators: those of ``onnx.reference``, and the function bodies of ONNX's schemas."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, TypeProto, defs, helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops import load_op
from onnx.reference.ops.aionnxml import load_op as load_op_ml

from onnxproof.validate.exact.arrays import Value, widen_value
from onnxproof.validate.exact.load import FLOATS

_DOMAINS = ("", "ai.onnx.ml")

_ROUNDING = frozenset(["CausalConvWithState", "LinearAttention"])
"""Operators that onnx.reference computes in float32, and returns in the type of the input."""

_KINDS = ("dtype", "output_datatype", "softmax_precision", "precision", "output_dtype")
"""Attributes that name the type of an output."""


def standard(domain: str) -> str:
    """The domain, with ONNX's own always written as ""."""
    return "" if domain == "ai.onnx" else domain


def reference_operator(
    node: NodeProto, opsets: Mapping[str, int], attributes: Mapping[str, Any]
) -> Callable[..., tuple[Value, ...]] | None:
    """The operator of a node in ``onnx.reference``, told that floats are float64; None if it has none.

    ``attributes`` are the node's, with the exact value of its float attributes.
    """
    domain = standard(node.domain)
    if domain not in _DOMAINS or node.op_type in _ROUNDING:
        return None
    asked = NodeProto()
    asked.CopyFrom(node)
    for attribute in asked.attribute:
        if attribute.name in _KINDS and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
    version = opsets.get(domain, 1)
    try:
        if domain:
            kind = load_op_ml(domain, node.op_type, version)
        else:
            kind = load_op(domain, node.op_type, version, evaluator_cls=_NoFunctions)
        run: Any = kind(asked, _parameters(opsets))
    except (NotImplementedError, RuntimeError, TypeError, _FunctionError):
        # What onnx.reference raises for an operator that it does not have.
        return None
    for attribute in asked.attribute:
        _widen_attribute(run, attribute, attributes)

    def call(*values: Value) -> tuple[Value, ...]:
        returned: tuple[Value, ...] = run.run(*values)
        return returned

    return call


class _FunctionError(Exception):
    """onnx.reference would evaluate the operator's function body."""


class _NoFunctions(ReferenceEvaluator):
    """Stands for an evaluator of function bodies. Those are compiled here, so that they run in float64."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise _FunctionError


def _parameters(opsets: Mapping[str, int]) -> dict[str, Any]:
    return {
        "log": lambda *_: None,
        "opsets": dict(opsets),
        "verbose": 0,
        "new_ops": {},
        "existing_functions": {},
        "evaluator_cls": _NoFunctions,
    }


def _widen_attribute(run: Any, attribute: AttributeProto, exact: Mapping[str, Any]) -> None:
    """onnx.reference holds float attributes in float32, and would compute with them in float32."""
    if attribute.type == AttributeProto.FLOAT:
        setattr(run, attribute.name, np.float64(exact[attribute.name]))
    elif attribute.type == AttributeProto.FLOATS:
        setattr(run, attribute.name, [np.float64(number) for number in attribute.floats])
    elif attribute.type == AttributeProto.TENSOR:
        setattr(run, attribute.name, widen_value(getattr(run, attribute.name)))


def schema_function(
    node: NodeProto, opset: int, values: Sequence[Value] | None = None
) -> FunctionProto | None:
    """The function by which ONNX's schema defines an operator; None if there is none.

    A body that depends on the inputs' types is found only if ``values`` are given.
    """
    schema = _schema(node, opset)
    if schema is None:
        return None
    if schema.has_function:
        body: FunctionProto = schema.function_body
        return body
    if values is None or not schema.has_context_dependent_function:
        return None
    function = FunctionProto()
    types = [_type_of(value).SerializeToString() for value in values]
    function.ParseFromString(schema.get_context_dependent_function(node.SerializeToString(), types))
    return function


def needs_types(node: NodeProto, opset: int) -> bool:
    """Whether ONNX's schema defines the operator by a function that depends on the inputs' types."""
    schema = _schema(node, opset)
    return schema is not None and bool(schema.has_context_dependent_function)


def _schema(node: NodeProto, opset: int) -> Any:
    """The operator's schema. onnx's type stubs lack what it says of functions."""
    try:
        return defs.get_schema(node.op_type, opset, standard(node.domain))
    except defs.SchemaError:
        return None


def _type_of(value: Value) -> TypeProto:
    if not isinstance(value, np.ndarray):
        return TypeProto()
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
