"""Judge a file against the module in Python that it was made from, whoever exported it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnx_ir as ir

from onnxproof.entry import keeps_mode
from onnxproof.errors import JobError
from onnxproof.finding.draft import EFFORT
from onnxproof.finding.hosted import hosted_of, returned_by
from onnxproof.graph import OnnxGraph
from onnxproof.job.of_module import module_job
from onnxproof.progress import Progress, silent
from onnxproof.runtime.port import Port
from onnxproof.runtime.session import open_session
from onnxproof.source import model_at
from onnxproof.steps.judging import judge_elsewhere
from onnxproof.steps.opening import wrapped_for
from onnxproof.system.signatures import checks_arguments
from onnxproof.tensors import TensorSpec
from onnxproof.validate.arranged import Arrangement
from onnxproof.validate.renamed import ORDERED, other_order, refuse_unknown
from onnxproof.validate.table_ranges import Guess, guesses
from onnxproof.validate.verdict import Verdict
from onnxproof.wrappers.family import Module


@keeps_mode
@checks_arguments
def check_module(
    module: Module,
    onnx: str | PathLike[str],
    *,
    inputs: Mapping[str, Any] | None = None,
    dims: Mapping[str, str | int] = MappingProxyType({}),
    arguments: Mapping[str, Any] = MappingProxyType({}),
    task: str = "raw",
    picture: str | None = None,
    classes: Sequence[str] = (),
    images: str | None = None,
    map: Mapping[str, str] = MappingProxyType({}),
    set: Sequence[str] = (),
    progress: Progress = silent,
) -> Verdict:
    """Judge an ONNX file, whoever exported it, against the module that it was made from.

    ``inputs``, ``dims``, ``arguments``, ``task``, ``picture``, ``classes`` and ``set`` are as for
    ``export_module``. Without ``inputs`` they are read from the file; ``dims`` then says which sizes its
    named axes take. ``images`` is a pattern of pictures to decide on. ``map`` says which input or output of
    the file is which of the module, as in {"images": "input"}; those that it leaves out and whose names
    differ are taken in their order. Ranges of inputs that are read from the file are guessed: ids take the
    rows of the table that they look up, divisors are not zero, other integers are drawn from 0..1. Few cases
    are tried unless ``set`` says "validate.effort=normal".

    Raises ModelFileError if the file cannot be loaded, JobError if the inputs do not fit the module or if a
    named axis has no size, and other RequestErrors if a name or a setting is wrong.
    """
    file = model_at(onnx)
    open_session(file)
    graph = OnnxGraph.read(file)
    named = _inputs_of(graph) if inputs is None else dict(inputs)
    ranges: dict[str, Guess] = {}
    if inputs is None:
        _require_sizes(named, dims, file)
        ranges = guesses(graph, file, named)
        named |= {name: f"{named[name]} in {guess.low}..{guess.high}" for name, guess in ranges.items()}
    more = [*set, *([] if images is None else [f"validate.images={images}"])]
    if not any(text.startswith("validate.effort") for text in set):
        more.append(f"validate.effort={EFFORT}")
    job = module_job(
        re.sub(r"[^A-Za-z0-9._-]", "-", file.stem).lstrip("._-") or "model",
        inputs=named,
        dims=dims,
        arguments=arguments,
        task=task,
        picture=picture,
        classes=classes,
        set=more,
        source="the arguments of check_module",
    )
    model = wrapped_for(job, module)
    contract = model.contract
    found = [[value.name or "" for value in side] for side in (graph.inputs, graph.outputs)]
    hosted = hosted_of(contract, [_port(value) for value in graph.outputs], map)
    returned = returned_by(contract, hosted)
    wanted = [[spec.name for spec in side] for side in (contract.inputs, returned)]
    refuse_unknown(map, found, wanted)
    names = _names(map, found, wanted)
    how = Arrangement(names, order=other_order(names, found, wanted), hosted=hosted)
    notes = (*how.notes(frozenset(wanted[0])), *([f"the file {ORDERED}"] if how.order else []))
    if inputs is None:
        notes = (*notes, *_drawn(contract.inputs, ranges))
    verdict = judge_elsewhere(
        job, model, file, how, notes=notes, guessed=frozenset(ranges), progress=progress
    )
    guessed = [name for name in names if name not in map]
    if verdict.passed or len(guessed) < 2:
        return verdict
    hint = (
        f"names that differ are paired in their order; if that is wrong, say which is which: {_told(names)}"
    )
    return replace(verdict, notes=(*verdict.notes, hint))


def _port(value: ir.Value) -> Port:
    dtype = "float32" if value.dtype is None else value.dtype.name.lower()
    return Port(value.name or "", _DTYPES.get(dtype, dtype), ())


def _drawn(specs: Sequence[TensorSpec], ranges: Mapping[str, Guess]) -> tuple[str, ...]:
    """A note with the ranges of integers that nobody declared; empty if there are none."""
    told = [
        f"{spec.name} in {ranges.get(spec.name, '0..1')}"
        for spec in specs
        if spec.dtype.startswith(("int", "uint"))
    ]
    if not told:
        return ()
    return (
        f"nobody declared which values integer inputs take; drawn: {', '.join(told)} (inputs= says others)",
    )


def _told(names: Mapping[str, str]) -> str:
    """The argument ``map`` that says what was guessed."""
    pairs = ", ".join(f'"{name}": "{known}"' for name, known in names.items())
    return f"map={{{pairs}}}"


def _inputs_of(graph: OnnxGraph) -> dict[str, str]:
    """The file's inputs as a job writes them: "float32[batch, 3, height, width]"."""
    texts = {}
    for value in graph.inputs:
        name = value.name or ""
        axes = [
            str(size) if isinstance(size, int) else _axis(size.value, name, at)
            for at, size in enumerate(value.shape or ())
        ]
        dtype = "float32" if value.dtype is None else value.dtype.name.lower()
        texts[name] = f"{_DTYPES.get(dtype, dtype)}[{', '.join(axes)}]"
    return texts


_DTYPES = {"float": "float32", "double": "float64"}
"""ONNX's names of dtypes that are not NumPy's."""


def _axis(said: str | None, name: str, at: int) -> str:
    """A name for a dynamic axis: the file's own, or one after the input."""
    return re.sub(r"\W", "_", said) if said else f"{re.sub(r'[^A-Za-z0-9_]', '_', name)}_{at}"


def _require_sizes(inputs: Mapping[str, str], dims: Mapping[str, Any], file: Path) -> None:
    for name, text in inputs.items():
        axes = text.partition("[")[2].rstrip("]").split(", ")
        missing = [axis for axis in axes if axis and not axis.isdigit() and axis not in dims]
        if missing:
            given = ", ".join(dims) or "none"
            raise JobError(
                f"input {name} of {file} is {text}, and dims has no sizes for its axis {missing[0]} (given: "
                f'{given}): add dims={{"{missing[0]}": "1..8"}}, say, or state the inputs with inputs='
            )


def _names(
    mapping: Mapping[str, str], found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]
) -> dict[str, str]:
    """The model's name of each input and output of the file that has another name."""
    names: dict[str, str] = {}
    for ours, theirs in zip(wanted, found, strict=True):
        own = {name: mapping[name] for name in theirs if name in mapping}
        left = [name for name in theirs if name not in ours and name not in own]
        open_ = [name for name in ours if name not in theirs and name not in own.values()]
        if len(left) == len(open_):
            own |= dict(zip(left, open_, strict=True))
        names |= own
    return names
