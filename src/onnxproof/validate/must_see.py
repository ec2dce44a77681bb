"""Cases that a file and its model ask for beside the plan's: ids that must be seen, masks with other gaps.

Cases draw a few of many ids, so none of them may hold an id that is treated specially: the one of padding,
the one that ends a text, the first of a range. These ids are known: the model's configuration names them, and
the model and the file compare their inputs with them. One case has them all, in texts as a tokenizer writes
them. Another has padding on the left and holes, where the model takes these. Neither is made for a model
without such inputs.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxproof.contract import Contract
from onnxproof.counted import counted
from onnxproof.graph import STANDARD, OnnxGraph, Stored, UnreadableError
from onnxproof.runtime.tasks.sequence import StepLogits
from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import Case, materialise, volume
from onnxproof.validate.conditions import COMPARISONS
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.legs.compared_ids import compared_ids, named_ids
from onnxproof.validate.legs.leg import Leg, Truth
from onnxproof.validate.looked_up import HANDS_ON
from onnxproof.validate.texts import Gaps, Text, takes
from onnxproof.wrappers.family import WrappedModel

MOVES = frozenset("Expand Slice Gather GatherND GatherElements Tile Where Max Min Clip".split()) | HANDS_ON
"""Operators behind which numbers are still an input's own."""
SHIFTS = {"Add": 1, "Sub": -1}
"""The same, moved by a number: its sign."""
LAYS_OUT = frozenset("Cast Expand Identity Reshape Squeeze Unsqueeze".split())
"""Operators behind which a constant is still one."""

MOST_COMPARED = 64
"""A constant of more numbers than these is no list of ids."""

MOST_IDS = 64
"""How many ids of an input a case has at most."""

MOST_PADS = 4
"""How many ids are tried as that of padding where no configuration names it."""

DRAWN_ANYWAY = 8
"""An input of no more numbers than these holds each of them in some case."""

FEW_STEPS, FEW_ROWS = 4, 2
"""A text of fewer steps has hardly room; with as many rows they differ."""

