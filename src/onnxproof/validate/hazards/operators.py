"""Check the graph's operators: those that a target lacks, those of another opset or a custom domain, random
ones, those left from training, branches and loops."""

import json
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from onnxproof.graph import STANDARD, Stored, attribute_of, label, operator_of, reads
from onnxproof.validate.hazards._hazard import (
    ONNXRUNTIME,
    Hazard,
    Subject,
    advised,
    counted,
    failed,
    listed,
    passed,
    skipped,
)
from onnxproof.validate.verdict import Check

BARRACUDA = frozenset(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip
    Concat Constant Conv ConvTranspose Cos Cosh DepthToSpace Div Dropout Elu Equal Exp Expand
    Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool Greater Identity ImageScaler
    InstanceNormalization LRN LSTM LeakyRelu Less Log LogSoftmax MatMul Max MaxPool Mean Min Mul
    Multinomial Neg Not OneHot Or PRelu Pad Pow RandomNormal RandomNormalLike RandomUniform
    RandomUniformLike Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape
    Resize Selu Shape Sigmoid Sin Sinh Slice Softmax SpaceToDepth Sqrt Squeeze Sub Sum Tan Tanh TopK
    Transpose Unsqueeze Upsample Xor
    """.split()
)
"""Source: "Supported ONNX operators" in the documentation of Unity's barracuda-release repository."""

OPERATORS: Mapping[str, frozenset[str]] = {"barracuda": BARRACUDA}
"""The operators that each target's documentation lists; ONNX Runtime has all of the standard set."""

FLOAT32_ONLY = ("barracuda",)
"""Targets that hold every number as float32. Source: "Working with data" in the documentation of Unity's
barracuda-release repository, in which tensors are made from C# floats and read as such."""

EXACT_IN_FLOAT32 = 2**24
"""Integers up to this magnitude are float32 numbers (IEEE 754: 24 bits of significand)."""

RUNTIMES_OWN = frozenset("com.microsoft com.microsoft.nchwc ai.onnx.ml".split())
"""Domains that come with ONNX Runtime (its docs/ContribOperators.md and docs/OperatorKernels.md)."""

TRAINING_DOMAIN = "ai.onnx.preview.training"

RANDOM = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)

CONTROL_FLOW = frozenset("If Loop Scan SequenceMap".split())

SHAPE_PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Resize": (3,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}
"""The inputs at which operators take sizes, axes and counts: int64 in ONNX, and read by every target."""


def look_for_another_opset(subject: Subject) -> Check:
    """Whether the file's opset is the one that the job asks for, or else the file's metadata."""
    wanted = subject.opset if subject.opset is not None else _told_opset(subject)
    if wanted is None:
        return skipped("opset", "nobody asked for an opset")
    written = subject.graph.opset
    if written == wanted:
        return Check("opset", "pass", "", written, wanted)
    asking = "the job asks" if subject.opset is not None else "its metadata asks"
    return Check("opset", "fail", f"the file has opset {written}, {asking} for {wanted}", written, wanted)


def _told_opset(subject: Subject) -> int | None:
    try:
        told = json.loads(subject.told or "null")
        return int(told["opset"])
    except (ValueError, KeyError, TypeError):
        return None


def look_for_unknown_operators(subject: Subject) -> Check:
    """Whether every operator is in the target's documentation, also those in branches and functions."""
    known = OPERATORS.get(subject.target)
    if known is None:
        return passed("operators", f"{subject.target} runs the standard operator set")
    unknown = [
        node.op_type for node in subject.graph.nodes if node.op_type not in known or node.domain != STANDARD
    ]
    if not unknown:
        return passed("operators", f"all are in the documentation of {subject.target}")
    reason = f"outside the documentation of {subject.target}: {counted(iter(unknown))}"
    return failed("operators", reason, len(unknown))


def look_for_custom_domains(subject: Subject) -> Check:
    """Whether all operators are standard ones. ONNX Runtime's own are advice if it is the target."""
    functions = subject.graph.functions
    custom = [
        node
        for node in subject.graph.nodes
        if node.domain != STANDARD and (node.domain, node.op_type) not in functions
    ]
    if not custom:
        return passed("domains")
    own = [node for node in custom if node.domain in RUNTIMES_OWN]
    if subject.target == ONNXRUNTIME and len(own) == len(custom):
        reason = f"runs in ONNX Runtime alone: {counted(operator_of(node) for node in own)}"
        return advised("domains", reason, len(own))
    foreign = own if subject.target != ONNXRUNTIME else []
    names = [node for node in custom if node in foreign or node.domain not in RUNTIMES_OWN]
    reason = f"{subject.target} has no {counted(operator_of(node) for node in names)}"
    return failed("domains", reason, len(names))


def look_for_random_operators(subject: Subject) -> Check:
    """Whether an operator draws random numbers, so that the same input gives different outputs."""
    random = [label(node) for node in subject.graph.nodes if node.op_type in RANDOM]
    if not random:
        return passed("random")
    return failed("random", f"draws random numbers: {listed(random)}", len(random))


def look_for_training(subject: Subject) -> Check:
    """Whether dropout or batch norm is in its training form. A dropout that does nothing is advice.

    A batch norm of a weight standardises it, and has no batch to take statistics from.
    """
    constants = subject.graph.constants
    left, idle = [], 0
    for node in subject.graph.nodes:
        if node.domain == TRAINING_DOMAIN:
            left.append(f"{label(node)} trains")
        elif node.op_type == "Dropout":
            fault = _dropout_fault(node, constants, subject.graph.opset)
            left += [f"{label(node)} {fault}"] if fault else []
            idle += not fault
        elif (
            node.op_type == "BatchNormalization"
            and _norm_trains(node, subject.graph.opset)
            and not _of_constants(node.inputs[0], constants)
        ):
            left.append(f"{label(node)} takes its statistics from the batch")
    if left:
        return failed("training", listed(left), len(left))
    if idle:
        return advised("training", f"Dropout ({idle} times) stands in the graph, switched off", idle)
    return passed("training")


