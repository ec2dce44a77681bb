"""Any ``nn.Module``, from a ``package.module:callable`` or a ``file.py:callable``.

The job's ``[inputs]`` name its inputs, in the order of its ``forward``; its outputs, tensors in tuples,
lists, dicts and dataclasses however deep, get stable names.
"""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from onnxproof.contract import ClassInfo
from onnxproof.errors import JobError, RequestError
from onnxproof.job import Job, ValidateTable
from onnxproof.runtime.tasks import detection, multilabel
from onnxproof.seeded import draw
from onnxproof.tensors import Dim, Field, TensorSpec, dims_by_name
from onnxproof.usercode import no_exit, told
from onnxproof.wrappers.builder import build_with
from onnxproof.wrappers.class_scores import ClassScores
from onnxproof.wrappers.family import Checkpoint, Outputs, WrappedModel, task_of
from onnxproof.wrappers.folder import name_classes, read_classes
from onnxproof.wrappers.heads.segmentation import MaskInference
from onnxproof.wrappers.heads.sequence import as_sequence
from onnxproof.wrappers.picture_port import PicturePort, StagedModule, picture_port
from onnxproof.wrappers.weights import load_weights, notes_on

SINGLE_OUTPUT = "output"
"""The name of a module's only output; of several without names, this and their position."""

PROBE_SEED = 0

LOGITS_NAMES = ("logits", "out")
"""What networks call their logits where they return more than one tensor of that form."""

BOXES, SCORES = "boxes", "scores"
"""What detectors call their boxes and scores where they return more than one tensor of either form."""

TASKS = ("raw", "classification", "detection", "multilabel", "segmentation", "sequence")
"""What a module's outputs may mean; the first where nothing is said."""


