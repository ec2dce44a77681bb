"""``onnxproof.bench``: how fast a bundle's file runs here, in turn with PyTorch and with other files."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxproof.contract import Contract
from onnxproof.deploy.contestant import Contestant, FailedError, OnnxFile, Opened
from onnxproof.deploy.rows import OWN, Figures, Refused, Row, row_of
from onnxproof.errors import PictureError, RequestError
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import MANIFEST_FILE, model_file
from onnxproof.runtime.loading import predictor_of
from onnxproof.runtime.preprocess import place
from onnxproof.runtime.session import CPU, SessionSettings, open_session, provider_names, provider_notes
from onnxproof.seeded import draw
from onnxproof.system.extras import require_extra
from onnxproof.system.signatures import checks_arguments
from onnxproof.tensors import Dim

Array = NDArray[Any]

ONNX = "onnx:"
TORCH, COMPILED = "torch", "torch.compile"

BUSY = 0.5
"""Running programs for each core, above which a note says that the machine is busy."""

DISAGREE = 0.5
"""A contestant is refused if an output differs from the bundle's by more than this share of that output's own
deviation (root mean square), or of a label output in more than this share of its values. What int8 costs is a
fifth of it; outputs that have nothing in common differ by 1.4."""
TINY = 1e-3
"""The deviation that an output counts with at least, as a share of its root mean square."""


@dataclass(frozen=True, slots=True)
class Torch:
    """The checkpoint of a bundle in PyTorch, rebuilt as ``validate`` does it."""

    module: ClassVar[str] = "onnxproof.steps.contestant"
    bundle: str
    checkpoint: str | None
    set: tuple[str, ...]
    trust: bool
    threads: int
    compiled: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is timed together."""

    contract: Contract
    sizes: Mapping[str, int]
    said: str
    batch: int
    threads: int


@checks_arguments
def bench(
    bundle: str | PathLike[str],
    *,
    against: Sequence[str] = (),
    batch: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    sizes: Sequence[Mapping[str, int]] = (),
    rounds: int = 30,
    providers: str | Sequence[str] = (CPU,),
    checkpoint: str | PathLike[str] | None = None,
    set: Sequence[str] = (),
    trust: bool = False,
    progress: Progress = silent,
) -> Figures:
    """Time a bundle's file, and others in turn with it, on the same noise.

    ``against`` names others: "torch" is the bundle's checkpoint in PyTorch, rebuilt as ``validate`` does it
    (``checkpoint``, ``set`` and ``trust`` are as there), "torch.compile" the same, compiled, and "onnx:PATH"
    another file. Each runs in a process of its own on so many ``threads``, and sleeps while others run. After
    a warm-up each round runs every one, in changing order; ratios are taken round by round, so that what
    slows the machine slows both sides. ``sizes`` has dynamic dimensions, such as {"height": 96, "width": 96};
    those that it leaves out have the size to which ``predict`` fits pictures, or their smallest. The files
    run on ``providers``.

    One whose outputs clearly disagree with the bundle's, or that does not run, is refused with the reason.

    Raises RequestError for a batch or a size that the bundle does not take, for another's name that is not
    known, or a provider that is not there; ModelFileError if a file cannot be loaded, or does not run on the
    bundle's inputs; and as ``validate`` does if the checkpoint cannot be rebuilt.
    """
    if rounds < 2 or not batch or not threads:
        raise RequestError("bench needs at least 2 rounds, one batch and one number of threads")
    own = model_file(bundle)
    settings = SessionSettings(provider_names(providers), in_turn=True)
    session = open_session(own, settings)
    contract = predictor_of(session, own).contract
    notes = [*provider_notes(session, settings), *_busy()]
    del session
    named = None if checkpoint is None else fspath(checkpoint)
    torch = Torch(fspath(bundle), named, tuple(set), trust, threads=1, compiled=False)
    known = _contestants(Path(bundle), own, against)
    chosen = sizes or ({},)
    plans = [_plan(contract, one, size, count) for count in threads for one in chosen for size in batch]
    rows: list[Row] = []
    refused: list[Refused] = []
    for number, plan in enumerate(plans):
        at = f"{plan.said}, " if plan.said else ""
        progress(f"{at}batch {plan.batch}, {plan.threads} threads", number, len(plans))
        whats: dict[str, Opened] = {
            name: replace(torch, threads=plan.threads, compiled=name == COMPILED)
            if file is None
            else OnnxFile(str(file), replace(settings, threads=plan.threads))
            for name, file in known.items()
        }
        found, left_out, told = _timed(plan, whats, rounds)
        rows += found
        refused += left_out
        notes += [note for note in told if note not in notes]
    return Figures(tuple(rows), tuple(refused), tuple(notes))


