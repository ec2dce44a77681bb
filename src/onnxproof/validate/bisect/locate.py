"""Bisect one ONNX file against its model: choose the case, walk the graph, name the node."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from onnxproof.errors import CheckError, RequestError
from onnxproof.files import scratch_folder
from onnxproof.progress import Progress, silent
from onnxproof.runtime.session import Optimization, SessionSettings, open_session
from onnxproof.validate.bisect.nodes import Graph, open_model
from onnxproof.validate.bisect.origin import Origin, find_hidden, find_origin
from onnxproof.validate.bisect.repro import Repro
from onnxproof.validate.bisect.result import Bisection, GraphKind, Leaving, NamedNode
from onnxproof.validate.bisect.truth import BUDGET, Truth
from onnxproof.validate.bisect.walk import TrueValues, Walk, Walker, walk
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Truth as Legs
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import torch_truth
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Plan, Trial
from onnxproof.wrappers.family import WrappedModel

Array = NDArray[Any]

UNEXPLAINED = 3
"""Failing cases that are walked without finding a node before the search ends."""

INTERFACE = "interface"
"""The check that does not depend on the case."""


@dataclass(frozen=True, slots=True, eq=False)
class Bisected:
    """The finding, and a repro of it (None if there is nothing to reproduce)."""

    result: Bisection
    repro: Repro | None


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """A case, its number in the plan, and whether the verdict on it alone is fail."""

    number: int
    case: Case
    failing: bool


def bisect_file(
    model: WrappedModel,
    file: Path,
    plan: Plan,
    *,
    case: str | None = None,
    budget: int = BUDGET,
    progress: Progress = silent,
) -> Bisected:
    """Find the node of the ONNX file that introduces error, as against those that pass it on.

    ``case`` is a case's number in the plan (as parity.json lists them, from 0) or its name. If it is None,
    the most telling small case is walked, and then those on which the verdict fails, until one names a node.
    If none fails, the case with the largest error is walked last. ``budget`` says how many bytes of the
    module's intermediate tensors are held at once. Raises RequestError if there is no such case,
    ModelFileError if the file cannot be loaded, CheckError if the model does not run in float64, or if the
    file's inputs and outputs are not the model's.
    """
    task = _Task.of(model, file, plan)
    cases = plan.cases
    numbers = task.order() if case is None else (_number_of(case, cases),)
    unexplained: list[Bisected] = []
    worst, largest = numbers[0], -math.inf
    for done, number in enumerate(numbers):
        progress("look for a case that fails", done, len(numbers))
        failing, ratio = task.judged(task.candidate, cases[number])
        if failing or case is not None or done == 0:
            found = task.bisect(_Chosen(number, cases[number], failing), budget, progress)
            if found.repro is not None or case is not None:
                return found
            unexplained += [found] if failing else []
            if len(unexplained) == UNEXPLAINED:
                break
        if ratio > largest:
            worst, largest = number, ratio
    if unexplained:
        return unexplained[0]
    return task.bisect(_Chosen(worst, cases[worst], failing=False), budget, progress)


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A file, its model, and what it is tried on."""

    model: WrappedModel
    file: Path
    plan: Plan
    candidate: OrtLeg
    legs: Legs

    @classmethod
    def of(cls, model: WrappedModel, file: Path, plan: Plan) -> Self:
        settings = plan.settings
        candidate = OrtLeg(file, settings.providers, settings.threads, settings.optimization[-1])
        for kind, specs, ports in (
            ("inputs", model.contract.inputs, candidate.ports.inputs),
            ("outputs", model.contract.outputs, candidate.ports.outputs),
        ):
            found = [port.name for port in ports]
            wanted = [spec.name for spec in specs]
            if set(wanted) != set(found):
                raise CheckError(
                    f"{file} has the {kind} {', '.join(found)}; expected {', '.join(wanted)}: its values "
                    "cannot be compared with the model's; export the job again"
                )
        legs = torch_truth(model, plan.cases[0], settings.threads)
        if legs.unsteady is not None:
            raise CheckError(legs.unsteady)
        if legs.oracle is None:
            reason = next(iter(legs.oracle_missing.values()))
            raise CheckError(
                f"the model does not run in float64 ({reason}), and bisect measures every node "
                "against that: keep the model's dtypes free, or compare whole files with validate"
            )
        return cls(model, file, plan, candidate, legs)

    def order(self) -> tuple[int, ...]:
        """The cases' numbers, the most telling and smallest first."""
        cases = self.plan.cases
        return tuple(sorted(range(len(cases)), key=lambda number: _blandness(cases[number])))

    def judged(self, leg: OrtLeg, case: Case) -> tuple[bool, float]:
        """Whether the verdict on one case alone is fail, and the largest ratio of a field."""
        (facts,) = sweep(Trial.of(self.plan, self.legs, (leg,)).on(case))
        checks = judge(facts, ranks_of(self.model.contract.fields), self.plan.policy)
        failing = any(check.status == "fail" and check.name != INTERFACE for check in checks)
        return failing, max((field.ratio_rms for field in facts.fields), default=0.0)

    def bisect(self, chosen: _Chosen, budget: int, progress: Progress) -> Bisected:
        """Walk the file on a case. If the file is right and its verdict is not, walk what ONNX Runtime's
        optimizer makes of it."""
        arrays = materialise(chosen.case, self.model.contract.inputs, self.model.contract.preprocess)
        progress("run the model in float64", 0, 0)
        truth = Truth(self.model.module, arrays, self.model.contract.outputs, budget=budget)
        search = _Search(Graph(self.file), truth, arrays, progress)
        origin = search.origin()
        kind: GraphKind = "file"
        if origin is None and chosen.failing:
            level = self._wrong_level(chosen.case)
            if level is not None:
                with scratch_folder() as scratch:
                    optimized = scratch / "optimized.onnx"
                    _write_optimized(self.file, level, optimized)
                    search, kind = _Search(Graph(optimized), truth, arrays, progress), "optimized"
            origin = search.origin() or search.hidden()
        sha256 = hashlib.sha256(self.file.read_bytes()).hexdigest()
        return search.finish(origin, chosen, kind, sha256)

    def _wrong_level(self, case: Case) -> Optimization | None:
        """The first level of ONNX Runtime's optimization at which the verdict on the case fails.

        None if it fails without optimization too, or at no level.
        """
        settings = self.plan.settings
        levels: tuple[Optimization, ...] = ("none", "basic", "extended", "all")
        for level in levels:
            leg = OrtLeg(self.file, settings.providers, settings.threads, level)
            if self.judged(leg, case)[0]:
                return None if level == "none" else level
        return None


