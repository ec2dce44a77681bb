"""Check the graph's operators: those that a target lacks, those of another opset or a custom domain, random
ones, those left from training, branches and loops."""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from onnxproof.graph import STANDARD, Stored, attribute_of, label, operator_of, reads
from onnxproof.system.parsed import parse_json
from onnxproof.targets import FAILS, Target, read_target
from onnxproof.validate.hazards._hazard import (
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

MOST_EXACT: Mapping[str, int] = {"float32": 2**24, "int32": 2**31 - 1}
"""The largest magnitude up to which a type holds every integer (IEEE 754: 24 bits of significand)."""

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
    """Whether the target documents the file's opset, and it is the one that the job asks for, or else the
    file's metadata."""
    target = read_target(subject.target)
    written = subject.graph.opset
    within = f"{target.least} and later" if target.most is None else f"{target.least} to {target.most}"
    beyond = target.most is not None and written > target.most
    if written < target.least or (beyond and target.strict):
        reason = f"the file has opset {written}; {target.documentation} names {within}"
        return Check("opset", "fail", reason, written, target.most if beyond else target.least)
    wanted = subject.opset if subject.opset is not None else _told_opset(subject)
    if wanted is not None and written != wanted:
        asking = "the job asks" if subject.opset is not None else "its metadata asks"
        return Check("opset", "fail", f"the file has opset {written}, {asking} for {wanted}", written, wanted)
    if beyond:
        return advised("opset", f"opset {written}: {target.documentation} covers {within}", written)
    if wanted is None:
        return skipped("opset", "nobody asked for an opset")
    return Check("opset", "pass", "", written, wanted)


def _told_opset(subject: Subject) -> int | None:
    try:
        told = parse_json(subject.told or "null")
        return int(told["opset"])
    except (ValueError, KeyError, TypeError):
        return None


def look_for_unknown_operators(subject: Subject) -> Check:
    """Whether every operator is in the target's documentation, also those in branches and functions.

    What the documentation says nothing of, and what it limits, is advice.
    """
    target = read_target(subject.target)
    if target.operators is None:
        return passed("operators", f"{subject.target} runs the standard operator set")
    lacking: list[ir.Node] = []
    unknown: list[ir.Node] = []
    limited: list[str] = []
    for node in subject.graph.nodes:
        known = node.domain == STANDARD and node.op_type in target.operators
        if known and node.op_type in target.limits:
            limited.append(node.op_type)
        if known or node.domain in target.domains:
            continue
        refused = node.op_type in target.unsupported or target.unlisted == FAILS
        (lacking if refused or node.domain != STANDARD else unknown).append(node)
    if lacking:
        names, places = counted(node.op_type for node in lacking), listed([label(node) for node in lacking])
        reason = f"outside {target.documentation}: {names}, at {places}"
        return failed("operators", reason, len(lacking))
    notes = []
    if unknown:
        said = target.unlisted or f"{target.documentation} says nothing of them"
        notes.append(f"{counted(node.op_type for node in unknown)}: {said}")
    notes += [
        f"{target.runtime} takes {name} with limits: {target.limits[name]}" for name in sorted(set(limited))
    ]
    if notes:
        return advised("operators", "; ".join(notes), len(unknown) + len(limited))
    return passed("operators", f"all are in {target.documentation}")


def look_for_custom_domains(subject: Subject) -> Check:
    """Whether all operators are standard ones. Those of a domain that the target has are advice."""
    functions, target = subject.graph.functions, read_target(subject.target)
    custom = [
        node
        for node in subject.graph.nodes
        if node.domain != STANDARD and (node.domain, node.op_type) not in functions
    ]
    if not custom:
        return passed("domains")
    foreign = [node for node in custom if node.domain not in target.domains]
    if not foreign:
        reason = f"runs in ONNX Runtime alone: {counted(operator_of(node) for node in custom)}"
        return advised("domains", reason, len(custom))
    reason = f"{subject.target} has no {counted(operator_of(node) for node in foreign)}"
    return failed("domains", reason, len(foreign))


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
    """Look for types that the target lacks, and for those that it holds in another one that is too narrow.

    Indices, and the sizes, axes and counts of operators such as Reshape and Slice, are int64 in ONNX, and
    every target reads them. So inputs and outputs count, and constants that are computed with.
    """
    target = read_target(subject.target)
    if not target.narrowed and target.types is None:
        return passed("wide_types", f"{subject.target} has float64 and int64")
    found = [*_wide_ports(subject, target), *_wide_constants(subject, target), *_wide_casts(subject, target)]
    if not found:
        return passed("wide_types")
    return failed("wide_types", listed(found), len(found))


NAMES = {"double": "float64", "float": "float32"}
"""NumPy's names for ONNX's element types, where they differ."""


def _type_of(dtype: ir.DataType) -> str:
    name = dtype.name.lower()
    return NAMES.get(name, name)


def _lost_in(target: Target, name: str) -> str | None:
    """What becomes of numbers of a type; None if the target holds them all."""
    if target.types is not None and name not in target.types:
        return f"{target.name} has no {name}"
    narrow = target.narrowed.get(name)
    if narrow is None or (narrow == "int32" and name in ("int64", "uint64")):
        return None
    return f"{target.name} holds {name} as {narrow}"


def _wide_ports(subject: Subject, target: Target) -> Iterator[str]:
    for kind, values in (("input", subject.graph.inputs), ("output", subject.graph.outputs)):
        for value in values:
            lost = None if value.dtype is None else _lost_in(target, _type_of(value.dtype))
            if lost is not None and value.dtype is not None:
                yield f"{kind} {value.name} is {value.dtype.name.lower()} ({lost})"


def _wide_constants(subject: Subject, target: Target) -> Iterator[str]:
    for stored in subject.graph.stored:
        name = _type_of(stored.dtype)
        if target.types is not None and name not in target.types:
            yield f"the constant {stored.name} is {stored.dtype.name.lower()} ({target.name} has no {name})"
        elif name not in target.narrowed:
            continue
        elif stored.dtype == ir.DataType.DOUBLE:
            yield f"the constant {stored.name} is double ({_lost_in(target, name)})"
        elif stored.place is None:
            if stored.users and all(
                at in SHAPE_PARAMETERS.get(node.op_type, ()) for node, at in stored.users
            ):
                continue
            values = stored.tensor.numpy()
            largest = max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0
            narrow = target.narrowed[name]
            if largest > MOST_EXACT[narrow]:
                yield f"the constant {stored.name} holds {largest} ({target.name} holds {name} as {narrow})"


def _wide_casts(subject: Subject, target: Target) -> Iterator[str]:
    lost = _lost_in(target, "float64")
    if lost is None:
        return
    for node in subject.graph.nodes:
        if node.op_type == "Cast" and attribute_of(node, "to", 0) == ir.DataType.DOUBLE:
            yield f"{label(node)} casts to double ({lost})"


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
    "a target without these types rounds numbers or cuts them: in float32, integers above 2**24 are others",
    "keep doubles and large integers out of forward, and take int32 or float32 inputs; or use another target",
    look_for_wide_types,
)