def _contestants(bundle: Path, own: Path, against: Sequence[str]) -> dict[str, Path | None]:
    """The file of each contestant, None for one in PyTorch."""
    known: dict[str, Path | None] = {OWN: own}
    for name in against:
        if name in known or not (name in (TORCH, COMPILED) or name.startswith(ONNX)):
            raise RequestError(
                f'--against {name}: expected "{TORCH}", "{COMPILED}" or "{ONNX}PATH", each once'
            )
        if name.startswith(ONNX):
            known[name] = model_file(name.removeprefix(ONNX))
            continue
        require_extra("export", f"bench --against {name}")
        if not (bundle / MANIFEST_FILE).is_file():
            raise RequestError(
                f"--against {name} rebuilds the checkpoint that a bundle names, and {bundle} is no bundle's "
                "folder: give the folder that export wrote"
            )
        known[name] = None
    return known


def _busy() -> list[str]:
    """A note if other programs keep the cores busy, as far as the system tells."""
    if not hasattr(os, "getloadavg"):
        return []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= BUSY * cores:
        return []
    return [f"{load:.1f} programs were running on {cores} cores before this: run it again on a quiet machine"]


def _timed(
    plan: _Plan, whats: Mapping[str, Opened], rounds: int
) -> tuple[list[Row], list[Refused], list[str]]:
    feeds = _inputs(plan)
    refused: list[Refused] = []
    notes: list[str] = []
    with ExitStack() as stack:
        racing: list[Contestant] = []
        for name, what in whats.items():
            try:
                one = stack.enter_context(Contestant(name, what, feeds, plan.threads))
                answered = one.ready.outputs
                reason = why_unlike(plan.contract, racing[0].ready.outputs, answered) if racing else ""
            except FailedError as error:
                if name == OWN:
                    raise RequestError(f"the bundle does not run ({error}): export the job again") from error
                reason = f"it does not run ({error})"
            if reason:
                refused.append(Refused(name, plan.said, plan.batch, plan.threads, reason))
                continue
            racing.append(one)
            notes += (f"{name}: {note}" for note in one.ready.notes)
        seconds: dict[str, list[list[float]]] = {one.name: [] for one in racing}
        for number in range(rounds):
            turn = number % len(racing)
            for one in racing[turn:] + racing[:turn]:
                seconds[one.name].append(one.turn())
        rows = [
            row_of(
                *(one.name, plan.said, plan.batch, plan.threads),
                *(seconds[one.name], seconds[OWN], one.ready.first, one.peak()),
            )
            for one in racing
        ]
    return rows, refused, notes


def why_unlike(contract: Contract, own: Sequence[Array], other: Sequence[Array]) -> str:
    """Why outputs clearly are another function's than the bundle's; empty if they may be the same's.

    How many rows there are may differ where that depends on the values.
    """
    if len(own) != len(other):
        return f"it has {len(other)} outputs, the bundle {len(own)}"
    known = {dim.name for dim in contract.dims}
    for spec, here, there in zip(contract.outputs, own, other, strict=True):
        free = [isinstance(axis, str) and axis not in known for axis in spec.shape]
        told = f"its output {spec.name} is {there.dtype}{list(there.shape)}, the bundle's {list(here.shape)}"
        if here.ndim != there.ndim or len(free) != here.ndim:
            return told
        if any(a != b and not may for a, b, may in zip(here.shape, there.shape, free, strict=True)):
            return told
        numbers = all(one.dtype.kind in "biuf" and one.size for one in (here, there))
        share = _difference(here, there) if numbers and here.shape == there.shape else 0.0
        if not share <= DISAGREE:
            return f"its output {spec.name} differs by {share:.0%}, at most {DISAGREE:.0%} may be a rounding"
    return ""


