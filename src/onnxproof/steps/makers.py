"""How a file of lower precision is made again and again, with other parts of the network in float32."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import onnx
from numpy.typing import NDArray

from onnxproof.errors import ExportError, JobError
from onnxproof.export.examples import capture_sizes, example_inputs
from onnxproof.export.fold import fold_batch_norms
from onnxproof.export.make import make_graph
from onnxproof.export.quantize import half
from onnxproof.job import Job
from onnxproof.on_disk import write_model_file
from onnxproof.progress import Progress
from onnxproof.steps.budgeted import budget_of, opened
from onnxproof.system.scratch import scratch_folder
from onnxproof.validate.budget.exam import Exam, contents_of, questions_of, require_counted
from onnxproof.validate.budget.figures import Kept
from onnxproof.validate.cases import materialise, native_case
from onnxproof.validate.legs.leg import Leg
from onnxproof.validate.legs.pytorch import TorchLeg
from onnxproof.wrappers.family import WrappedModel
from onnxproof.wrappers.weights import tensor_of

FEW = 12
"""On how many pictures the parts' own costs are measured."""

MOST = 512
"""How many pictures calibrate at most; the first."""


LAST = "a last layer: what it returns is decoded, and 8 bits are too few for that"
"""Why the heads of an int8 file stay in float32."""


class Maker(Protocol):
    """Makes the file of one model in one precision.

    ``parts`` is what may stay in float32. ``fixed`` are those that do from the start.
    """

    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def fixed(self) -> tuple[Kept, ...]: ...

    def ranking(self) -> tuple[Kept, ...]:
        """The parts that are not fixed, the one that costs most by itself first."""

    def make(self, kept: Sequence[str]) -> onnx.ModelProto:
        """The graph with these parts in float32. Raises ExportError."""

    def legs(self, file: Path, kept: Sequence[str]) -> tuple[Leg, ...]:
        """What the file is judged by."""


def maker_of(
    job: Job, model: WrappedModel, float32: Path, pictures: Sequence[Path], progress: Progress
) -> Maker:
    """The maker of a job's precision. ``float32`` is the proven file, and ``pictures`` those that ranges are
    measured on. Raises JobError if a part that the job keeps is not there."""
    if job.precision.mode == "int8":
        return Int8Maker(job, model, float32, pictures[:MOST], progress)
    return HalfMaker(job, model, pictures[:FEW], progress)


class Int8Maker:
    """int8: parts are layers of the proven graph, with the nodes that follow each. ``pictures`` has the names
    of those that calibrate, by their SHA-256."""

    def __init__(
        self, job: Job, model: WrappedModel, float32: Path, files: Sequence[Path], progress: Progress
    ) -> None:
        require_counted(model.contract)
        self._job, self._model, self._progress = job, model, progress
        self._float32, self._files = float32, files
        self.pictures = contents_of(files)
        from onnxproof.export.quantize import static  # noqa: PLC0415 - ONNX Runtime's quantizer: for int8 alone

        proto = static.prepared(float32)
        self._calibrated = static.calibrate(proto, self._inputs(), job.precision.calibration)
        self._blocks = {block.layer: block.nodes for block in self._calibrated.network.blocks}
        _require_known(job, self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self._blocks)

    @property
    def fixed(self) -> tuple[Kept, ...]:
        heads = tuple(Kept(name, LAST) for name in self._calibrated.network.heads)
        last = {one.name for one in heads}
        asked = (name for name in self._job.precision.keep if name not in last)
        return (*heads, *(Kept(name, "precision.keep names it") for name in asked))

    def ranking(self) -> tuple[Kept, ...]:
        job, contract = self._job, self._model.contract
        budget, costs = budget_of(job), dict[str, float]()
        fixed = {one.name for one in self.fixed}
        with scratch_folder() as folder:
            file = folder / "part.onnx"
            reference = opened(job, self._float32)
            exam = Exam(contract, reference, questions_of(contract, self._files[:FEW], None), ())
            for done, part in enumerate(self.parts):
                self._progress("cost of each part", done, len(self.parts))
                if part not in fixed:
                    others = [other for other in self.parts if other != part]
                    write_model_file(self.make(others), folder, file)
                    costs[part] = exam.weigh(opened(job, file), budget)
        return _ranked(costs, "int8")

    def make(self, kept: Sequence[str]) -> onnx.ModelProto:
        from onnxproof.export.quantize import static  # noqa: PLC0415 - as above

        return static.quantised(self._calibrated, [node for name in kept for node in self._blocks[name]])

    def legs(self, file: Path, kept: Sequence[str]) -> tuple[Leg, ...]:  # noqa: ARG002
        return (opened(self._job, file),)

    def _inputs(self, *, quiet: bool = False) -> Iterator[Mapping[str, NDArray[Any]]]:
        contract = self._model.contract
        assert contract.preprocess is not None
        for done, file in enumerate(self._files):
            if not quiet:
                self._progress("calibrate", done, len(self._files))
            case, _ = native_case(file, contract.preprocess, contract.dims)
            yield materialise(case, contract.inputs, contract.preprocess)