def _blandness(case: Case) -> tuple[bool, bool, int]:
    """The sort key of a case. First are cases with varied content, then those whose sizes all differ, then
    small ones."""
    bland = case.content in ("empty", "black", "saturated")
    sizes = tuple(case.sizes.values())
    return bland, len(set(sizes)) < len(sizes), math.prod(sizes)


def _number_of(wanted: str, cases: Sequence[Case]) -> int:
    names = [case.name for case in cases]
    if wanted in names:
        return names.index(wanted)
    if wanted.isdigit() and int(wanted) < len(cases):
        return int(wanted)
    raise RequestError(
        f"there is no case {wanted}: expected a number from 0 to {len(cases) - 1}, as parity.json lists "
        f"them, or a name such as {names[0]}"
    )


def _write_optimized(file: Path, level: Optimization, target: Path) -> None:
    open_session(file, SessionSettings(optimization=level, optimized_to=target))


class _Search:
    """One graph, walked on one case."""

    def __init__(self, graph: Graph, truth: Truth, inputs: Mapping[str, Array], progress: Progress) -> None:
        self._graph, self._truth = graph, truth
        self._inputs = {name: inputs[name] for name in graph.inputs}
        self._walker = Walker(graph, truth)
        self._walk: Walk = walk(self._walker, self._inputs, forced=truth.outputs, progress=progress)
        self._values = TrueValues(self._walker, self._walk, self._inputs)

    def origin(self) -> Origin | None:
        """The node where error begins; None if all outputs are right."""
        return find_origin(self._walker, self._walk, self._values, self._truth.outputs)

    def hidden(self) -> Origin | None:
        """The first node whose error later nodes hide; None if there is none."""
        return find_hidden(self._walker, self._walk)

    def finish(self, origin: Origin | None, chosen: _Chosen, kind: GraphKind, sha256: str) -> Bisected:
        """The finding, and the repro of it."""
        counted = [
            any(self._walk.places[name].status == "tied" for name in node.outputs)
            for node in self._graph.nodes
        ]
        node = None if origin is None else origin.node
        result = Bisection(
            status="nothing" if node is None else "node",
            case=chosen.case.to_json(),
            case_number=chosen.number,
            failing=chosen.failing,
            graph=kind,
            nodes=() if node is None else (NamedNode(node.label, node.operator, node.outputs),),
            leaving=() if origin is None else tuple(self._leaving(origin)),
            reason="" if origin is None else origin.reason,
            nodes_walked=len(self._graph.nodes),
            tied=sum(counted),
            peak_bytes=self._walk.peak + self._truth.peak,
            model_sha256=sha256,
        )
        return Bisected(result, None if origin is None else self._repro(origin, chosen.case))

    def _leaving(self, origin: Origin) -> list[Leaving]:
        described = []
        own = self._own(tuple(origin.expected))
        for name, (number, local) in origin.expected.items():
            record = self._truth.records[number]
            found = own.get(name)
            own_rms = None
            if found is not None and found.shape == record.shape:
                error = found.astype(np.float64) - self._truth.fetch(number)
                own_rms = float(np.sqrt(np.mean(np.square(error))))
            shape = None if found is None else found.shape
            described.append(
                Leaving(name, record.path, record.operation, local, own_rms, shape, record.shape)
            )
        return described

    def _own(self, names: Sequence[str]) -> dict[str, Array]:
        """Values as the file itself computes them; empty if it cannot run up to them."""
        nodes = self._graph.ancestors(names)
        read = {name for node in nodes for name in node.inputs}
        feeds = {name: array for name, array in self._inputs.items() if name in read}
        try:
            session = open_model(self._graph.model(nodes, feeds, names))
            return dict(zip(names, session.run(list(names), feeds), strict=True))
        except Exception:  # noqa: BLE001
            # ONNX Runtime's exceptions have no common public base below Exception.
            return {}

    def _own_shape(self, name: str) -> tuple[int, ...] | None:
        found = self._own((name,)).get(name)
        return None if found is None else found.shape

    def _repro(self, origin: Origin, case: Case) -> Repro:
        node = origin.node
        feeds = {name: self._values.get(name)[0] for name in self._graph.given(node)}
        expected = {name: self._truth.fetch(number) for name, (number, _) in origin.expected.items()}
        model = self._graph.model([node], feeds, tuple(expected) or node.outputs)
        for value in model.graph.output:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(self._walk.places[value.name].dtype))
            shape = expected[value.name].shape if value.name in expected else self._own_shape(value.name)
            axes = None if shape is None else (None,) * len(shape)
            value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, axes))
        return Repro(model, feeds, expected, f"{node.operator} {node.label}", case.name)
