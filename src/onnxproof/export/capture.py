"""Turn a wrapped model into an ONNX graph, by the first way that works.

The ways are rungs of a ladder: torch.export as it follows Python, torch.export as it follows bytecode
("strict"), and TorchScript. Each runs in a process of its own with a time limit, so that a rung that hangs or
crashes costs that rung alone.
"""

import contextlib
import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import onnx
import torch
from torch import nn

from onnxproof.errors import ExitCalledError, ExportError, OnnxproofError, UserCodeError
from onnxproof.export.child import CAN_FORK, Apart, ChildError, RaisedThereError, Result, run_apart
from onnxproof.export.diagnosis import diagnosis
from onnxproof.export.finish import NO_FOLDS, name_outputs
from onnxproof.export.fold import Folding
from onnxproof.export.frozen import all_followed, apart, find_frozen, followed_alone
from onnxproof.export.reasons import UntracedError, all_failed
from onnxproof.export.torch_export import CustomOps, with_torch_export
from onnxproof.export.torchscript import Warned, with_torchscript
from onnxproof.job import CAPTURE_TIMEOUT_S, OLDEST_TORCH_EXPORT_OPSET
from onnxproof.runtime.manifest import Frozen
from onnxproof.system.imports import collector_paused
from onnxproof.wrappers.attention import without_causal_test, without_fast_path
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import bytes_of

Exporter = Literal["torch.export", "torchscript"]
Made = tuple[onnx.ModelProto, tuple[Frozen, ...]]
Onward = Callable[[onnx.ModelProto], onnx.ModelProto]

DIAGNOSIS_S = 60.0
"""Seconds that torch.export's draft mode may take to name lines of code. It can take far longer than a
capture."""

NO_CUSTOM_OPS: CustomOps = MappingProxyType({})

LARGEST_HELD = 2**27
"""Bytes of a module's tensors up to which its graph holds them in memory. Those of a larger one are left on
the disk: a graph is copied several times on its way into a file."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """An ONNX graph and the rung that made it, such as "torch.export" or "torch.export, strict".

    ``reasons`` say why the rungs before it did not make it. ``frozen`` are the places where a trace froze
    what Python computed. ``folder`` has the large tensors of a large model, and is None for any other.
    ``folds`` has the norm that was folded into each convolution, by their names. ``onward`` is the process
    that captured, if it is at work on what the ladder's ``onward`` makes of the graph.
    """

    proto: onnx.ModelProto
    exporter: str
    reasons: tuple[str, ...] = ()
    frozen: tuple[Frozen, ...] = ()
    folder: Path | None = None
    folds: Mapping[str, str] = field(default_factory=dict)
    onward: Apart[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What a rung is asked to capture; ``Ladder`` says what the options mean.

    ``again`` makes the module as it was before the capture.
    """

    model: WrappedModel
    module: nn.Module
    again: Callable[[], nn.Module]
    opset: int
    optimize: bool
    custom_ops: CustomOps
    folder: Path | None


@dataclass(frozen=True, slots=True)
class Rung:
    """A way to capture a model. ``retries`` is True if it helps only where torch.export could not follow the
    module's code."""

    name: str
    exporter: Exporter
    make: Callable[[_Work], Made]
    retries: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """A rung, with or without torch's optimizer, that a process is at, and where it leaves large tensors."""

    rung: Rung
    optimize: bool
    place: Path | None
    process: Apart[Any]


