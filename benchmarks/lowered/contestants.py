"""Who makes files of lower precision."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader

import onnxproof
from lowered.subject import Subject, silent
from onnxproof.export.model import build_model
from onnxproof.export.quantize import static
from onnxproof.job.asked import calibrating_of
from onnxproof.runtime.folder import MODEL_FILE
from onnxproof.steps.makers import maker_of
from onnxproof.steps.searching import search

OURS, SEARCHED = "ours, int8, without a search", "ours, int8, with the search"
DEFAULTS, NNCF = "ONNX Runtime's defaults, int8", "NNCF with accuracy control, int8"
FP16 = "ours, fp16"

NNCF_SECONDS = 600
"""After so long NNCF is stopped."""

Make = Callable[[Subject, Path], None]
"""Writes a subject's file of lower precision."""


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one after the other."""

    def __init__(self, inputs: Sequence[dict[str, NDArray[Any]]]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def ours(subject: Subject, made: Path) -> None:
    """int8 as the job makes it, without a search: per channel, heads and decoding in float32."""
    calibrated = static.calibrate(static.prepared(subject.file), subject.inputs, "minmax")
    network = calibrated.network
    heads = [node for block in network.blocks if block.layer in network.heads for node in block.nodes]
    onnx.save(static.quantised(calibrated, heads), made)


def searched(subject: Subject, made: Path) -> None:
    """int8 with as few layers in float32 as meet the budget. The curve is kept beside the file."""
    job = subject.asked
    model, _ = build_model(job)
    maker = maker_of(job, model, subject.file, calibrating_of(job), silent)

    def write(kept: Sequence[str], into: Path) -> None:
        onnx.save(maker.make(kept), into / MODEL_FILE)

    chosen = search(job, maker, subject.exam, subject.file, write, silent)
    found = None if chosen.figures is None else chosen.figures.search
    curve = {"tries": chosen.tries, **({} if found is None else asdict(found))}
    curve_of(subject).write_text(json.dumps(curve), encoding="utf-8")
    onnx.save(maker.make(chosen.kept), made)


def curve_of(subject: Subject) -> Path:
    """Where a search says what it tried."""
    return subject.job.with_name(f"{subject.job.stem}-curve.json")


def defaults(subject: Subject, made: Path) -> None:
    """``quantize_static`` as it comes, but for uint8 activations, which its documentation asks for on x86."""
    quantize_static(
        str(subject.file),
        str(made),
        Reader(subject.inputs),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def fp16(subject: Subject, made: Path) -> None:
    """The network in float16 before capture."""
    asked = ["precision.mode=fp16", "precision.search=false"]
    bundle = onnxproof.export(subject.job, out=made.parent / "fp16", set=asked, validate=False)
    assert bundle.lowered is not None
    onnx.save(onnx.load(bundle.lowered.path / MODEL_FILE), made)


def nncf(python: str) -> Make:
    """NNCF in another interpreter."""

    def make(subject: Subject, made: Path) -> None:
        script = Path(__file__).with_name("control.py")
        command = [python, str(script), str(subject.job), str(subject.file), str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=NNCF_SECONDS, check=False)
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(f"not done after {NNCF_SECONDS} s") from late
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])

    return make


def contestants(python: str | None) -> Mapping[str, Make]:
    """The contestants by their names, the slowest last. NNCF only with an interpreter that has it."""
    others = {} if python is None else {NNCF: nncf(python)}
    return {OURS: ours, DEFAULTS: defaults, FP16: fp16, **others, SEARCHED: searched}
