"""What rounding costs a file in int8, what healthy runtimes err beside that, and which faults a kit finds.

The file is the demo's detector with all parts lowered that may be, on scenes of 256 x 256 and on noise of 64
to 256 pixels. DIR is that of ``precision.py``, which keeps the pictures and the export for later runs.

    python benchmarks/deployed.py DIR [--threads 2]

A runtime that is absent is named and left out. ONNX Runtime Web is found in a node_modules of this folder, of
one above it, or in NODE_PATH.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from lowered.planted import FAULTS, activation_times, damaged, judged
from lowered.report import span
from lowered.subject import subject_of
from numpy.typing import NDArray

import onnxproof
from onnxproof.contract import Contract
from onnxproof.runtime.folder import MODEL_FILE, read_manifest
from onnxproof.runtime.metadata import metadata_in
from onnxproof.runtime.session import CPU
from onnxproof.validate.cases import Case, materialise, native_case
from onnxproof.validate.golden.found import Recorded, golden_in
from onnxproof.validate.golden.moved import values_apart
from onnxproof.validate.legs.file_a import return_also, unoptimized
from onnxproof.validate.legs.leg import Arrays, Leg
from onnxproof.validate.legs.lowered_file import QUANTIZE, LoweredRuns
from onnxproof.validate.legs.onnx_runtime import OrtLeg
from onnxproof.validate.measure import ErrorPool, Measurement
from onnxproof.validate.pools import channels
from onnxproof.validate.runtimes.asked import opened, plan_runtimes

SIZES = ("dims.batch='1..2'", "dims.height='64..256 step 32'", "dims.width='64..256 step 32'")
"""What is set beside the job of ``precision.py``, which is of one size, so that some inputs are small."""
LOWERED = ("precision.search=false", "precision.budget.changed=0.05", "validate.effort='normal'")
"""All parts are lowered that may be, and the budget lets that pass."""

BOX, SCORE = "box_xy", "score"
NAMES = {"ort-web": "ONNX Runtime Web", "reference": "onnx's reference evaluator"}
PLAIN, OPENVINO = "ONNX Runtime, none", "OpenVINO in float32"
SHARES = ("2^-20", "2^-16")
PICTURES, AGREES_PX = 12, 1e-4
"""How many pictures are looked at one by one, and which rms error of a box's corner is none."""

NOISE = [Case(f"noise {seed}", {"batch": 1, "height": 128, "width": 128}, "noise", seed) for seed in range(8)]

Array = NDArray[Any]


def bundle_of(job: Path, folder: Path, threads: int) -> Path:
    """The bundle in int8, exported if it is not there."""
    bundle = folder / "deployed" / "demo-int8"
    if not (bundle / "golden.npz").exists():
        onnxproof.export(job, out=bundle.parent, set=(*SIZES, *LOWERED, f"validate.threads={threads}"))
    return bundle


def legs_of(file: Path, contract: Contract, threads: int) -> dict[str, Leg]:
    """The runtimes that are there, by their names in the table."""
    asked = ("ort", "ort-web", "reference", "openvino", "openvino-auto")
    found = opened(plan_runtimes(asked), file, contract, threads)
    for check in found.skipped:
        print(f"{check.leg} is left out: {check.reason}")
    return {_named(leg): leg for leg in found.legs}


def _named(leg: Leg) -> str:
    if leg.name.startswith("openvino"):
        return f"OpenVINO in {getattr(leg, 'precision', '')}"
    return NAMES.get(leg.name, f"ONNX Runtime, {leg.name.removeprefix('ort-cpu').lstrip('-') or 'all'}")


def measured(contract: Contract, pairs: Sequence[tuple[Arrays, Arrays]]) -> dict[str, Measurement]:
    """The errors of the fields. Each pair is the graph's outputs in float64 and a runtime's."""
    found = {}
    for entry in contract.fields:
        if entry.kind != "label":
            pool = ErrorPool(entry.name, entry.unit)
            for exact, own in pairs:
                truth, values = (channels(of[entry.output], entry) for of in (exact, own))
                pool.add("", truth, values, values)
            found[entry.name] = pool.result()
    return found


