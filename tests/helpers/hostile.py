"""ONNX files that crash, hang or mislead whoever opens them without care, made in memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

ESCAPES = "a\x1b[2J\x1b]0;title\x07b\u202ec\x9b1m\r\n::error::d"
"""A name that clears the screen, sets the window's title, turns the text around, and begins a line that is a
command to GitHub Actions."""
NO_TEXT = b"\xff\xfe\xfd\xfc"
"""Bytes that are no UTF-8."""
OPSET = 17


def value(
    name: str, shape: Sequence[int | str] | None, dtype: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    *,
    inputs: Sequence[onnx.ValueInfoProto] | None = None,
    outputs: Sequence[onnx.ValueInfoProto] | None = None,
    tensors: Sequence[onnx.TensorProto] = (),
    functions: Sequence[onnx.FunctionProto] = (),
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model from x, float32[1, 3], to y, unless told otherwise."""
    graph = helper.make_graph(
        list(nodes),
        "hostile",
        list(inputs or [value("x", [1, 3])]),
        list(outputs or [value("y", None)]),
        list(tensors),
    )
    opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_model(graph, opset_imports=opsets, functions=functions)
    made.ir_version = 8
    return made


def node(operator: str, reads: str, writes: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, reads.split(" ") if reads else [], writes.split(" "), **attributes)


def integers(name: str, *values: int, shape: Sequence[int] | None = None) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)] if shape is None else shape, values)


IDENTITY = node("Identity", "x", "y")
TRUE = helper.make_tensor("true", TensorProto.BOOL, [], [True])


def with_no_text(made: onnx.ModelProto) -> bytes:
    """The model with bytes that are no UTF-8 in place of "@@@@"."""
    return bytes(made.SerializeToString()).replace(b"@@@@", NO_TEXT)


def with_metadata(key: str, text: str) -> onnx.ModelProto:
    made = model([IDENTITY])
    helper.set_model_props(made, {key: text})
    return made


def with_size(operator: str) -> onnx.ModelProto:
    """An array of 32 GiB from a size that the file states."""
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1])
    reads = {"ConstantOfShape": "size", "Expand": "one size"}[operator]
    nodes = [
        node(operator, reads, "big"),
        node("ReduceSum", "big", "sum", keepdims=0),
        node("Add", "x sum", "y"),
    ]
    return model(nodes, tensors=[integers("size", 65536, 65536, 2), one])


def of_external(**told: str) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, text in told.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return model([node("Add", "x w", "y")], tensors=[tensor])


def of_functions(depth: int, calls: int = 1) -> onnx.ModelProto:
    """``depth`` functions, each of which calls the one before ``calls`` times."""
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("f", 1)]
    made = [helper.make_function("f", "f0", ["a"], ["b"], [node("Neg", "a", "b")], opsets)]
    for level in range(1, depth):
        names = ["a", *(f"t{call}" for call in range(1, calls)), "b"]
        body = [node(f"f{level - 1}", names[call], names[call + 1], domain="f") for call in range(calls)]
        made.append(helper.make_function("f", f"f{level}", ["a"], ["b"], body, opsets))
    return model([node(f"f{depth - 1}", "x", "y", domain="f")], functions=made, domains=["f"])


def of_recursion() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("f", 1)]
    itself = helper.make_function("f", "f0", ["a"], ["b"], [node("f0", "a", "b", domain="f")], opsets)
    return model([node("f0", "x", "y", domain="f")], functions=[itself], domains=["f"])


def of_loop(
    turns: str = "", tensors: Sequence[onnx.TensorProto] = (), before: Sequence[onnx.NodeProto] = ()
) -> onnx.ModelProto:
    """x doubled as often as ``turns`` says; without end where it is ""."""
    body = helper.make_graph(
        [node("Identity", "go", "go_on"), node("Add", "v v", "w")],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("v", [1, 3])],
        [value("go_on", [], TensorProto.BOOL), value("w", [1, 3])],
    )
    return model([*before, node("Loop", f"{turns} true x", "y", body=body)], tensors=[TRUE, *tensors])


def of_doublings(count: int) -> onnx.ModelProto:
    names = ["x", *(f"c{step}" for step in range(count))]
    joins = [node("Concat", f"{names[at]} {names[at]}", names[at + 1], axis=1) for at in range(count)]
    return model([*joins, node("ReduceSum", names[-1], "y")])


def of_range(length: int) -> onnx.ModelProto:
    """A list of ``length`` numbers, of which one is taken."""
    ends = [integers("zero", 0, shape=[]), integers("many", length, shape=[]), integers("one", 1, shape=[])]
    nodes = [
        node("Range", "zero many one", "list"),
        node("Cast", "list", "floats", to=TensorProto.FLOAT),
        node("Gather", "floats zero", "first"),
        node("Add", "x first", "y"),
    ]
    return model(nodes, inputs=[value("x", ["n", 3])], tensors=ends)


def of_axes(made: Sequence[onnx.NodeProto], tensors: Sequence[onnx.TensorProto] = ()) -> onnx.ModelProto:
    """The nodes make "list", which is the shape of a tensor: it has as many axes as the list has numbers."""
    return model([*made, node("ConstantOfShape", "list", "y")], tensors=tensors)


def of_declared_list(length: int) -> onnx.ModelProto:
    return model([node("ConstantOfShape", "x", "y")], inputs=[value("x", [length], TensorProto.INT64)])


def of_computed_list() -> onnx.ModelProto:
    ones = helper.make_tensor("ones", TensorProto.INT64, [1], [1])
    made = [node("Mul", "root root", "length"), node("ConstantOfShape", "length", "list", value=ones)]
    return of_axes(made, [integers("root", 2**20)])