GAPS: Mapping[Gaps, str] = {
    "left": "padding on the left",
    "holes": "a mask with holes",
    "both": "padding on the left with holes",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The cases that a file and its model ask for, and notes on those that the model does not take."""

    cases: tuple[Case, ...] = ()
    notes: tuple[str, ...] = ()


def asked_for(
    model: WrappedModel, graph: OnnxGraph, file: Path, truth: Truth, cases: Sequence[Case]
) -> Asked:
    """The cases that a file and its model ask for, at sizes that ``cases`` have.

    Runs the model on the new cases, and leaves out those that it does not take.
    """
    if truth.unsteady is not None:
        return Asked()
    special, text = special_ids(model, graph, file, cases)
    return _asked(model.contract, special, text, truth.reference, cases)


def asked_by(
    graphs: Mapping[Path, OnnxGraph], contract: Contract, reference: Leg, cases: Sequence[Case]
) -> Asked:
    """As ``asked_for``, of files alone, by their paths. ``reference`` is run on the new cases.

    No configuration says which id is that of padding: each of the first that the files compare with is tried.
    """
    special: dict[str, tuple[int, ...]] = {}
    compared: set[int] = set()
    stated = [_stated(graph, file) for file, graph in graphs.items()]
    for spec in contract.inputs:
        if _holds_ids(spec, contract):
            own = frozenset().union(*(one.get(spec.name, frozenset()) for one in stated))
            within = _within(spec, own)
            special |= {spec.name: within} if within else {}
            compared |= own
    asked = _asked(contract, special, Text(ends=tuple(sorted(compared))), reference, cases)
    base = _base([spec for spec in contract.inputs if spec.name in special], 0, cases)
    padded = [
        _case(base, f"padded-with-{one}", ids=dict.fromkeys(special, ()), text=Text(one))
        for one in sorted(compared)[:MOST_PADS]
        if base is not None
    ]
    taken = [case for case in padded if _refused(contract, reference, case) is None]
    return replace(asked, cases=(*asked.cases, *taken))


def _asked(
    contract: Contract,
    special: Mapping[str, tuple[int, ...]],
    text: Text,
    reference: Leg,
    cases: Sequence[Case],
) -> Asked:
    found: list[Case] = []
    notes: list[str] = []
    for case in _texts(contract, special, text, cases):
        if _refused(contract, reference, case) is None:
            found.append(case)
            break
    found += _gaps(contract, special, text, reference, cases, notes)
    return Asked(tuple(found), tuple(notes))


def special_ids(
    model: WrappedModel, graph: OnnxGraph, file: Path, cases: Sequence[Case]
) -> tuple[Mapping[str, tuple[int, ...]], Text]:
    """The ids that each integer input has to hold, by its name, and the ids with which texts are written.

    Those that are treated specially come first, then the numbers beside them.
    """
    contract = model.contract
    inputs = [spec for spec in contract.inputs if _holds_ids(spec, contract)]
    base = _base(inputs, 0, cases)
    if not inputs or base is None:
        return {}, Text()
    arrays = materialise(base, contract.inputs, contract.preprocess)
    compared = compared_ids(model, arrays, [spec.name for spec in inputs])
    stated = _stated(graph, file)
    named, text = named_ids(model.module)
    masks = {spec.shape for spec in contract.inputs if spec.mask}
    special = {}
    for spec in inputs:
        tokens = spec.dtype in ("int32", "int64") and (not masks or spec.shape in masks)
        own = compared.get(spec.name, frozenset()) | stated.get(spec.name, frozenset())
        within = _within(spec, own, named if tokens else frozenset())
        if within:
            special[spec.name] = within
    return special, text


def _within(spec: TensorSpec, own: frozenset[int], named: frozenset[int] = frozenset()) -> tuple[int, ...]:
    """The ids that an input takes among those that are treated specially: its ``own``, those beside them, and
    those that are ``named``."""
    beside = [number for one in sorted(own) for number in (one - 1, one + 1)]
    within = [number for number in dict.fromkeys((*sorted(own | named), *beside)) if takes(spec, number)]
    return tuple(within[:MOST_IDS])


def _holds_ids(spec: TensorSpec, contract: Contract) -> bool:
    """Whether an input holds integers, more than are drawn anyway."""
    if spec.mask or not spec.dtype.startswith(("int", "uint")):
        return False
    pictures = contract.preprocess is not None and spec.name == contract.preprocess.input
    low, high = spec.range or (0, 1)
    return not pictures and high - low >= DRAWN_ANYWAY


def _base(specs: Sequence[TensorSpec], places: int, cases: Sequence[Case]) -> Case | None:
    """The case of the least volume with steps, rows and places enough, as far as there is one."""
    chosen = [case for case in cases if not case.native and case.content not in CONSTANT and not case.ids]
    shapes = {case.name: [spec.sized(case.sizes) or (1,) for spec in specs] for case in chosen}
    measures: tuple[tuple[int, Callable[[tuple[int, ...]], int]], ...] = (
        (FEW_STEPS, lambda shape: shape[-1]),
        (FEW_ROWS, lambda shape: math.prod(shape[:-1])),
        (places, math.prod),
    )
    for wanted, measured in measures:
        least = {case.name: min((measured(one) for one in shapes[case.name]), default=0) for case in chosen}
        enough = min(wanted, max(least.values(), default=0))
        chosen = [case for case in chosen if least[case.name] >= enough]
    return min(chosen, key=lambda case: volume((case,)), default=None)


def _texts(
    contract: Contract, special: Mapping[str, tuple[int, ...]], text: Text, cases: Sequence[Case]
) -> Iterator[Case]:
    """The case of texts with all special ids, then one with those of padding and ends in their places alone,
    for a model that does not take them elsewhere."""
    specs = [spec for spec in contract.inputs if spec.name in special]
    base = _base(specs, 2 * max(map(len, special.values()), default=0) + FEW_STEPS, cases)
    if specs and base is not None:
        yield _case(base, "special-ids", ids=special, text=text)
        if text != Text():
            yield _case(base, "written-ids", ids=dict.fromkeys(special, ()), text=text)


def _gaps(
    contract: Contract,
    special: Mapping[str, tuple[int, ...]],
    text: Text,
    reference: Leg,
    cases: Sequence[Case],
    notes: list[str],
) -> Iterator[Case]:
    """The case of masks with padding on the left and with holes, or one of those that the model takes."""
    masks = [spec for spec in contract.inputs if spec.mask]
    base = _base(masks, 0, cases)
    # The first steps of a sequence count, as many as the mask keeps: that is padding on the right.
    if not masks or base is None or isinstance(contract.reading, StepLogits):
        return
    rows = min(math.prod(spec.sized(base.sizes)[:-1]) for spec in masks)
    if min(spec.sized(base.sizes)[-1] for spec in masks) < 2:
        return
    ids: dict[str, tuple[int, ...]] = dict.fromkeys(special, ())
    together: tuple[Gaps, ...] = ("left", "holes") if rows > 1 else ("both",)
    each: tuple[Gaps, ...] = ("left", "holes")
    case = _case(base, "left-and-holes", ids=ids, text=text if ids else None, gaps=together)
    if _refused(contract, reference, case) is None:
        yield case
        return
    for kind in each:
        case = _case(base, kind, ids=ids, text=text if ids else None, gaps=(kind,))
        reason = _refused(contract, reference, case)
        if reason is None:
            yield case
        else:
            notes.append(f"{GAPS[kind]} is not tried: the model {reason} there")


def _case(
    base: Case,
    label: str,
    *,
    ids: Mapping[str, tuple[int, ...]],
    text: Text | None,
    gaps: tuple[Gaps, ...] = (),
) -> Case:
    name = f"{'x'.join(str(size) for size in base.sizes.values())}-{label}"
    seed = zlib.crc32(repr((name, sorted(ids.items()))).encode())
    return Case(name, base.sizes, "noise", seed, ids=ids, text=text, gaps=gaps)


def _refused(contract: Contract, reference: Leg, case: Case) -> str | None:
    """What a model does instead of answering with numbers; None if it answers."""
    inputs = materialise(case, contract.inputs, contract.preprocess)
    try:
        with np.errstate(all="ignore"):
            outputs = reference.run(inputs).outputs
            kept = counted(contract, inputs, outputs)
    except Exception as error:  # noqa: BLE001 - the model's own code may raise any type on an unusual input
        return f"raises {type(error).__name__}"
    for name, values in outputs.items():
        if values.dtype.kind == "f":
            where = np.broadcast_to(kept.get(name, np.ones((), bool)), values.shape)
            if not np.isfinite(values[where]).all():
                return f"answers with NaN or infinity in {name}"
    return None


def _stated(graph: OnnxGraph, file: Path) -> Mapping[str, frozenset[int]]:
    """The numbers with which a graph compares its inputs, by the input's name."""
    found: dict[str, set[int]] = defaultdict(set)
    for node in graph.nodes:
        if node.domain != STANDARD or node.op_type not in COMPARISONS:
            continue
        for value, other in (node.inputs[:2], node.inputs[1::-1]):
            numbers = _numbers(other, graph.constants, file)
            for name, shift in _sources(value, graph.constants, file) if numbers else ():
                found[name].update(number - shift for number in numbers)
    return {name: frozenset(numbers) for name, numbers in found.items()}


def _sources(
    value: ir.Value | None, constants: Mapping[str, Stored], file: Path
) -> Iterator[tuple[str, int]]:
    """The inputs that a value's numbers are those of, each with what was added."""
    waiting: list[tuple[ir.Value | None, int]] = [(value, 0)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        value, shift = waiting.pop()
        if value is None or (id(value), shift) in seen:
            continue
        seen.add((id(value), shift))
        node = value.producer()
        if node is None:
            if value.is_graph_input():
                yield str(value.name), shift
        elif node.domain == STANDARD and node.op_type in SHIFTS:
            one, other = node.inputs[:2]
            numbers = _numbers(other, constants, file)
            if len(numbers) == 1:
                waiting.append((one, shift + SHIFTS[node.op_type] * numbers[0]))
            elif node.op_type == "Add" and len(numbers := _numbers(one, constants, file)) == 1:
                waiting.append((other, shift + numbers[0]))
        elif node.domain == STANDARD and node.op_type in MOVES:
            looked_up = node.op_type.startswith("Gather")
            waiting += [(one, shift) for one in (node.inputs[:1] if looked_up else node.inputs)]


def _numbers(value: ir.Value | None, constants: Mapping[str, Stored], file: Path) -> tuple[int, ...]:
    """The whole numbers of a constant; empty for a large one, and for what is computed."""
    while value is not None and str(value.name) not in constants:
        node = value.producer()
        if node is None or node.domain != STANDARD or node.op_type not in LAYS_OUT:
            return ()
        value = node.inputs[0]
    stored = None if value is None else constants[str(value.name)]
    if stored is None or math.prod(stored.shape) > MOST_COMPARED:
        return ()
    try:
        values = np.asarray(stored.array(file))
    except UnreadableError:
        return ()
    if values.dtype.kind not in "iuf":
        return ()
    return tuple(int(one) for one in values.reshape(-1).tolist() if np.isfinite(one) and one == int(one))