class HalfMaker:
    """fp16 and bf16: parts are modules of the network.

    Those whose values float16 may not hold, by the ranges in float32, are fixed. The file is judged in ONNX
    Runtime, which computes much of float16 in float32 on the CPU, and as PyTorch computes the network, which
    rounds each result.
    """

    def __init__(self, job: Job, model: WrappedModel, files: Sequence[Path], progress: Progress) -> None:
        require_counted(model.contract)
        self._job, self._files, self._progress = job, files, progress
        self._dtype = half.DTYPES[job.precision.mode]
        module, contract = model.module, model.contract
        if job.export.fold_batch_norms:
            examples = example_inputs(contract.inputs, capture_sizes(contract.dims))
            module, _ = fold_batch_norms(module, examples)
        self._model = replace(model, module=module.eval())
        _require_known(job, dict(module.named_modules()))

    @property
    def parts(self) -> tuple[str, ...]:
        return half.units_of(self._model.module)

    @cached_property
    def fixed(self) -> tuple[Kept, ...]:
        asked = tuple(Kept(name, "precision.keep names it") for name in self._job.precision.keep)
        if self._job.precision.mode != "fp16":
            return asked
        found = half.reaches(self._model.module, self._inputs())
        over = tuple(
            Kept(name, f"{reach.operator} reaches {reach.largest:.3g}, float16 ends at 65504")
            for name, reach in found.items()
            if reach.overflows and name not in self._job.precision.keep
        )
        return (*asked, *over)

    def ranking(self) -> tuple[Kept, ...]:
        job, contract = self._job, self._model.contract
        budget, threads, costs = budget_of(job), job.validation.threads, dict[str, float]()
        fixed = [one.name for one in self.fixed]
        units = [name for name in self.parts if not any(half.is_in(name, top) for top in fixed)]
        questions = questions_of(contract, self._files, None)
        exam = Exam(contract, TorchLeg(self._model, threads), questions, ())
        for done, unit in enumerate(units):
            self._progress("cost of each part", done, len(units))
            changed = replace(self._model, module=half.alone(self._model.module, unit, self._dtype))
            costs[unit] = exam.weigh(TorchLeg(changed, threads), budget)
        return _ranked(costs, job.precision.mode)

    def make(self, kept: Sequence[str]) -> onnx.ModelProto:
        try:
            return make_graph(self._job, self._halved(kept), self._progress).proto
        except (RuntimeError, TypeError) as error:
            raise ExportError(
                f"the network does not run in {self._job.precision.mode} ({str(error).splitlines()[0]}): "
                "name the modules that need float32 in precision.keep"
            ) from error

    def legs(self, file: Path, kept: Sequence[str]) -> tuple[Leg, ...]:
        strict = TorchLeg(self._halved(kept), self._job.validation.threads)
        strict.name = f"torch-{half.NAMES[self._job.precision.mode]}"
        # ONNX Runtime has next to no kernels in bfloat16 on the CPU.
        return (opened(self._job, file), strict) if self._job.precision.mode == "fp16" else (strict,)

    def _halved(self, kept: Sequence[str]) -> WrappedModel:
        return replace(self._model, module=half.halved(self._model.module, self._dtype, kept))

    def _inputs(self) -> list[list[Any]]:
        contract = self._model.contract
        assert contract.preprocess is not None
        made = []
        for file in self._files:
            case, _ = native_case(file, contract.preprocess, contract.dims)
            arrays = materialise(case, contract.inputs, contract.preprocess)
            made.append([tensor_of(arrays[spec.name], spec.dtype) for spec in contract.inputs])
        return made


def _ranked(costs: Mapping[str, float], mode: str) -> tuple[Kept, ...]:
    """The parts by what each costs by itself. Equal ones stay in the network's order."""
    told = "by itself in {mode} it costs {cost:.2g}"
    order = sorted(costs, key=lambda name: -costs[name])
    return tuple(Kept(name, told.format(mode=mode, cost=costs[name])) for name in order)


def _require_known(job: Job, known: Sequence[str] | Mapping[str, Any]) -> None:
    for name in job.precision.keep:
        if name not in known:
            some = ", ".join(list(known)[:6])
            raise JobError(f'precision.keep = "{name}": the network has no such part; it has {some}, …')
