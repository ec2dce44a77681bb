"""What a sweep costs beside the inference that it cannot do without, and whether its memory grows.

Wall time of a sweep over the demo against the bare sum of its legs' inference on the same inputs (made
beforehand), taking turns in one process: the model in float64 and in float32, the file, and its graph in
float64 on the cases on which that is evaluated. To open the graph and to prove its constants is timed apart.
Then the peak of Python's and NumPy's memory of a sweep over
few and over many cases (tracemalloc, which sees neither PyTorch's nor ONNX Runtime's own).
"""

import argparse
import tempfile
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from _rounds import take_turns

from onnxproof.export.make import make_graph
from onnxproof.export.model import build_model
from onnxproof.job import load_job
from onnxproof.source import find_pictures
from onnxproof.steps.planning import settings_of
from onnxproof.validate.cases import Case, materialise, plan
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.legs.pytorch import OracleLeg, TorchLeg, torch_truth
from onnxproof.validate.sweep import sweep
from onnxproof.validate.trial import plan_trial
from onnxproof.validate.verify import open_trial

CONFIG = Path(__file__).parents[1] / "configs" / "digits-yolox.toml"
THREADS = 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(THREADS)
    job = load_job(CONFIG)
    model, _ = build_model(job)
    pictures = find_pictures(job.validation.images, job.folder)
    cases = plan(model.contract.dims, model.contract.preprocess, pictures, "quick", 0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(make_graph(job, model).proto, file)
        settings = replace(settings_of(job), effort="quick", threads=THREADS)
        planned = replace(plan_trial(model.contract, settings), cases=cases)
        trial = open_trial(model, (file,), planned)
        (graph,) = trial.graphs
        legs: list[Leg] = [OracleLeg(model, THREADS), TorchLeg(model, THREADS), *trial.candidates]
        inputs = {
            case.name: materialise(case, model.contract.inputs, model.contract.preprocess) for case in cases
        }

        def bare() -> None:
            for name, arrays in inputs.items():
                for leg in (*legs, graph.leg) if name in graph.cases else legs:
                    leg.run(arrays)

        def whole(chosen: Sequence[Case] = cases) -> None:
            truth = torch_truth(model, chosen[0], THREADS)
            sweep(replace(trial, truth=truth, cases=tuple(chosen)))

        def opened() -> None:
            open_trial(model, (file,), planned)

        contestants = {"inference of the four legs": bare, "sweep": whole, "opening the legs": opened}
        inference, swept, opening = take_turns(contestants, rounds)
        print(f"{len(cases)} cases\n\n| | median s | ratio |\n| --- | ---: | ---: |")
        print(f"| {inference.name} | {inference.median:.2f} | 1 |")
        print(f"| {swept.name} | {swept.median:.2f} | {swept.over(inference):.3f} (asked: 1.15 or less) |")
        print(f"| {opening.name} | {opening.median:.2f} | {opening.over(inference):.3f} |")
        print(f"\nThe graph is evaluated on {len(graph.cases)} cases.")
        print("\n| cases | peak MiB |\n| ---: | ---: |")
        small = [case for case in cases if case.sizes["height"] <= 96 and case.sizes["width"] <= 96]
        for times in (1, 4, 16):
            tracemalloc.start()
            whole(small * times)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(f"| {len(small) * times} | {peak / 2**20:.2f} |")


if __name__ == "__main__":
    main()
