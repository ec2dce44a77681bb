"""Bisect one ONNX file against its model: choose the case, find the link that fails, name the node."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from onnxproof.errors import CheckError, RequestError
from onnxproof.graph import OnnxGraph, read_proto
from onnxproof.progress import Progress, silent
from onnxproof.source import sha256_of
from onnxproof.validate.ahead import known_for
from onnxproof.validate.beyond import inputs_beyond
from onnxproof.validate.bisect.function import StatedGraph
from onnxproof.validate.bisect.nodes import inlined
from onnxproof.validate.bisect.repro import Finding, Repro
from onnxproof.validate.bisect.result import Bisection, GraphKind, Link
from onnxproof.validate.bisect.runtime import LEVELS, Failing, ask_kernels, ask_optimized
from onnxproof.validate.bisect.truth import Oracle, Truth
from onnxproof.validate.blind_spots import blind_checks
from onnxproof.validate.cases import Case, fewest
from onnxproof.validate.contents import CONSTANT
from onnxproof.validate.exact.constants import prove_constants
from onnxproof.validate.exact.folded import folded_checks
from onnxproof.validate.exact.known import Known
from onnxproof.validate.facts import Facts
from onnxproof.validate.judge import judge, ranks_of
from onnxproof.validate.legs.leg import Arrays
from onnxproof.validate.legs.leg import Truth as Legs
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.legs.pytorch import torch_truth
from onnxproof.validate.stated import EVALUATED, open_graph
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import Plan, Trial
from onnxproof.wrappers.family import WrappedModel

Array = NDArray[Any]

UNEXPLAINED = 3
"""Failing cases on which no node is found before the search ends."""

ALONE = (
    "the verdict on this case alone is fail, and no node is at fault; a verdict pools the errors of all "
    "cases and looks twice at a doubtful one, so that it may pass"
)
"""The note on a case that fails by itself although nothing is found."""

INTERFACE = "interface"
"""The check that does not depend on the case."""


@dataclass(frozen=True, slots=True, eq=False)
class Bisected:
    """The finding, and a repro of it (None if there is nothing to reproduce)."""

    result: Bisection
    repro: Repro | None


def bisect_file(
    model: WrappedModel, file: Path, plan: Plan, *, case: str | None = None, progress: Progress = silent
) -> Bisected:
    """Find the node of the ONNX file at which a link of the proof fails.

    ``case`` is a case's number (as parity.json lists them, from 0) or its name. If it is None,
    cases are tried, the most telling and smallest first, until one names a node. On each of them the runtime
    is judged; the function is searched on as many as ``validate`` evaluates it on, and where the runtime
    fails. Raises RequestError if there is no such case, ModelFileError if the file cannot be loaded,
    CheckError if the model does not run in float64, if its graph cannot be evaluated, or if the file's inputs
    and outputs are not the model's.
    """
    task = _Task.of(model, file, plan)
    cases = task.plan.cases
    numbers = task.order() if case is None else (_number_of(case, cases),)
    stated = {one.name for one in fewest(cases, EVALUATED[plan.settings.effort])}
    stated |= {cases[numbers[0]].name, *(one.name for one in cases if one.ids or one.gaps), *task.given}
    nothing: list[tuple[_Judged, Bisected]] = []
    for done, number in enumerate(numbers):
        progress("look for a case that fails", done, len(numbers))
        judged = task.judged(task.candidate, cases[number])
        if judged.failing or cases[number].name in stated:
            found = task.bisect(number, judged, progress)
            if found.repro is not None:
                return found
            nothing.append((judged, found))
            if sum(one.failing for one, _ in nothing) == UNEXPLAINED:
                break
    _, found = max(nothing, key=lambda entry: (entry[0].failing, entry[0].ratio))
    result = replace(found.result, notes=(*found.result.notes, *task.constants_told()))
    return replace(found, result=result)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The verdict on one case alone: whether it is fail, and what it was judged by."""

    failing: bool
    facts: Facts

    @property
    def ratio(self) -> float:
        """The largest ratio of a field."""
        return max((field.ratio_rms for field in self.facts.fields), default=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A file, its model, and what it is tried on."""

    model: WrappedModel
    file: Path
    plan: Plan
    candidate: OrtLeg
    legs: Legs
    known: Known
    oracle: Oracle
    graph: StatedGraph
    given: Mapping[str, Arrays]
    """The inputs that were sought beyond the model's bounds, by the case's name."""
    stated: Trial
    """The trial with the file's graph, on the cases on which ``validate`` evaluates it."""

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
        if not {spec.name for spec in model.contract.outputs} - set(legs.oracle_missing):
            reason = next(iter(legs.oracle_missing.values()))
            raise CheckError(
                f"the model does not run in float64 ({reason}), and bisect measures every node "
                "against that: keep the model's dtypes free, or compare whole files with validate"
            )
        known = known_for(model, plan, legs)
        oracle = Oracle(model.module, model.contract.outputs)
        stated = open_graph(model, file, plan, legs, known, range(1))
        proto = read_proto(file, weights=False)
        whole = inlined(proto)
        proven = stated.proven if whole is proto else prove_constants(OnnxGraph(whole), known, file)
        graph = StatedGraph(whole, proven, file)
        trial = Trial.of(plan, legs, (candidate,), (stated,))
        sought = [one for one, _ in inputs_beyond(model, trial, settings.threads, [])]
        plan = replace(plan, cases=(*trial.cases, *(one.case for one in sought)))
        given = {one.case.name: one.inputs for one in sought}
        return cls(model, file, plan, candidate, legs, known, oracle, graph, given, trial)

    def order(self) -> tuple[int, ...]:
        """The cases' numbers, the most telling and smallest first.

        First are planned cases that were made for what is changed in the file, since ``parity.json`` has all
        of them, then the inputs that were sought.
        """
        cases = self.plan.cases

        def place(number: int) -> tuple[bool | int, ...]:
            case = cases[number]
            return not (case.ids or case.gaps), case.name not in self.given, *_blandness(case)

        return tuple(sorted(range(len(cases)), key=place))

    def trial(self, *candidates: OrtLeg) -> Trial:
        """The trial of these legs, with the inputs that are held."""
        return replace(Trial.of(self.plan, self.legs, candidates), given=self.given)

    def judged(self, leg: OrtLeg, case: Case) -> _Judged:
        """The verdict on one case alone, by what a leg computes."""
        (facts,) = sweep(self.trial(leg).on(case))
        checks = judge(facts, ranks_of(self.model.contract.fields), self.plan.policy)
        return _Judged(any(one.status == "fail" and one.name != INTERFACE for one in checks), facts)

    def bisect(self, number: int, judged: _Judged, progress: Progress) -> Bisected:
        """Search the file's function on a case, and what ONNX Runtime makes of it if the verdict fails."""
        case = self.plan.cases[number]
        arrays = self.trial().inputs_of(case)
        progress("run the model in float64", 0, 0)
        truth = self.oracle.truth(arrays)
        missing = self.legs.oracle_missing
        truth = replace(
            truth, outputs={name: at for name, at in truth.outputs.items() if name not in missing}
        )
        found = self.graph.search(self.oracle, truth, arrays, case.name, progress)
        link: Link = "function"
        kind: GraphKind = "file"
        if found.node is None and judged.failing:
            failing = self._failing(case, arrays, judged)
            link, kind = "runtime", "file" if failing.level == "none" else "optimized"
            progress("ask the nodes that ONNX Runtime runs", 0, 0)
            asked = self._asked(failing, truth)
            found = replace(
                asked,
                nodes=found.nodes,
                tied=found.tied,
                peak_bytes=max(found.peak_bytes, asked.peak_bytes),
                notes=(*found.notes, *asked.notes),
            )
        if found.node is None and judged.failing and not found.notes:
            found = replace(found, notes=(ALONE,))
        result = Bisection(
            status="nothing" if found.node is None else "node",
            case=case.to_json(),
            case_number=number,
            failing=judged.failing,
            link=link,
            graph=kind,
            nodes=() if found.node is None else (found.node,),
            leaving=found.leaving,
            constants=found.constants,
            reason=found.reason,
            nodes_walked=found.nodes,
            tied=found.tied,
            peak_bytes=found.peak_bytes,
            model_sha256=sha256_of(self.file),
            notes=found.notes,
        )
        return Bisected(result, found.repro)

    def constants_told(self) -> Iterator[str]:
        """A note if constants fail the file by what no output tells."""
        parsed, trial = OnnxGraph.read(self.file), self.stated
        folded = folded_checks(parsed, self.file, self.known)
        blind = blind_checks(trial, self.plan.settings, trial.graphs[0], parsed, self.file, self.known)
        for check in (*folded, *blind):
            if check.status == "fail":
                yield f"no output tells it, but validate fails by the check {check.name}: {check.reason}"

    def _failing(self, case: Case, arrays: Mapping[str, Array], judged: _Judged) -> Failing:
        """The first level of optimization at which the verdict on the case fails."""
        settings = self.plan.settings
        for level in LEVELS:
            leg = OrtLeg(self.file, settings.providers, settings.threads, level)
            facts = self.judged(leg, case)
            if facts.failing:
                return Failing(self.file, leg, level, facts.facts, arrays, case.name)
        level = settings.optimization[-1]
        return Failing(self.file, self.candidate, level, judged.facts, arrays, case.name)

    def _asked(self, failing: Failing, truth: Truth) -> Finding:
        """The node that ONNX Runtime's optimizer or a kernel of it computes otherwise."""
        if failing.level != "none":
            with contextlib.suppress(CheckError):
                found = ask_optimized(failing, self.plan, self.known, self.oracle, truth)
                if found.node is not None:
                    return found
        return ask_kernels(failing, self.plan, self.graph.exact)


def _blandness(case: Case) -> tuple[bool, bool, int]:
    """The sort key of a case. First are those with varied content, then those whose sizes all differ, then
    small ones."""
    bland = case.kind == "empty" or case.content in CONSTANT
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