def of_joined_list(count: int) -> onnx.ModelProto:
    """Each node joins what the two before it made, so that no node joins a value with itself."""
    names = ["a", "b", *(f"c{step}" for step in range(count - 1)), "list"]
    joins = [node("Concat", f"{names[at]} {names[at + 1]}", names[at + 2], axis=0) for at in range(count)]
    return of_axes(joins, [integers("a", 1), integers("b", 1)])


def of_branches(depth: int) -> onnx.ModelProto:
    """Branches inside branches; harmless."""
    inner = helper.make_graph([node("Identity", "x", "q")], "leaf", [], [value("q", [1, 3])])
    leaf = inner
    for level in range(depth):
        branch = node("If", "true", "q", then_branch=inner, else_branch=leaf)
        inner = helper.make_graph([branch], f"level{level}", [], [value("q", [1, 3])])
    return model([*inner.node, node("Identity", "q", "y")], tensors=[TRUE])


def of_division(operator: str) -> onnx.ModelProto:
    """The smallest integer divided by -1, which traps on x86."""
    nodes = [
        node(operator, "smallest minus", "q"),
        node("Cast", "q", "f", to=TensorProto.FLOAT),
        node("Add", "x f", "y"),
    ]
    return model(nodes, tensors=[integers("smallest", -(2**63)), integers("minus", -1)])


def of_dims(*dims: int) -> onnx.ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    return model([node("Add", "x w", "y")], tensors=[tensor])


def of_interface(shape: Sequence[int | str]) -> onnx.ModelProto:
    return model([IDENTITY], inputs=[value("x", shape)], outputs=[value("y", shape)])


def of_escapes() -> onnx.ModelProto:
    made = model([node("Identity", ESCAPES, "y")], inputs=[value(ESCAPES, [1, 3])])
    made.producer_name = made.domain = ESCAPES
    helper.set_model_props(made, {ESCAPES: ESCAPES})
    return made


def nested_messages(depth: int) -> bytes:
    """A graph in a node's attribute, ``depth`` times."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number * 8 + 2]) + length + bytes([size]) + content

    content = b""
    for _ in range(depth):
        content = field(1, field(5, field(6, content)))
    return field(7, content)


FILES: Mapping[str, Callable[[], bytes | onnx.ModelProto]] = {
    "empty": lambda: b"",
    "text": lambda: b"hello, world",
    "junk": lambda: b"\xff" * 1000,
    "nested-messages": lambda: nested_messages(3000),
    "metadata-value-no-text": lambda: with_no_text(with_metadata("key", "@@@@")),
    "metadata-key-no-text": lambda: with_no_text(with_metadata("@@@@", "value")),
    "manifest-no-text": lambda: with_no_text(with_metadata("onnxproof", "@@@@")),
    "input-no-text": lambda: with_no_text(
        model([node("Identity", "@@@@", "y")], inputs=[value("@@@@", [1, 3])])
    ),
    "axis-no-text": lambda: with_no_text(of_interface(["@@@@", 3])),
    "operator-no-text": lambda: with_no_text(model([node("@@@@", "x", "y")])),
    "domain-no-text": lambda: with_no_text(model([IDENTITY], domains=["@@@@"])),
    "location-no-text": lambda: with_no_text(of_external(location="@@@@")),
    "huge-input": lambda: of_interface([2**62, 2**62]),
    "large-input": lambda: of_interface([2**20, 2**20]),
    "negative-input": lambda: of_interface([-5, 3]),
    "huge-tensor": lambda: of_dims(2**62, 4),
    "large-tensor": lambda: of_dims(2**40),
    "wrapping-tensor": lambda: of_dims(2**32, 2**32),
    "negative-tensor": lambda: of_dims(-1),
    "ranks-of-a-tensor": lambda: of_dims(*[1] * 100_000),
    "ranks-of-an-input": lambda: of_interface([1] * 100_000),
    "location-null": lambda: of_external(location="a\0b"),
    "location-absolute": lambda: of_external(location="/etc/passwd"),
    "location-above": lambda: of_external(location="../../../etc/passwd"),
    "location-device": lambda: of_external(location="/dev/zero", offset="0", length="12"),
    "location-empty": lambda: of_external(location=""),
    "location-in-memory": lambda: of_external(location="*/_ORT_MEM_ADDR_/*", offset="4096", length="12"),
    "offset-no-number": lambda: of_external(location="x.bin", offset="abc"),
    "offset-negative": lambda: of_external(location="x.bin", offset="-5", length="9" * 20),
    "functions-in-a-chain": lambda: of_functions(3000),
    "functions-doubling": lambda: of_functions(40, calls=2),
    "function-of-itself": of_recursion,
    "loop-without-end": of_loop,
    "loop-with-many-turns": lambda: of_loop("turns", [integers("turns", 2**62, shape=[])]),
    "branches": lambda: of_branches(25),
    "constant-of-shape": lambda: with_size("ConstantOfShape"),
    "expand": lambda: with_size("Expand"),
    "doublings": lambda: of_doublings(34),
    "range": lambda: of_range(2**60),
    "declared-list": lambda: of_declared_list(2**40),
    "computed-list": of_computed_list,
    "joined-list": lambda: of_joined_list(80),
    "division": lambda: of_division("Div"),
    "remainder": lambda: of_division("Mod"),
    "escapes": of_escapes,
    "escapes-in-an-error": lambda: model([node(ESCAPES, "x", "y", domain=ESCAPES)], domains=[ESCAPES]),
}
"""Each file by name."""


def content_of(name: str) -> bytes:
    made = FILES[name]()
    return made if isinstance(made, bytes) else bytes(made.SerializeToString())
