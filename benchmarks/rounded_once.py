"""How much a healthy file errs if each of its nodes is computed exactly and rounded once, against PyTorch.

Exports small architectures of other libraries with onnxproof and with torch's two exporters, and prints for
each file the larger of two shares: ``ratio_rms`` and ``ratio_max`` over their limits, first of ONNX Runtime,
then of the graph rounded once. The limit of the check ``digits`` stands on the last column.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from architectures.architecture import Architecture
from architectures.catalogue import architectures_of
from soundness.elsewhere.catalogue import BY_NAME
from soundness.elsewhere.files import DEFAULT, PLAIN, made

from onnxproof.steps.planning import settings_of
from onnxproof.validate.cases import materialise
from onnxproof.validate.facts import Facts
from onnxproof.validate.kernels import ask_nodes, rows_chosen
from onnxproof.validate.legs.exact_graph import ExactLeg
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.measure import Measurement
from onnxproof.validate.policy import RATIO_MAX, RATIO_RMS
from onnxproof.validate.sweep import measure
from onnxproof.validate.trial import Plan, Trial, plan_trial
from onnxproof.validate.verify import open_trial, verdicts_of

WAYS = (DEFAULT, *(way.name for way in PLAIN))


def over(measured: Measurement) -> float:
    """The larger of the two ratios, each over its limit."""
    return max(measured.ratio_rms / RATIO_RMS, measured.ratio_max / RATIO_MAX)


def rounded(file: Path, facts: Facts, trial: Trial, plan: Plan) -> float | str:
    """The largest share of the limits that the graph reaches, rounded once; why there is none, if so."""
    leg, graph = trial.candidates[0], trial.graphs[0].leg
    assert isinstance(leg, OrtLeg)
    assert isinstance(graph, ExactLeg)
    found = []
    for measured in facts.fields:
        field = next((one for one in plan.contract.fields if one.name == measured.name), None)
        case = next((one for one in trial.cases if one.name == measured.worst_case), None)
        if field is None or case is None or not measured.count:
            continue
        inputs = materialise(case, plan.contract.inputs, plan.contract.preprocess)
        limits = ((field, RATIO_MAX * measured.floor_max),)
        asked = ask_nodes(
            leg, file, inputs, graph.graph, leg.settings, limits, rows=rows_chosen(plan.contract)
        )
        if not asked.within:
            return asked.reason
        found.append(over(measured) * asked.once[0].share)
    return max(found, default="nothing was measured")


def rows(
    architecture: Architecture, folder: Path, ways: Sequence[str]
) -> Iterator[tuple[str, str, float, float | str]]:
    """The name, the way of export, and both shares of each file that is exported."""
    job, model = architecture.job(), architecture.model()
    for one in made(architecture, folder, lambda name: name in ways):
        if one.refusal:
            continue
        plan = plan_trial(model.contract, replace(settings_of(job), threads=1))
        trial = open_trial(model, [one.path], plan)
        (verdict,) = verdicts_of(model, [one.path], plan, trial, measure(trial))
        (facts,) = verdict.facts
        share = max((over(each) for each in facts.fields if each.count), default=0.0)
        yield architecture.name, one.way.name, share, rounded(one.path, facts, trial, plan)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--of", default="", help="a file of benchmarks/architectures, such as of_operators")
    parser.add_argument("--only", nargs="*", default=(), help="names of architectures")
    parser.add_argument(
        "--ways", nargs="*", default=WAYS, help="ways to export, of soundness/elsewhere/files.py"
    )
    given = parser.parse_args()
    known = architectures_of(given.of) if given.of else BY_NAME
    chosen = [known[name] for name in given.only] or known.values()
    most: list[float] = []
    measured: set[str] = set()
    for architecture in chosen:
        try:
            with tempfile.TemporaryDirectory() as folder:
                for name, way, share, once in rows(architecture, Path(folder), given.ways):
                    told = once if isinstance(once, str) else f"{once:.3g}"
                    print(f"{name} | {way} | {share:.3g} | {told}", flush=True)
                    if not isinstance(once, str):
                        most.append(once)
                        measured.add(name)
        except Exception as error:  # noqa: BLE001
            # A library that is not installed, or one that refuses its own network: any type at all.
            print(f"{architecture.name}: {type(error).__name__}: {error}".partition("\n")[0], flush=True)
    told = f"{min(most):.2g} to {max(most):.2g} of the limits" if most else "nothing was measured"
    print(f"{len(most)} files of {len(measured)} architectures, rounded once: {told}")


if __name__ == "__main__":
    main()