class Ladder:
    """The ways to capture the model, from the first to the last.

    ``folding`` makes what is captured in place of the model's own module. Whether it holds is found out while
    the first rung captures, and if it does not, the model's own module is captured after all. ``optimize``
    runs the optimizer of torch's own exporter. It takes a third of the export's time, which is wasted if a
    simplifier runs afterwards. ``limit_s`` is how many seconds a rung may take. ``folder`` is where the rungs
    leave the tensors of a large model; without it they are held in memory. ``custom_ops`` are the user's own
    translations of operators, for torch.export's program. ``onward`` is done with the graph of a model that
    is not large, by the process that captured it, once that has handed the graph over.
    """

    def __init__(
        self,
        model: WrappedModel,
        folding: Folding | None,
        exporter: Exporter | Literal["auto"],
        opset: int,
        *,
        optimize: bool,
        limit_s: float,
        folder: Path | None = None,
        custom_ops: CustomOps = NO_CUSTOM_OPS,
        onward: Onward | None = None,
    ) -> None:
        self._folding = folding
        self._model, self._opset = model, opset
        self._limit_s = limit_s
        self._custom_ops, self._onward = custom_ops, onward
        self._errors: list[OnnxproofError] = []
        self._skipped: list[str] = []
        self._rungs = deque((rung, optimize) for rung in self._chosen(exporter))
        self._last: tuple[Rung, bool] | None = None
        self._begun: Begun | None = None
        self._made = False
        self._folder = folder if bytes_of(model.module) > LARGEST_HELD else None

    def _chosen(self, exporter: Exporter | Literal["auto"]) -> list[Rung]:
        """The rungs that can be tried. Raises ExportError if the job asks for one that cannot."""
        reason, advice = self._model.traced, 'set export.exporter = "torchscript", or "auto"'
        if reason is None and self._opset < OLDEST_TORCH_EXPORT_OPSET:
            oldest = OLDEST_TORCH_EXPORT_OPSET
            reason = f"torch.export writes opset {oldest} and later, asked for {self._opset}"
            advice = 'raise export.opset, or set export.exporter = "torchscript"'
        chosen = [rung for rung in RUNGS if exporter in ("auto", rung.exporter)]
        if reason is None or exporter == "torchscript":
            return chosen
        if exporter == "torch.export":
            raise ExportError(f"{reason}: {advice}")
        self._skipped.append(reason)
        return [rung for rung in chosen if rung.exporter == "torchscript"]

    def module(self) -> nn.Module:
        """What is captured: the model's own module, or a folded copy. Known for sure after ``climb``."""
        return self._model.module if self._folding is None else self._folding.applied()

    def begin(self) -> None:
        """Let another process begin with the next rung; ``climb`` goes on from there."""
        while self._begun is None and self._rungs:
            rung, optimize = self._rungs.popleft()
            if rung.retries and not self._untraced:
                continue
            place = None if self._folder is None else self._folder / str(len(self._errors))
            if place is not None:
                place.mkdir(parents=True)
                self._drop_wrong_folding()  # a large model runs alone
            process = Apart(partial(self._capture_and_go_on, rung, optimize, place))
            self._begun = Begun(rung, optimize, place, process)

    def climb(self, meanwhile: Iterable[None] = ()) -> Captured:
        """Capture by the next rung that works. While the child captures, go through ``meanwhile`` here.

        Raises ExportError or UserCodeError if none is left: then the error tells why each failed.
        """
        steps = iter(meanwhile)
        while (begun := self._next()) is not None:
            rung, process, place = begun.rung, begun.process, begun.place
            self._last = rung, begun.optimize
            if self._drop_wrong_folding():
                process.end()
                self._rungs.appendleft(self._last)
                continue
            try:
                proto, frozen = process.result(self._limit_s, steps)
            except ChildError as error:
                advice = "; give it longer with export.capture_timeout" if error.late else ""
                self._errors.append(
                    ExportError(f"{rung.name} could not capture the model: it {error}{advice}")
                )
            except ExitCalledError:
                raise
            except (ExportError, UserCodeError) as error:
                self._errors.append(error)
            else:
                self._made = True
                goes_on = self._goes_on(place)
                if not goes_on:
                    process.end()
                onward = process if goes_on else None
                return Captured(proto, rung.name, self.reasons, frozen, place, self._folds, onward)
        raise all_failed(self._errors, self._diagnosis())

    def _next(self) -> Begun | None:
        """The rung that has begun, which is forgotten here; None if none is left."""
        self.begin()
        begun, self._begun = self._begun, None
        return begun

    def _drop_wrong_folding(self) -> bool:
        """Capture the model's own module from now on if the folding does not hold; True if it did not."""
        if self._folding is None or self._folding.holds:
            return False
        self._folding = None
        return True

    @property
    def _folds(self) -> Mapping[str, str]:
        return NO_FOLDS if self._folding is None else dict(self._folding.folds.keys())

    def _diagnosis(self) -> tuple[str, ...]:
        """The lines of code that torch.export cannot follow, if that is why there is no file at all."""
        if self._made or not self._untraced:
            return ()
        try:
            return run_apart(partial(_as_written, self._diagnosed), min(self._limit_s, DIAGNOSIS_S))
        except (ChildError, RaisedThereError, OnnxproofError):
            return ()  # the reasons stand without it

    def _diagnosed(self) -> tuple[str, ...]:
        return diagnosis(self._model, self.module())

    @property
    def _untraced(self) -> bool:
        """Whether torch.export could not follow the module's code."""
        return any(isinstance(error, UntracedError) for error in self._errors)

    def refuse(self, reason: str) -> None:
        """Do not take what the last rung made. ``reason`` says why."""
        self._errors.append(ExportError(reason))

    def refuse_file(self, reason: str) -> None:
        """Do not take a file that cannot be loaded. ``reason`` says why.

        If torch's exporter wrote it without its optimizer, the next rung is the same with it: the optimizer
        also rewrites what runtimes do not bear, such as a loop over a sequence of tensors.
        """
        assert self._last is not None
        rung, optimize = self._last
        if optimize or rung.exporter != "torch.export":
            self.refuse(reason)
            return
        self._rungs.appendleft((rung, True))
        self.refuse(f"{reason}; it is captured again, with torch's optimizer")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why each rung so far was skipped, failed, or made what was refused."""
        return (*self._skipped, *map(str, self._errors))

    def _capture_and_go_on(self, rung: Rung, optimize: bool, place: Path | None) -> Iterator[Any]:
        """Be the child: hand over the graph, then what is made of it."""
        made = _as_written(partial(self._capture, rung, optimize, place))
        yield made
        if self._onward is not None and self._goes_on(place):
            yield self._onward(made[0])

    def _goes_on(self, place: Path | None) -> bool:
        return self._onward is not None and place is None

    def _capture(self, rung: Rung, optimize: bool, place: Path | None) -> Made:
        module, again = self.module(), self.module
        if module is self._model.module:
            before = apart(module)
            again = lambda: before  # noqa: E731
        work = _Work(self._model, module, again, self._opset, optimize, self._custom_ops, place)
        proto, frozen = rung.make(work)
        written = opset_of(proto)
        if written != self._opset:
            raise ExportError(
                f"the exporter wrote opset {written}, asked for {self._opset}: set export.opset = {written}"
            )
        return name_outputs(proto, [spec.name for spec in self._model.contract.outputs]), frozen


def capture(
    model: WrappedModel,
    exporter: Exporter | Literal["auto"],
    opset: int,
    *,
    optimize: bool,
    limit_s: float = CAPTURE_TIMEOUT_S,
) -> Captured:
    """The graph of the first rung that works; ``Ladder`` has the arguments and the errors."""
    return Ladder(model, None, exporter, opset, optimize=optimize, limit_s=limit_s).climb()


def _as_written(work: Callable[[], Result]) -> Result:
    """Be the child: run the module's code as it is written in Python, with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # OpenMP's other threads are not in a forked process
    try:
        with without_fast_path(), without_causal_test():
            return work()
    finally:
        torch.set_num_threads(before)  # where no process can be forked, this one goes on