def print_errors(recorded: Recorded, runs: LoweredRuns, legs: Mapping[str, Leg]) -> None:
    """What the draws and the runtimes err on the recorded cases."""
    contract, golden = recorded.contract, recorded.golden
    exact = [one.oracle.outputs for one in golden.cases if one.oracle is not None]
    inputs = [one.inputs for one in golden.cases if one.oracle is not None]
    draws = zip((f"the draws ({share})" for share in SHARES), runs.moved(), strict=False)
    rows: dict[str, Sequence[Leg]] = {**dict(draws), **{name: (leg,) for name, leg in legs.items()}}
    alike: dict[str, list[str]] = {}
    answers: dict[str, list[Arrays]] = {}
    for name, group in rows.items():
        for leg in group:
            answers[leg.name] = [leg.run(one).outputs for one in inputs]
        pairs = [[*zip(exact, answers[leg.name], strict=True)] for leg in group]
        found = [measured(contract, one) for one in pairs]
        counts = [[values_apart(contract, *pair) for pair in one] for one in pairs]
        shares = [100 * sum(n for _, n in one) / sum(n for n, _ in one) for one in counts]
        ratios = [
            max(of.rms_candidate / golden.floors.fields[field].rms for field, of in one.items())
            for one in found
        ]
        cells = (
            span([one[BOX].rms_candidate for one in found], ".2f"),
            span([one[SCORE].max_candidate for one in found]),
            span(ratios),
            f"{span(shares, '.0f')} %",
        )
        alike.setdefault(" | ".join(cells), []).append(name)
    print(f"\n{len(inputs)} cases: {', '.join(one.case.name for one in golden.cases)}\n")
    print("| | box | score | rms, of what rounding costs | values that are not the graph's |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for told, names in alike.items():
        print(f"| {'; '.join(names)} | {told} |", flush=True)
    own = answers[legs["ONNX Runtime, all"].name]
    for name in (one for one in (PLAIN, OPENVINO) if one in legs):
        apart = measured(contract, [*zip(own, answers[legs[name].name], strict=True)])[BOX].rms_candidate
        print(f"{name}, and ONNX Runtime, all: boxes {apart:.2f} px rms apart")


def print_pictures(
    contract: Contract, runs: LoweredRuns, legs: Mapping[str, Leg], pictures: Sequence[Path]
) -> Arrays:
    """On how many pictures runtimes agree with the graph. Returns the one on which ONNX Runtime errs most."""
    assert contract.preprocess is not None
    cases = [native_case(path, contract.preprocess, contract.dims)[0] for path in pictures]
    inputs = [materialise(case, contract.inputs, contract.preprocess) for case in cases]
    exact = [runs.graph.run(one).outputs for one in inputs]
    print(f"\n| runtime | agrees to {AGREES_PX:g} px | there, px rms | elsewhere, px rms |")
    print("| --- | ---: | ---: | ---: |")
    worst, largest = inputs[0], 0.0
    for name, leg in legs.items():
        errors = []
        for one, truth in zip(inputs, exact, strict=True):
            errors.append(measured(contract, [(truth, leg.run(one).outputs)])[BOX].rms_candidate)
            if name == PLAIN and errors[-1] > largest:
                worst, largest = one, errors[-1]
        parts = [one for one in errors if one <= AGREES_PX], [one for one in errors if one > AGREES_PX]
        cells = " | ".join(span(part) if part else "" for part in parts)
        print(f"| {name} | on {len(parts[0])} of {len(errors)} pictures | {cells} |", flush=True)
    return worst


def print_steps(file: Path, runs: LoweredRuns, inputs: Arrays, threads: int) -> None:
    """How many integers differ by a step between ONNX Runtime without optimization and the graph."""
    proto = onnx.load(file)
    names = [node.output[0] for node in proto.graph.node if node.op_type == QUANTIZE]
    return_also(proto, names)
    found = unoptimized(proto, (CPU,), threads).run(inputs).outputs
    exact: dict[str, Array] = {}

    def watch(step: Any, _: object, writes: Sequence[Any]) -> None:
        exact.update(
            zip(step.writes, map(np.asarray, writes), strict=True) if step.writes[0] in names else ()
        )

    runs.graph.evaluate(inputs, watch)
    apart = [int(np.count_nonzero(exact[name] != found[name])) for name in names]
    shares = [100 * count / exact[name].size for count, name in zip(apart, names, strict=True)]
    first = next((place for place, count in enumerate(apart) if count), 0)
    print("\non the picture where they differ most, numbers of another step:")
    for place in (first, int(np.argmax(shares))):
        told = f"{apart[place]:,} of {exact[names[place]].size:,} ({shares[place]:.2g} %)"
        print(f"quantised tensor {place + 1} of {len(names)}: {told}")


def print_faults(bundle: Path, threads: int) -> None:
    """What a kit says of planted faults."""
    print("\n| fault | largest ratio, rms | decisions | verdict |\n| --- | ---: | --- | --- |")
    with TemporaryDirectory() as temporary:
        folder, file = Path(temporary), bundle / MODEL_FILE
        kit = onnxproof.kit(bundle, out=folder / "kit")
        for fault in FAULTS:
            files = (file,) if fault.change is None else damaged(file, fault.change, folder)
            verdicts = [judged(kit, one, fault, folder, threads) for one in files]
            ratios = [max(field.ratio_rms for field in one.facts[0].fields) for one in verdicts]
            decided = [one.facts[0].decisions for one in verdicts]
            defects = max(0 if one is None else one.defect_count for one in decided)
            matched = min(0 if one is None else one.matched for one in decided)
            failed = sum(not one.passed for one in verdicts)
            told = f"fails in {failed} of {len(verdicts)} layers"
            if failed in (0, len(verdicts)):
                told = "fail" if failed else "pass"
            found = f"{defects} defect{'s' if defects > 1 else ''}" if defects else f"{matched} matched"
            found = f"up to {found}" if defects and len(verdicts) > 1 else found
            print(f"| {fault.what} | {span(ratios)} | {found} | {told} |", flush=True)


def print_noise(
    file: Path, contract: Contract, runs: LoweredRuns, legs: Mapping[str, Leg], threads: int
) -> None:
    """In which share of the values runtimes part from the graph, and files with a coarser step."""
    inputs = [materialise(case, contract.inputs, contract.preprocess) for case in NOISE]
    pairs = [(one, runs.graph.run(one).outputs) for one in inputs]

    def told(name: str, leg: Leg) -> None:
        found = [values_apart(contract, truth, leg.run(one).outputs) for one, truth in pairs]
        each = span([100 * apart / values for values, apart in found], ".0f")
        whole = 100 * sum(apart for _, apart in found) / sum(values for values, _ in found)
        print(f"| {name} | {whole:.0f} % | {each} % |", flush=True)

    print(f"\n| on {len(NOISE)} inputs of noise, 128 x 128 | not the graph's, of all | of each input's |")
    print("| --- | ---: | ---: |")
    for name, leg in legs.items():
        told(name, leg)
    with TemporaryDirectory() as folder:
        for copy in damaged(file, activation_times(4), Path(folder)):
            told("an activation's scale times 4", OrtLeg(copy, (CPU,), threads))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a file in int8 where it is deployed.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    folder, threads = options.folder, options.threads
    folder.mkdir(parents=True, exist_ok=True)
    bundle = bundle_of(subject_of("demo", folder, None, threads).job, folder, threads)
    file = bundle / MODEL_FILE
    recorded = golden_in(bundle, read_manifest(bundle), metadata_in(file))
    assert isinstance(recorded, Recorded), recorded
    contract, legs = recorded.contract, legs_of(file, recorded.contract, threads)
    runs = LoweredRuns(file, contract.fields, OrtLeg(file, (CPU,), threads), "int8", threads)
    print_errors(recorded, runs, legs)
    print(f"a note: {onnxproof.selftest(bundle, threads=threads).notes[0]}")
    pictures = sorted((folder / "scenes-256" / "judged").glob("*.png"))[:PICTURES]
    print_steps(file, runs, print_pictures(contract, runs, legs, pictures), threads)
    print_noise(file, contract, runs, legs, threads)
    print_faults(bundle, threads)


if __name__ == "__main__":
    main()