class Flattened(nn.Module):
    """A module with its inputs in the job's order and its outputs in a flat tuple.

    An input whose name is one of ``forward``'s parameters is passed by name, others by position.
    """

    def __init__(self, module: nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        parameters = inspect.signature(module.forward).parameters
        positional_only = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
        self.keywords = tuple(
            name if name in parameters and parameters[name].kind not in positional_only else None
            for name in inputs
        )

    def forward(self, *inputs: Tensor) -> Outputs:
        """The module's output tensors, in the order of ``flatten``."""
        return tuple(tensor for _, tensor in flatten(self._call(inputs)))

    def names(self, inputs: Sequence[Tensor]) -> tuple[str, ...]:
        """The outputs' names, from a run on example inputs."""
        found = tuple(name for name, _ in flatten(self._call(inputs)))
        if not found:
            raise JobError("the module returns no tensor, so there is nothing to export")
        return found

    def _call(self, inputs: Sequence[Tensor]) -> Any:
        named = {
            keyword: value
            for keyword, value in zip(self.keywords, inputs, strict=True)
            if keyword is not None
        }
        plain = [value for keyword, value in zip(self.keywords, inputs, strict=True) if keyword is None]
        return self.module(*plain, **named)


class Chosen(nn.Module):
    """Some of the outputs of a module that returns a flat tuple."""

    def __init__(self, module: nn.Module, positions: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.positions = tuple(positions)

    def forward(self, *inputs: Tensor) -> Outputs:
        """The outputs at the positions, in their order."""
        outputs = self.module(*inputs)
        return tuple(outputs[position] for position in self.positions)


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in a nest of dicts, dataclasses, tuples and lists, with names.

    Keys and field names are joined by "_"; members of a sequence are numbered; a lone tensor is
    ``output``. None and whatever is no tensor is left out.
    """
    if isinstance(value, Tensor):
        yield name or SINGLE_OUTPUT, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flatten(item, f"{name}_{key}" if name else str(key))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from flatten(getattr(value, field.name), f"{name}_{field.name}" if name else field.name)
    elif isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        yield from flatten(dict(zip(value._fields, value, strict=True)), name)
    elif isinstance(value, tuple | list):
        alone = len(value) == 1
        for index, item in enumerate(value):
            yield from flatten(item, name if alone else f"{name or SINGLE_OUTPUT}_{index}")


def wrap_module(
    module: nn.Module,
    inputs: Sequence[TensorSpec],
    dims: Sequence[Dim],
    *,
    task: str = "raw",
    decode: str = "auto",
    classes: tuple[ClassInfo, ...] = (),
    picture: PicturePort | None = None,
    validation: ValidateTable = ValidateTable(),  # noqa: B008
) -> WrappedModel:
    """A module with the contract of its file, which is found by running it at a few sizes.

    An output's axis that stays the same is fixed; one that is as long as one dim is named after it;
    any other is named after the output. For the task "segmentation" the module returns class logits
    [batch, classes, height, width], alone or among others; ``decode`` "mask" (the default) turns them
    into ``mask`` and ``confidence`` in the graph, "none" leaves them. For "classification" and
    "multilabel" it returns class logits [batch, classes], which "none" (the default) leaves and
    "probabilities" puts a softmax or sigmoid behind. For "detection" it returns ``boxes`` [batch, n, 4]
    (x0, y0, x1, y1 in the input's pixels) and ``scores`` [batch, n, classes] in [0, 1]. For "sequence" it
    returns class logits [batch, time, classes]; its attribute ``blank``, if it has one, is the index of the
    blank among them, and the steps that count are those that its output ``lengths`` int64 [batch] tells,
    else those of its input that is a mask, else all. ``validation`` tells where decisions are cut. Of what
    else the module returns, a task's file has nothing. ``picture`` says which input takes pictures.
    Raises JobError where the inputs do not fit the module, or the outputs or ``classes`` the task.
    """
    named = dims_by_name(dims)
    if not inputs:
        raise JobError("[inputs] is empty: name the module's inputs, in the order of its forward")
    for spec in inputs:
        for axis in spec.axis_names:
            if axis not in named:
                raise JobError(
                    f'the axis {axis} of input {spec.name} has no size: add {axis} = "1..8", say, to [dims]'
                )
    flattened = Flattened(module.eval(), [spec.name for spec in inputs])
    outputs = _describe_outputs(flattened, inputs, dims)
    wrapped: nn.Module = flattened
    if picture is not None:
        inputs = [picture.spec if at == picture.position else spec for at, spec in enumerate(inputs)]
        if picture.stage is not None:
            wrapped = StagedModule(flattened, picture.position, picture.stage)
    fields = tuple(_field(spec) for spec in outputs)
    postprocess: dict[str, Any] = {}
    if task == "segmentation":
        wrapped, outputs, fields, postprocess = _as_segmentation(wrapped, outputs, decode, classes)
    elif task in ("classification", "multilabel"):
        wrapped, outputs, fields, postprocess = _as_class_scores(
            wrapped, outputs, task, decode, classes, validation
        )
    elif task == "detection":
        wrapped, outputs, fields, postprocess = _as_detection(wrapped, outputs, decode, classes, validation)
    elif task == "sequence":
        blank = getattr(module, "blank", None)
        wrapped, outputs, fields, postprocess = as_sequence(wrapped, inputs, outputs, decode, blank)
        _require_names(outputs[0], outputs[0].shape[2], classes)
    elif task != "raw":
        raise JobError(f'model.task = "{task}" is not for the family module; there are: {", ".join(TASKS)}')
    return WrappedModel(
        module=wrapped.eval(),
        family="module",
        task=task,
        inputs=tuple(inputs),
        outputs=outputs,
        dims=tuple(dims),
        fields=fields,
        preprocess=None if picture is None else picture.preprocess,
        classes=classes,
        postprocess=postprocess,
        notes=notes_on(module.state_dict()),
    )


def _describe_outputs(
    flattened: Flattened, inputs: Sequence[TensorSpec], dims: Sequence[Dim]
) -> tuple[TensorSpec, ...]:
    free = [dim for dim in dims if not dim.fixed]
    smallest = {dim.name: dim.min for dim in dims}
    # Each free dim is made larger alone, so that what follows it is told from what follows another.
    runs = [smallest, *({**smallest, dim.name: dim.min + dim.multiple} for dim in free)]
    try:
        with torch.no_grad(), no_exit("the module's forward"):
            names = flattened.names(_probe(inputs, smallest))
            forms = [[_form(tensor) for tensor in flattened(*_probe(inputs, sizes))] for sizes in runs]
    except RequestError:
        raise
    except Exception as error:
        # The module's own code runs here: any type at all.
        reason = told(error)
        listed = ", ".join(f"{spec.name}: {spec}" for spec in inputs)
        raise JobError(f"the module does not run on the declared inputs ({listed}): it {reason}") from error
    if any(len(form) != len(names) for form in forms):
        raise JobError(
            f"the module returns {len(names)} tensors or another number, depending on its inputs' sizes: "
            "an ONNX file always returns the same number"
        )
    return tuple(
        _output_spec(name, [form[index] for form in forms], free) for index, name in enumerate(names)
    )


def _as_segmentation(
    wrapped: nn.Module, outputs: tuple[TensorSpec, ...], decode: str, classes: Sequence[ClassInfo]
) -> tuple[nn.Module, tuple[TensorSpec, ...], tuple[Field, ...], dict[str, Any]]:
    if decode not in ("auto", "mask", "none"):
        raise JobError(f'wrapper.decode = "{decode}" is not for the task segmentation; there are: mask, none')
    chosen = _logits(outputs, "segmentation", ("batch", "classes", "height", "width"), classes)
    if decode == "none":
        if len(outputs) > 1:
            raise JobError('wrapper.decode = "none": the module returns more than its logits; use "mask"')
        logits = outputs[0]
        return wrapped, outputs, (_field(logits),), {"decode": "none", "outputs": [logits.name]}
    batch, _, height, width = outputs[chosen].shape
    specs = (
        TensorSpec("mask", "int64", (batch, height, width)),
        TensorSpec("confidence", "float32", (batch, height, width)),
    )
    fields = (
        Field("mask", "mask", "class", kind="label", ranks="confidence"),
        Field("confidence", "confidence", "probability"),
    )
    return (
        MaskInference(wrapped, chosen),
        specs,
        fields,
        {"decode": "mask", "outputs": ["mask", "confidence"]},
    )


def _as_class_scores(
    wrapped: nn.Module,
    outputs: tuple[TensorSpec, ...],
    task: str,
    decode: str,
    classes: Sequence[ClassInfo],
    validation: ValidateTable,
) -> tuple[nn.Module, tuple[TensorSpec, ...], tuple[Field, ...], dict[str, Any]]:
    if decode not in ("auto", "none", "probabilities"):
        raise JobError(
            f'wrapper.decode = "{decode}" is not for the task {task}; there are: none, probabilities'
        )
    chosen = _logits(outputs, task, ("batch", "classes"), classes)
    decode = "none" if decode == "auto" else decode
    name, each, unit = (
        ("logits", "logit", "") if decode == "none" else ("probabilities", "probability", "probability")
    )
    postprocess: dict[str, Any] = {"decode": decode, "outputs": [name]}
    if task == "classification":
        postprocess["top_k"] = min(validation.top_k, int(outputs[chosen].shape[1]))
    else:
        given = validation.score_threshold
        postprocess["score_threshold"] = multilabel.DEFAULT_THRESHOLD if given is None else given
    return (
        ClassScores(wrapped, chosen, task, decode),
        (dataclasses.replace(outputs[chosen], name=name),),
        (Field(name, each, unit),),
        postprocess,
    )


def _as_detection(
    wrapped: nn.Module,
    outputs: tuple[TensorSpec, ...],
    decode: str,
    classes: Sequence[ClassInfo],
    validation: ValidateTable,
) -> tuple[nn.Module, tuple[TensorSpec, ...], tuple[Field, ...], dict[str, Any]]:
    if decode not in ("auto", "split"):
        raise JobError(f'wrapper.decode = "{decode}" is not for the task detection; there is: split')
    rows = [i for i, spec in enumerate(outputs) if spec.dtype == "float32" and len(spec.shape) == 3]
    named = [i for i in rows if outputs[i].name in (BOXES, SCORES)]
    chosen = sorted(named or rows, key=lambda i: outputs[i].name == SCORES)
    if len(chosen) != 2 or outputs[chosen[0]].shape[2] != 4:
        listed = ", ".join(f"{spec.name}: {spec}" for spec in outputs)
        raise JobError(
            f"the task detection needs boxes [batch, n, 4] and scores [batch, n, classes], in this order or "
            f"named {BOXES} and {SCORES}; the module returns {listed}"
        )
    boxes, scores = (outputs[i] for i in chosen)
    _require_names(scores, scores.shape[2], classes)
    given, given_iou = validation.score_threshold, validation.iou_threshold
    return (
        Chosen(wrapped, chosen),
        (dataclasses.replace(boxes, name=BOXES), dataclasses.replace(scores, name=SCORES)),
        (Field(BOXES, "box_xyxy", "px"), Field(SCORES, "score", "probability")),
        {
            "decode": "split",
            "outputs": [BOXES, SCORES],
            "score_threshold": detection.DEFAULT_THRESHOLD if given is None else given,
            "iou_threshold": detection.DEFAULT_IOU_THRESHOLD if given_iou is None else given_iou,
            "class_agnostic": validation.class_agnostic,
        },
    )


def _logits(
    outputs: Sequence[TensorSpec], task: str, axes: Sequence[str], classes: Sequence[ClassInfo]
) -> int:
    """The position of the output that holds the class logits, the classes on its second axis."""
    candidates = [
        i for i, spec in enumerate(outputs) if spec.dtype == "float32" and len(spec.shape) == len(axes)
    ]
    named = [i for i in candidates if outputs[i].name in LOGITS_NAMES]
    chosen = named or candidates
    if len(chosen) != 1 or not isinstance(outputs[chosen[0]].shape[1], int):
        listed = ", ".join(f"{spec.name}: {spec}" for spec in outputs)
        raise JobError(
            f"the task {task} needs one output of logits [{', '.join(axes)}], or one "
            f"named {' or '.join(LOGITS_NAMES)}; the module returns {listed}"
        )
    _require_names(outputs[chosen[0]], outputs[chosen[0]].shape[1], classes)
    return chosen[0]


def _require_names(output: TensorSpec, count: int | str, classes: Sequence[ClassInfo]) -> None:
    if classes and len(classes) != count:
        raise JobError(
            f"{len(classes)} classes are named, the module's output {output.name} {output} has {count}: "
            "name each in model.classes, in the order that the model was trained with"
        )


def _field(spec: TensorSpec) -> Field:
    if spec.dtype.startswith("float"):
        return Field(spec.name, spec.name, "")
    return Field(spec.name, spec.name, "", kind="label")


def _form(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _probe(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> list[Tensor]:
    random = np.random.default_rng(PROBE_SEED)
    return [torch.from_numpy(draw(spec, sizes, random)) for spec in inputs]


def _output_spec(name: str, forms: Sequence[tuple[str, tuple[int, ...]]], free: Sequence[Dim]) -> TensorSpec:
    """The spec of an output from its forms: at the smallest sizes, and with each free dim made larger."""
    (dtype, smallest), *larger = forms
    if any(len(shape) != len(smallest) for _, shape in larger):
        raise JobError(f"the number of axes of the output {name} depends on the inputs' sizes")
    axes: list[int | str] = []
    for position, size in enumerate(smallest):
        followed = [dim for dim, (_, shape) in zip(free, larger, strict=True) if shape[position] != size]
        if not followed:
            axes.append(size)
            continue
        dim = followed[0]
        grown = larger[free.index(dim)][1][position]
        alone = len(followed) == 1 and (size, grown) == (dim.min, dim.min + dim.multiple)
        axes.append(dim.name if alone else f"{name}_axis_{position}")
    return TensorSpec(name, dtype, tuple(axes))


def wrap_for_job(job: Job, module: nn.Module, checkpoint: Checkpoint | None = None) -> WrappedModel:
    """A module as the job's tables ask for it. Raises JobError as ``wrap_module``, and where
    ``predict.input`` names no picture's input.

    The classes are the job's, else those that lie beside the checkpoint.
    """
    classes: tuple[ClassInfo, ...] | None = None
    if job.model.classes is not None:
        classes = name_classes(job.model.classes)
    elif checkpoint is not None:
        classes = read_classes(checkpoint.folder)
    return wrap_module(
        module,
        tuple(job.inputs.values()),
        tuple(job.dims.values()),
        task=task_of(job, *TASKS),
        decode=job.wrapper.decode,
        classes=classes or (),
        picture=picture_port(job),
        validation=job.validation,
    )


class _Module:
    name = "module"

    def build(self, job: Job, checkpoint: Checkpoint | None) -> WrappedModel:
        if job.model.builder is None:
            raise JobError(
                'model.builder is missing: name what makes the module, "package.module:callable" or '
                '"file.py:callable"'
            )
        module = build_with(job.model.builder, job.folder, job.model.kwargs)
        if not isinstance(module, nn.Module):
            raise JobError(
                f'model.builder = "{job.model.builder}" made a {type(module).__name__}, no nn.Module'
            )
        if checkpoint is not None:
            load_weights(module, checkpoint, f"what {job.model.builder} makes", "are model.kwargs right?")
        return wrap_for_job(job, module.float(), checkpoint)


FAMILY = _Module()