def _of_constants(value: ir.Value | None, constants: Mapping[str, Stored]) -> bool:
    """Whether a value is computed from constants alone."""
    open_values, seen = [value], set()
    while open_values:
        one = open_values.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        maker = one.producer()
        if maker is not None:
            open_values += reads(maker)
        elif str(one.name) not in constants:
            return False
    return True


def _dropout_fault(node: ir.Node, constants: Mapping[str, Stored], opset: int) -> str | None:
    """What is wrong with a Dropout; None if nothing is.

    Operator set 7 removed the attribute is_test; 12 added the input training_mode.
    """
    if opset < 7:
        return None if attribute_of(node, "is_test", 0) else "drops at random"
    training = node.inputs[2] if opset >= 12 and len(node.inputs) > 2 else None
    if training is None:
        return None
    stored = constants.get(str(training.name))
    if stored is None:
        return "is switched while the graph runs"
    return "drops at random" if bool(np.any(stored.tensor.numpy())) else None


def _norm_trains(node: ir.Node, opset: int) -> bool:
    """Whether a BatchNormalization is in its training form.

    Operator set 14 added the attribute training_mode. From 7 to 13, it trains if it has more than one output.
    """
    if opset >= 14:
        return bool(attribute_of(node, "training_mode", 0))
    if opset < 7:
        return not attribute_of(node, "is_test", 0)
    return sum(bool(value.name) for value in node.outputs) > 1


def look_for_control_flow(subject: Subject) -> Check:
    """Look for branches and loops. Always advice."""
    found = [node.op_type for node in subject.graph.nodes if node.op_type in CONTROL_FLOW]
    if not found:
        return passed("control_flow")
    return advised("control_flow", f"the graph branches or loops: {counted(iter(found))}", len(found))


def look_for_wide_types(subject: Subject) -> Check:
    """Look for float64, and for int64 that a float32 cannot hold, if the target has neither.

    Indices, and the sizes, axes and counts of operators such as Reshape and Slice, are int64 in ONNX, and
    every target reads them. So inputs and outputs of these types count, and constants above 2**24 if they are
    computed with.
    """
    if subject.target not in FLOAT32_ONLY:
        return passed("wide_types", f"{subject.target} has float64 and int64")
    found = [*_wide_ports(subject), *_wide_constants(subject), *_wide_casts(subject)]
    if not found:
        return passed("wide_types")
    return failed("wide_types", f"{subject.target} holds float32 alone: {listed(found)}", len(found))


WIDE = (ir.DataType.DOUBLE, ir.DataType.INT64, ir.DataType.UINT64)


def _wide_ports(subject: Subject) -> Iterator[str]:
    for kind, values in (("input", subject.graph.inputs), ("output", subject.graph.outputs)):
        for value in values:
            if value.dtype in WIDE:
                yield f"{kind} {value.name} is {value.dtype.name.lower()}"


def _wide_constants(subject: Subject) -> Iterator[str]:
    for stored in subject.graph.stored:
        if stored.dtype == ir.DataType.DOUBLE:
            yield f"the constant {stored.name} is double"
        elif stored.dtype in WIDE and stored.place is None:
            if stored.users and all(
                at in SHAPE_PARAMETERS.get(node.op_type, ()) for node, at in stored.users
            ):
                continue
            values = stored.tensor.numpy()
            largest = max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
            if largest > EXACT_IN_FLOAT32:
                yield f"the constant {stored.name} holds {largest}"


def _wide_casts(subject: Subject) -> Iterator[str]:
    for node in subject.graph.nodes:
        if node.op_type == "Cast" and attribute_of(node, "to", 0) == ir.DataType.DOUBLE:
            yield f"{label(node)} casts to double"


OPSET = Hazard(
    "opset",
    "operators change their meaning and their form between operator sets, and a runtime that was chosen for "
    "one may refuse another",
    "export again with the wanted export.opset; converters only change the version number",
    look_for_another_opset,
)

UNKNOWN_OPERATORS = Hazard(
    "operators",
    "the target does not load a graph with an operator that it lacks",
    'wrapper.decode = "none", a lower export.opset, fixed dims, or another target',
    look_for_unknown_operators,
)

CUSTOM_DOMAINS = Hazard(
    "domains",
    "an operator of a custom domain needs its library installed to run",
    "export from PyTorch again without the optimizer or converter that added it, or ship its library",
    look_for_custom_domains,
)

RANDOM_OPERATORS = Hazard(
    "random",
    "the same input gives another output each time, so no comparison holds",
    "put the module into evaluation mode; make the noise an input",
    look_for_random_operators,
)

TRAINING = Hazard(
    "training",
    "dropout in training drops at random, batch norm in training takes a batch's own statistics: outputs "
    "depend on chance and on what else is in the batch",
    "call model.eval() before the export, and leave torch.onnx's training mode at EVAL",
    look_for_training,
)

CONTROL_FLOW_HAZARD = Hazard(
    "control_flow",
    "many compilers and small runtimes refuse branches and loops, and one path may never have been compared",
    "nothing if ONNX Runtime runs it; for other runtimes write the model without branches on data, or take "
    'NMS out of the graph (wrapper.decode = "none")',
    look_for_control_flow,
)

WIDE_TYPES = Hazard(
    "wide_types",
    "a target without these types rounds numbers to float32: integers above 2**24 become others",
    "keep doubles and large integers out of forward, and take int32 or float32 inputs; or use another target",
    look_for_wide_types,
)