def _followed(work: _Work, *, strict: bool) -> Made:
    if CAN_FORK:
        gc.disable()  # this process ends with the capture, and what it leaves behind with it
    proto = with_torch_export(
        work.model,
        work.module,
        work.opset,
        work.custom_ops,
        optimize=work.optimize,
        strict=strict,
        folder=work.folder,
    )
    return proto, ()


def _traced(work: _Work) -> Made:
    contract = work.model.contract
    made: list[tuple[onnx.ModelProto, tuple[Warned, ...]]] = []

    def exported() -> Iterator[None]:
        with collector_paused():
            made.append(with_torchscript(work.model, work.module, work.opset, work.folder))
        yield

    followed = None
    if CAN_FORK and work.folder is None:  # two traces at once of a large model take too much memory
        with contextlib.suppress(ChildError, RaisedThereError):
            followed = run_apart(
                partial(followed_alone, work.module, contract), CAPTURE_TIMEOUT_S, exported()
            )
    if not made:
        next(exported())
    proto, warned = made[0]
    if all_followed(warned, followed):
        return proto, ()
    return proto, find_frozen(work.again(), contract, warned)


RUNGS = (
    Rung("torch.export", "torch.export", partial(_followed, strict=False)),
    Rung("torch.export, strict", "torch.export", partial(_followed, strict=True), retries=True),
    Rung("torchscript", "torchscript", _traced),
)
"""From the first to the last."""


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of the standard operator set that a model imports."""
    return next((int(entry.version) for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
