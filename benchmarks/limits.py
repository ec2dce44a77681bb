"""Where the verdict's limits stand: between the ratios of healthy exports and those of planted faults.

Exports the demo in every combination of layout, exporter, simplifier and folding, measures each against
PyTorch, then damages one export in several ways and degrees and measures those. Prints the largest
ratios of the healthy ones and the smallest of the damaged ones, beside the limits in the code, and what
the usual check says of the same file: one random tensor, ``numpy.allclose`` with rtol = atol = 1e-5.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxproof.job import Job, load_job
from onnxproof.pipeline import build_model, make_graph
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.legs import OrtLeg
from onnxproof.validate.limits import RATIO_MAX, RATIO_RMS
from onnxproof.validate.torch_legs import TorchLeg
from onnxproof.validate.verify import validate_file
from onnxproof.wrappers._family import WrappedModel

CONFIG = Path(__file__).parents[1] / "configs" / "digits-yolox.toml"
SMALL = ('dims.height="64..256 step 32"', 'dims.width="64..256 step 32"', "dims.batch=1..4")
SETTINGS = (*SMALL, "validate.effort=quick", "validate.threads=1")


@dataclass(frozen=True, slots=True)
class Row:
    """One file: the largest ratios over its fields, and the verdict."""

    name: str
    rms: float
    maximum: float
    verdict: str
    usual: bool


def measure(name: str, job: Job, model: WrappedModel, proto: onnx.ModelProto, folder: Path) -> Row:
    file = folder / "model.onnx"
    onnx.save(proto, file)
    verdict = validate_file(model, file, job.validation, folder=job.folder)
    fields = verdict.facts[0].fields
    row = Row(
        name,
        max(field.ratio_rms for field in fields),
        max(field.ratio_max for field in fields),
        verdict.status,
        usual_check(model, file),
    )
    usual = "pass" if row.usual else "fail"
    print(f"| {row.name} | {row.rms:.3g} | {row.maximum:.3g} | {row.verdict} | {usual} |", flush=True)
    return row


def usual_check(model: WrappedModel, file: Path) -> bool:
    """Whether one random tensor is answered alike, element by element."""
    case = Case("random", {"batch": 1, "height": 256, "width": 256}, "noise", 0)
    arrays = materialise(case, model.inputs, model.preprocess)
    wanted = TorchLeg(model.module, torch.float32, model.outputs, 1).run(arrays).outputs
    found = OrtLeg(file, ["CPUExecutionProvider"], 1).run(arrays).outputs
    return all(np.allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5) for name in wanted)


def healthy(folder: Path) -> Iterator[Row]:
    for decode, exporter, simplify, fold in itertools.product(
        ("packed", "split", "none"), ("torch.export", "torchscript"), ("onnxsim", "none"), (True, False)
    ):
        overrides = (
            *SETTINGS,
            f"wrapper.decode={decode}",
            f"export.exporter={exporter}",
            f"export.simplify={simplify}",
            f"export.fold_batch_norms={str(fold).lower()}",
        )
        job = load_job(CONFIG, overrides)
        model, _ = build_model(job)
        name = f"{decode}, {exporter}, simplify {simplify}, {'folded' if fold else 'not folded'}"
        yield measure(name, job, model, make_graph(job, model).proto, folder)


Change = Callable[[NDArray[Any]], NDArray[Any]]


def edit(proto: onnx.ModelProto, change: Change, position: int | None = None) -> onnx.ModelProto:
    """A copy with one convolution's weight changed, or all of them where ``position`` is None."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    names = [node.input[1] for node in changed.graph.node if node.op_type == "Conv"]
    chosen = set(names if position is None else names[position : position + 1])
    for tensor in changed.graph.initializer:
        if tensor.name in chosen:
            values = change(numpy_helper.to_array(tensor).copy()).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return changed


def largest_scaled(factor: float) -> Change:
    def change(values: NDArray[Any]) -> NDArray[Any]:
        values.reshape(-1)[np.argmax(np.abs(values))] *= factor
        return values

    return change


def bfloat16(values: NDArray[Any]) -> NDArray[Any]:
    rounded: NDArray[Any] = torch.from_numpy(values).bfloat16().float().numpy()
    return rounded


def damaged(folder: Path) -> Iterator[Row]:
    job = load_job(CONFIG, (*SETTINGS, "export.exporter=torchscript"))
    model, _ = build_model(job)
    proto = make_graph(job, model).proto
    faults: Sequence[tuple[str, Change, int | None]] = (
        ("all weights rounded to bfloat16", bfloat16, None),
        ("all weights rounded to float16", lambda values: values.astype(np.float16), None),
        ("one tensor rounded to float16", lambda values: values.astype(np.float16), 20),
        ("one tensor x 1.001", lambda values: values * 1.001, 20),
        ("one tensor x 1.0001", lambda values: values * 1.0001, 20),
        ("one tensor x 1.00001", lambda values: values * 1.00001, 20),
        ("one number of one tensor x 1.01", largest_scaled(1.01), 20),
        ("one number of one tensor x 1.001", largest_scaled(1.001), 20),
        ("one number of one tensor x 1.0001", largest_scaled(1.0001), 20),
    )
    for name, change, position in faults:
        yield measure(name, job, model, edit(proto, change, position), folder)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    header = (
        "| largest rms ratio | largest max ratio | verdict | usual check |\n| --- | ---: | ---: | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"| healthy export {header}")
        good = list(healthy(folder))
        print(f"\n| damaged file {header}")
        bad = list(damaged(folder))
    print(
        f"\nhealthy: rms ratio {min(row.rms for row in good):.2f} to {max(row.rms for row in good):.2f} "
        f"(limit {RATIO_RMS:g}), max ratio {min(row.maximum for row in good):.2f} to "
        f"{max(row.maximum for row in good):.2f} (limit {RATIO_MAX:g}); "
        f"{sum(row.verdict == 'pass' for row in good)} of {len(good)} pass, "
        f"{sum(row.verdict == 'fail' for row in bad)} of {len(bad)} damaged files fail; "
        f"the usual check passes {sum(row.usual for row in good)} and {sum(row.usual for row in bad)}"
    )


if __name__ == "__main__":
    main()