def _difference(here: Array, there: Array) -> float:
    if here.dtype.kind != "f":
        return float((here != there).mean())
    same = (here == there) | (np.isnan(here) & np.isnan(there))  # infinities, too
    apart = np.where(same, 0.0, there.astype(np.float64) - here)
    finite = here[np.isfinite(here)].astype(np.float64)
    if not same.all() and not finite.size:
        return float("inf")
    scale = max(float(finite.std()), TINY * float(np.sqrt((finite**2).mean()))) if finite.size else 1.0
    error = float(np.sqrt((apart**2).mean()))
    return error / scale if scale else float(error > 0)


def _plan(contract: Contract, chosen: Mapping[str, int], batch: int, threads: int) -> _Plan:
    """The sizes of the dynamic dimensions. Raises RequestError for one that the bundle does not take."""
    dims = {dim.name: dim for dim in contract.dims}
    sizes, axis = usual_sizes(contract), _batch_axis(contract)
    for name, size in chosen.items():
        if name not in dims:
            listed = ", ".join(dims) or "none"
            raise RequestError(f'--size {name}={size}: there is no "{name}"; there are: {listed}')
        if not dims[name].admits(size):
            raise RequestError(f"--size {name}={size}: the bundle takes {dims[name]}")
        if name == axis:
            raise RequestError(f"--size {name}={size}: {name} is the rows of a run: give --batch {size}")
        sizes[name] = size
    if axis is not None and dims[axis].admits(batch):
        sizes[axis] = batch
    elif batch != 1 or (axis is not None and not dims[axis].admits(1)):
        first = contract.inputs[0].shape[0] if contract.inputs and contract.inputs[0].shape else None
        taken = f", and takes {dims[axis]}" if axis is not None else ""
        raise RequestError(
            f"the bundle does not take a batch of {batch}: its first axis is {first}{taken}; leave {batch} "
            "out of --batch"
        )
    free = (dim.name for dim in contract.dims if not dim.fixed and dim.name != axis)
    said = ", ".join(f"{name}={sizes[name]}" for name in free)
    return _Plan(contract, sizes, said, batch, threads)


def _batch_axis(contract: Contract) -> str | None:
    """The dimension that is the first axis of the first input."""
    shape = contract.inputs[0].shape if contract.inputs else ()
    names = {dim.name for dim in contract.dims}
    return shape[0] if shape and isinstance(shape[0], str) and shape[0] in names else None


def usual_sizes(contract: Contract) -> dict[str, int]:
    """The size of each dimension: of a square picture as ``predict`` fits it, otherwise the smallest."""
    sizes = {dim.name: dim.min for dim in contract.dims}
    spec = contract.preprocess
    if spec is None:
        return sizes

    def declared(dim: Dim, side: int) -> int:
        return dim.floor(max(side, dim.min))

    width, height = (spec.width.min, spec.height.min)
    if spec.network is not None:
        height, width = spec.network
    else:
        try:
            width, height = place((spec.size, spec.size), spec).target
        except PictureError:  # no square fits
            return sizes
    for dim, side in ((spec.height, height), (spec.width, width)):
        if dim.name in sizes:
            sizes[dim.name] = declared(dim, side)
    return sizes


def _inputs(plan: _Plan) -> dict[str, Array]:
    """Noise in the range of each input."""
    random = np.random.default_rng(0)
    return {spec.name: draw(spec, plan.sizes, random) for spec in plan.contract.inputs}
