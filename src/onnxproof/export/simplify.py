"""Simplify a graph with one tool or another, and give it back the interface that the tool changed.

Each tool runs in a forked process with a time limit: it may crash or hang on a graph that it does not expect.
The first runs in the process that captured the graph, after that has handed it over. Whether what a tool
makes is right is not asked here; the links of the proof tell.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import onnx
from onnx.external_data_helper import uses_external_data

from onnxproof.export.child import Apart, ChildError, RaisedThereError, run_apart
from onnxproof.export.finish import interface_of, name_outputs
from onnxproof.runtime.session import first_line

MANY_NODES = 60_000
"""From here on constants are folded before onnxsim: it takes time with the square of the nodes that it folds.

Measured on slices of one parameter, each multiplied by: 70,000 nodes take 20 s either way.
"""

_LARGEST_FOLDED_ELEMENTS = 2**20
"""What is larger than this is left to onnxsim."""


class SimplifyError(Exception):
    """A tool failed, or changed what the file promises. The text says how."""


def simplify(
    proto: onnx.ModelProto,
    tool: str,
    limit_s: float,
    meanwhile: Iterable[None] = (),
    begun: Apart[onnx.ModelProto] | None = None,
) -> onnx.ModelProto:
    """The graph as one of ``TOOLS`` makes it within ``limit_s`` seconds, with the interface that it had.

    Tools rename axes, write sizes that they inferred into the interface, and merge an output with another of
    the same value. All of this is undone. Raises SimplifyError if the tool fails, or if a name, a dtype or a
    number of axes is another for good. Tensors that are left on the disk are inputs for the tool, so what is
    computed of them alone stays in the graph. While the tool works, go through ``meanwhile`` here. ``begun``
    is a process in which the tool is at work on the graph already (``run``), and is ended.
    """
    light, left = _without_tensors(proto)
    try:
        if begun is None:
            simplified = run_apart(partial(run, tool, light), limit_s, iter(meanwhile))
        else:
            simplified = begun.result(limit_s, iter(meanwhile))
            begun.end()
    except ChildError as error:
        raise SimplifyError(f"{tool} failed: it {error}") from error
    except RaisedThereError as error:
        raise SimplifyError(f"{tool} failed: {first_line(error)}") from error
    mended = _with_interface(_put_back(simplified, left), proto)
    before, after = interface_of(proto), interface_of(mended)
    if before != after:
        changed = next(
            (f"{old} became {new}" for old, new in zip(before, after, strict=False) if old != new),
            f"{len(before)} inputs and outputs became {len(after)}",
        )
        raise SimplifyError(f"{tool} changed the interface: {changed}")
    return mended


def size_of(proto: onnx.ModelProto) -> tuple[int, int]:
    """How large a graph is: its nodes, then its bytes."""
    return len(proto.graph.node), proto.ByteSize()


def _without_tensors(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, onnx.TensorProto]]:
    """The model with the tensors that are left on the disk as inputs, and these tensors by name."""
    left = {tensor.name: tensor for tensor in proto.graph.initializer if uses_external_data(tensor)}
    if not left:
        return proto, {}
    light = onnx.ModelProto()
    light.CopyFrom(proto)
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in left]
    del light.graph.initializer[:]
    light.graph.initializer.extend(kept)
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in left.values()
    )
    return light, left


def _put_back(proto: onnx.ModelProto, left: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """The model whose inputs of these names are tensors again."""
    if not left:
        return proto
    whole = onnx.ModelProto()
    whole.CopyFrom(proto)
    del whole.graph.input[:]
    whole.graph.input.extend(value for value in proto.graph.input if value.name not in left)
    whole.graph.initializer.extend(left.values())
    return whole


def _with_interface(changed: onnx.ModelProto, given: onnx.ModelProto) -> onnx.ModelProto:
    """A graph with the outputs' names and the axes of the graph that it was made from, as far as they fit.

    It may be ``changed`` itself.
    """
    mended = name_outputs(changed, [output.name for output in given.graph.output])
    for values, originals in (
        (mended.graph.input, given.graph.input),
        (mended.graph.output, given.graph.output),
    ):
        known = {value.name: value.type for value in originals}
        for value in values:
            wanted = known.get(value.name)
            if wanted is not None and _alike(value.type, wanted):
                value.type.CopyFrom(wanted)
    return mended


def _alike(one: onnx.TypeProto, other: onnx.TypeProto) -> bool:
    """Whether two types differ in sizes and names of axes alone."""
    if one.WhichOneof("value") != "tensor_type" or other.WhichOneof("value") != "tensor_type":
        return False
    a, b = one.tensor_type, other.tensor_type
    return a.elem_type == b.elem_type and len(a.shape.dim) == len(b.shape.dim)


def run(tool: str, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Be the child: the terminal gets nothing of what a tool writes past ``sys.stderr``."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return TOOLS[tool](proto)


def _onnxsim(proto: onnx.ModelProto, **options: bool) -> onnx.ModelProto:
    import onnxsim  # noqa: PLC0415 - heavy, loaded in the child alone

    if len(proto.graph.node) > MANY_NODES:
        proto = _folded(proto)
    # onnxsim's own comparison is off: validate compares on more inputs and by a stricter rule.
    simplified: onnx.ModelProto
    simplified, _ = onnxsim.simplify(proto, check_n=0, **options)
    return simplified


def _folded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with what is computed of constants alone folded, in a time that is linear in its nodes."""
    import onnx_ir  # noqa: PLC0415 - loaded in the child alone
    import onnxscript.optimizer  # noqa: PLC0415
    from onnx_ir.passes import common  # noqa: PLC0415

    model = onnx_ir.from_proto(proto)
    for value in model.graph.initializers.values():
        if (tensor := value.const_value) is not None:
            # Its array is made once here, so that a thousand slices are views of one copy.
            value.const_value = onnx_ir.Tensor(tensor.numpy(), name=value.name, dtype=tensor.dtype)
    onnxscript.optimizer.fold_constants(
        model, input_size_limit=2**62, output_size_limit=_LARGEST_FOLDED_ELEMENTS
    )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.RemoveUnusedNodesPass()(model)
    return onnx_ir.to_proto(model)


def _onnxslim(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim  # noqa: PLC0415 - an optional package, loaded in the child alone

    slimmed: onnx.ModelProto = onnxslim.slim(proto)
    return slimmed


def _onnxscript(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxscript.optimizer  # noqa: PLC0415 - heavy, loaded in the child alone

    optimized: onnx.ModelProto = onnxscript.optimizer.optimize(proto)
    return optimized


TOOLS: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "onnxsim": _onnxsim,
    "onnxsim without fusions": partial(_onnxsim, perform_optimization=False),
    "onnxsim without constant folding": partial(_onnxsim, skip_constant_folding=True),
    "onnxslim": _onnxslim,
    "onnxscript": _onnxscript,
}
"""What simplifies a graph, by the name that the manifest gives it."""

PARTS = ("onnxsim without fusions", "onnxsim without constant folding")
"""What to try where onnxsim as a whole makes a wrong file: one of its passes alone may be at fault."""

BEST = ("onnxsim", "onnxslim", "onnxscript")
"""What ``simplify = "best"`` chooses from."""
