"""What a file of lower precision costs: decisions, bytes and time."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from _rounds import take_turns
from numpy.typing import NDArray

from lowered.contestants import SEARCHED, curve_of
from lowered.subject import Subject
from onnxproof.runtime.folder import data_of
from onnxproof.runtime.session import SessionSettings, open_session
from onnxproof.steps.budgeted import budget_of, opened
from onnxproof.validate.budget.judge import judge_budget
from onnxproof.validate.verdict import conclude

ROUNDS, WARM_UP = 21, 3

Inputs = dict[str, NDArray[Any]]


def judged(subject: Subject, contestant: str, file: Path) -> dict[str, Any]:
    """What a file decides beside PyTorch in float32.

    A file that a search chose among many is held to the stricter confidence of that search.
    """
    found = subject.exam.take(opened(subject.asked, file))
    tries = (
        json.loads(curve_of(subject).read_text(encoding="utf-8"))["tries"] if contestant == SEARCHED else 1
    )
    checks = judge_budget(found, budget_of(subject.asked).among(tries))
    moved = {one.quantity: round(one.largest, 3) for one in found.tally.moved}
    quality = found.quality[0]
    return {
        "size": round(_bytes(file) / _bytes(subject.file), 3),
        "decisions": found.tally.decisions,
        "changed": found.tally.changed,
        **moved,
        "quality": round(quality.candidate - quality.reference, 4),
        "reference": round(quality.reference, 4),
        "budget": conclude(checks),
        "beyond": [one.name for one in checks if one.status in ("fail", "error")],
    }


def timed(subject: Subject, file: Path, threads: int) -> dict[str, float]:
    """How long a file takes, of the float32 file's time: paired, in turn and without spinning.

    A model with a larger side is timed there, too.
    """
    inputs, large = subject.inputs[0], subject.model.large
    time, milliseconds = _ratio(subject.file, file, inputs, threads)
    told = {"time": time, "float32_ms": milliseconds}
    if large is None:
        return told
    with TemporaryDirectory() as folder:
        base, other = (Path(folder) / name for name in ("float32.onnx", "lowered.onnx"))
        _enlarge(subject.file, large, base)
        _enlarge(file, large, other)
        noise = np.random.default_rng(0)
        wide = {
            name: noise.uniform(value.min(), value.max(), (1, 3, large, large)).astype(value.dtype)
            for name, value in inputs.items()
        }
        time, milliseconds = _ratio(base, other, wide, threads)
    return {**told, "large_time": time, "large_float32_ms": milliseconds}


def _ratio(base: Path, other: Path, inputs: Inputs, threads: int) -> tuple[float, float]:
    """The other file's time over that of the base, and the base's in milliseconds."""
    settings = SessionSettings(threads=threads, in_turn=True)

    def run(file: Path) -> Callable[[], object]:
        session = open_session(file, settings)
        return lambda: session.run(None, inputs)

    first, second = take_turns({"base": run(base), "other": run(other)}, ROUNDS, WARM_UP)
    return round(second.over(first), 3), round(1e3 * first.median, 1)


def _enlarge(source: Path, side: int, into: Path) -> None:
    """The same convolutions for larger pictures."""
    model = onnx.load(source)
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_value = side
    del model.graph.value_info[:]
    onnx.save(model, into)


def _bytes(file: Path) -> int:
    return sum(one.stat().st_size for one in (file, data_of(file)) if one.exists())
