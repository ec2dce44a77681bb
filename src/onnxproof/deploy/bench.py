"""``onnxproof.bench``: how fast a bundle's file runs here, in turn with other files."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import model_file
from onnxproof.runtime.loading import predictor_of
from onnxproof.runtime.predictor import Predictor
from onnxproof.runtime.session import CPU, SessionSettings, first_line, open_session
from onnxproof.seeded import draw

Array = NDArray[Any]

WARM_UPS = 3
NOISY = 0.15
"""A ratio whose middle half of rounds spans more than this share of its median says nothing."""
OWN = "the bundle"
ONNX = "onnx:"


@dataclass(frozen=True, slots=True)
class Row:
    """One file at one batch and number of threads.

    ``p50``, ``p95`` and ``p99`` are of a run, in seconds; ``spread`` is the range of the middle half of the
    rounds, as a share of the median. ``throughput`` is rows a second. ``first`` is the time from opening the
    file to its first result, in seconds. ``ratio`` is the median over rounds of this file's time by the
    bundle's in the same round, and ``ratio_spread`` its spread; both are None for the bundle.
    """

    name: str
    batch: int
    threads: int
    p50: float
    p95: float
    p99: float
    spread: float
    throughput: float
    first: float
    ratio: float | None
    ratio_spread: float | None

    @property
    def noisy(self) -> bool:
        """Whether the machine was too noisy to tell."""
        return not (self.spread if self.ratio_spread is None else self.ratio_spread) <= NOISY

    def to_json(self) -> dict[str, Any]:
        """A JSON object of these; times are in milliseconds."""
        return {
            "name": self.name,
            "batch": self.batch,
            "threads": self.threads,
            **{f"{key}_ms": 1e3 * getattr(self, key) for key in ("p50", "p95", "p99", "first")},
            "spread": self.spread,
            "throughput": self.throughput,
            "ratio": self.ratio,
            "ratio_spread": self.ratio_spread,
            "noisy": self.noisy,
        }


def bench(
    bundle: str | PathLike[str],
    *,
    against: Sequence[str] = (),
    batch: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    rounds: int = 30,
    progress: Progress = silent,
) -> tuple[Row, ...]:
    """Time a bundle's file, and others in turn with it, on the same noise at the smallest declared sizes.

    ``against`` names other files, "onnx:PATH". After a warm-up each round runs every file once, in changing
    order; ratios are taken round by round, so that what slows the machine slows both sides.

    Raises RequestError for a batch that the bundle does not take, for another's name that is not known, or
    if another file does not run on the bundle's inputs, and ModelFileError if a file cannot be loaded.
    """
    if rounds < 2 or not batch or not threads:
        raise RequestError("bench needs at least 2 rounds, one batch and one number of threads")
    files = {OWN: model_file(bundle)}
    for name in against:
        if not name.startswith(ONNX) or name in files:
            raise RequestError(f'--against {name}: expected "{ONNX}PATH", each file once')
        files[name] = model_file(name.removeprefix(ONNX))
    rows: list[Row] = []
    for count in threads:
        for size in batch:
            progress(f"batch {size}, {count} threads", len(rows), 0)
            rows += _timed(files, size, count, rounds)
    return tuple(rows)


def _timed(files: Mapping[str, Path], batch: int, threads: int, rounds: int) -> list[Row]:
    # Sessions that take turns must not spin while they wait.
    settings = SessionSettings((CPU,), threads, in_turn=True)
    sessions, first = {}, {}
    feeds: dict[str, Array] = {}
    for name, file in files.items():
        start = time.perf_counter()
        sessions[name] = open_session(file, settings)
        if name == OWN:
            opened = time.perf_counter() - start
            feeds = _inputs(predictor_of(sessions[name], file), batch)
            start = time.perf_counter() - opened
        _run(sessions[name], feeds, file)
        first[name] = time.perf_counter() - start
    for _ in range(WARM_UPS):
        for name, session in sessions.items():
            _run(session, feeds, files[name])
    names = list(files)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.perf_counter()
            sessions[name].run(None, feeds)
            seconds[name].append(time.perf_counter() - start)
    return [_row(name, batch, threads, seconds[name], seconds[OWN], first[name]) for name in names]


def _row(
    name: str, batch: int, threads: int, own: Sequence[float], base: Sequence[float], first: float
) -> Row:
    p50, p95, p99 = (float(value) for value in np.percentile(own, (50, 95, 99)))
    ratios = None if name == OWN else [a / b for a, b in zip(own, base, strict=True)]
    return Row(
        *(name, batch, threads, p50, p95, p99, _spread(own), batch / p50, first),
        None if ratios is None else statistics.median(ratios),
        None if ratios is None else _spread(ratios),
    )


def _spread(values: Sequence[float]) -> float:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)


def _inputs(predictor: Predictor, batch: int) -> dict[str, Array]:
    """Noise in the range of each input, at the smallest declared sizes but the batch's."""
    contract = predictor.contract
    sizes = {dim.name: dim.min for dim in contract.dims}
    axis = contract.inputs[0].shape[0] if contract.inputs[0].shape else None
    dims = {dim.name: dim for dim in contract.dims}
    if isinstance(axis, str) and axis in dims and dims[axis].admits(batch):
        sizes[axis] = batch
    elif batch != 1:
        taken = f", and takes {dims[axis]}" if isinstance(axis, str) and axis in dims else ""
        raise RequestError(
            f"the bundle does not take a batch of {batch}: its first axis is {axis}{taken}; leave {batch} "
            "out of --batch"
        )
    random = np.random.default_rng(0)
    return {spec.name: draw(spec, sizes, random) for spec in contract.inputs}


def _run(session: Any, feeds: Mapping[str, Array], file: Path) -> None:
    try:
        # ONNX Runtime's exceptions have no common public base below Exception.
        session.run(None, dict(feeds))
    except Exception as error:
        listed = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
        raise ModelFileError(
            f"{file} does not run on {listed} ({first_line(error)}): give a file with the bundle's inputs"
        ) from error
