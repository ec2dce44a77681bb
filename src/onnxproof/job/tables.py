"""The job: what the user asks for, from a TOML file or keyword arguments, as a frozen value.

The schema is in the classes below; every key has a real default or is required. Paths in a file are
relative to that file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator

from onnxproof import contract, targets
from onnxproof.errors import JobError, RequestError
from onnxproof.job.document import cells_of, read_document, told
from onnxproof.job.precision import PrecisionTable, Table
from onnxproof.job.words import explain
from onnxproof.normalizations import NORMALIZATIONS, Channels, Name
from onnxproof.structure import apart, leaves, name_of, parse_place, place_text
from onnxproof.system.limits import MOST_THREADS
from onnxproof.system.signatures import checks_arguments
from onnxproof.tensors import Dim, TensorSpec

Mean = Annotated[float, Field(allow_inf_nan=False)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Color = Annotated[int, Field(ge=0, le=contract.LARGEST_COLOR)]
Side = Annotated[int, Field(ge=1, le=contract.LARGEST_SIDE)]

DEFAULT_FIT: Mapping[str, Any] = {"resize": "crop", "size": 256}
"""How pictures are fitted if neither the job nor the family says it."""

OLDEST_TORCH_EXPORT_OPSET = 18
"""torch.onnx.export(dynamo=True) writes opset 18 and later; older ones go through a converter that
fails on many operators."""


CAPTURE_TIMEOUT_S = 900
"""Seconds that one way to capture a model may take, if a job says nothing else."""


class ModelTable(Table):
    """``[model]``: which family builds the model, for which task, and from which checkpoint.

    ``task`` None means the family's first task. ``classes`` are the classes' names in the model's order, for
    the family module; None means those in the files beside the checkpoint. ``weights`` chooses where a
    checkpoint holds several sets: "ema" is the averaged one, "raw" the other, any other text the key or the
    prefix of a set; "auto" is what the framework that wrote it would deploy.
    """

    family: str
    task: str | None = None
    variant: str | None = None
    checkpoint: str | None = None
    weights: str = "auto"
    builder: str | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    @field_validator("classes", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


class WrapperTable(Table):
    """``[wrapper]``: what is put around the model inside the graph.

    ``decode`` is how far the graph goes from the network's raw outputs toward decisions. Each family has
    its own choices; "auto" means the family's first. ``resize`` says who fits a picture to the network: the
    host, or the graph itself, which then takes uint8 pictures of any size. ``mean`` and ``std`` are per
    channel of an input in [0, 1]. ``normalize`` gives both by a name of normalizations.py. None means those
    in the checkpoint's folder.
    """

    scale_input: bool = False
    channels_last: bool = False
    input_dtype: Literal["float32", "uint8"] = "float32"
    decode: str = "auto"
    resize: Literal["host", "in-graph"] = "host"
    normalize: Name | None = None
    mean: tuple[Mean, Mean, Mean] | None = None
    std: tuple[Deviation, Deviation, Deviation] | None = None

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _as_channels(cls, value: Any) -> Any:
        return (
            tuple(float(v) if isinstance(v, int) else v for v in value) if isinstance(value, list) else value
        )

    @model_validator(mode="after")
    def _normalizes_once(self) -> Self:
        if self.normalize is not None and (self.mean is not None or self.std is not None):
            given = "mean" if self.mean is not None else "std"
            raise RequestError(
                f'wrapper.normalize = "{self.normalize}" with wrapper.{given}: leave one of them out'
            )
        return self

    def normalization(self) -> tuple[Channels | None, Channels | None]:
        """Mean and standard deviation, by their name or as they are given. None for one that is not."""
        return (self.mean, self.std) if self.normalize is None else NORMALIZATIONS[self.normalize]


class ExportTable(Table):
    """``[export]``: how the model becomes an ONNX file.

    ``capture_timeout`` is how many seconds each way to capture the model may take. ``custom_ops`` names a
    table of translations of operators, "package.module:TABLE" or "file.py:TABLE". ``dtype`` is what the
    model's floats are held in. "auto" widens a checkpoint to float32, and leaves a module that is given in
    Python as it is.
    """

    exporter: Literal["auto", "torch.export", "torchscript"] = "auto"
    opset: Annotated[int, Field(ge=7, le=25)] = 20
    simplify: Literal["onnxsim", "best", "none"] = "onnxsim"
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    fold_batch_norms: bool = True
    target: targets.Name = targets.DEFAULT
    capture_timeout: Annotated[int, Field(ge=1)] = CAPTURE_TIMEOUT_S
    custom_ops: str | None = None

    @model_validator(mode="after")
    def _exporter_writes_opset(self) -> Self:
        if self.exporter == "torch.export" and self.opset < OLDEST_TORCH_EXPORT_OPSET:
            raise RequestError(
                f'export.opset = {self.opset} with export.exporter = "torch.export": it writes opset '
                f"{OLDEST_TORCH_EXPORT_OPSET} and later; raise export.opset, or set export.exporter to "
                '"torchscript" or "auto"'
            )
        return self

    @model_validator(mode="after")
    def _exporter_takes_custom_ops(self) -> Self:
        if self.custom_ops is not None and self.exporter == "torchscript":
            raise RequestError(
                f'export.custom_ops = "{self.custom_ops}" with export.exporter = "torchscript": only '
                'torch.export takes such a table; set export.exporter to "torch.export" or "auto"'
            )
        return self


class ValidateTable(Table):
    """``[validate]``: what the file is tried on, and the thresholds of its decisions.

    ``annotations`` is a JSON file in COCO's layout. Accuracy is measured on the pictures that it labels.
    ``score_threshold`` None means the task's own: 0.45 for detection, 0.5 for multilabel. ``iou_threshold``
    None means the network's own, or 0.45 if it has none. ``max_detections`` is how many of a picture's
    detections are kept, the best ones; None means the network's own number, or all if it has none. ``nms``
    "none" says that each candidate stands for itself, without NMS; "auto" is what the outputs' layout needs.
    ``top_k`` is how many of a picture's best classes are decided on. ``optimization`` lists ONNX Runtime's
    levels of graph optimization, each of which is judged. ``threads`` is the number of intra-op threads, of
    PyTorch and of ONNX Runtime.
    """

    images: str | None = None
    annotations: str | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    iou_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    class_agnostic: bool = False
    max_detections: Annotated[int, Field(ge=1)] | None = None
    nms: Literal["auto", "none"] = "auto"
    top_k: Annotated[int, Field(ge=1)] = 5
    providers: Annotated[tuple[str, ...], Field(min_length=1)] = ("CPUExecutionProvider",)
    optimization: Annotated[tuple[Literal["none", "basic", "extended", "all"], ...], Field(min_length=1)] = (
        "all",
    )
    effort: Literal["quick", "normal", "thorough"] = "normal"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] = 2
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("providers", "optimization", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("providers", "optimization")
    @classmethod
    def _named_once(cls, value: tuple[str, ...], told: ValidationInfo) -> tuple[str, ...]:
        twice = next((name for name in value if value.count(name) > 1), None)
        if twice is not None:
            raise RequestError(f'validate.{told.field_name} names "{twice}" twice: leave one out')
        return value

    @field_validator("score_threshold", "iou_threshold", mode="before")
    @classmethod
    def _as_float(cls, value: Any) -> Any:
        return float(value) if type(value) is int else value

    @model_validator(mode="after")
    def _no_settings_of_no_nms(self) -> Self:
        if self.nms == "none" and (self.iou_threshold is not None or self.class_agnostic):
            raise RequestError(
                'validate.nms = "none" leaves nothing to decide for validate.iou_threshold and '
                "validate.class_agnostic: leave these out, or nms"
            )
        return self


class PredictTable(Table):
    """``[predict]``: how ``predict`` fits a picture to the model's input.

    ``input`` names the input of the family module that takes pictures. It is None if none does. Other
    families know theirs. ``contract.Preprocess`` says what the other keys mean. A key that is None has the
    value that the family trains with, or if the family does not know, that of ``Preprocess``.
    """

    input: str | None = None
    resize: contract.Resize | None = None
    size: Side | None = None
    filter: contract.Filter | None = None
    channels: contract.Channels | None = None
    longest: Side | None = None
    enlarge: bool | None = None
    rounding: contract.Rounding | None = None
    step: Side | None = None
    step_rounding: contract.StepRounding | None = None
    place: contract.Place | None = None
    half: contract.Half | None = None
    padding: tuple[Color, Color, Color] | None = None
    pad_to: contract.PadTo | None = None
    way_back: contract.WayBack | None = None

    @field_validator("padding", mode="before")
    @classmethod
    def _as_color(cls, value: Any) -> Any:
        if type(value) is int:
            return (value,) * 3
        return tuple(value) if isinstance(value, list) else value

    def fit(self, **own: Any) -> dict[str, Any]:
        """The keys of ``Preprocess`` that say how a picture is fitted: the job's, then ``own``, which are the
        family's."""
        stated = {key: getattr(self, key) for key in type(self).model_fields if key != "input"}
        return {**DEFAULT_FIT, **own, **{key: value for key, value in stated.items() if value is not None}}


class Job(Table):
    """A whole job. ``dims`` and ``inputs`` hold values of tensors.py. Relative paths start at ``folder``.

    The keys of ``inputs`` say where the inputs go in the arguments of the module's ``forward``: "image",
    "batch.image", "images[0]". The names of the specs are those in the file: "image", "batch_image",
    "images_0". ``arguments`` are plain values that ``forward`` gets besides.
    """

    name: Annotated[str, Field(pattern=f"^{contract.NAME}$")]
    model: ModelTable
    wrapper: WrapperTable = WrapperTable()
    dims: dict[str, Dim] = Field(default_factory=dict)
    inputs: dict[str, TensorSpec] = Field(default_factory=dict)
    arguments: dict[str, Any] = Field(default_factory=dict)
    export: ExportTable = ExportTable()
    validation: ValidateTable = Field(default=ValidateTable(), alias="validate")
    predict: PredictTable = PredictTable()
    precision: PrecisionTable = PrecisionTable()
    folder: Path = Field(default=Path(), exclude=True)
    _chosen: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def chosen(self) -> frozenset[str]:
        """The settings of decisions, such as "score_threshold", that were chosen for one verdict alone.

        A file may state them otherwise.
        """
        return self._chosen

    def choosing(self, set: Sequence[str]) -> Self:
        """The same job, whose settings in ``set``, "validate.score_threshold=0.3", are ``chosen``."""
        keys = (text.partition("=")[0].strip() for text in set)
        made = self.model_copy()
        made._chosen = frozenset(key.removeprefix("validate.") for key in keys if key.startswith("validate."))
        return made

    @field_validator("dims", mode="before")
    @classmethod
    def _parse_dims(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {
            name: text if isinstance(text, Dim) else Dim.parse(name, text) for name, text in value.items()
        }

    @field_validator("inputs", mode="before")
    @classmethod
    def _parse_inputs(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        texts = {
            place_text(place): text
            for key, item in value.items()
            for place, text in leaves(item, parse_place(key))
        }
        names = apart(name_of(parse_place(key)) if set(key) & set(".[") else key for key in texts)
        named = zip(texts.items(), names, strict=True)
        return {key: _spec(name, text) for (key, text), name in named}

    @field_validator("arguments", mode="after")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, item in value.items():
            _require_plain(item, name)
        return value

    def resolve(self, path: str) -> Path:
        """A path of the job, relative to the job's folder."""
        return self.folder / Path(path).expanduser()

    def to_json(self) -> dict[str, Any]:
        """The document that ``from_document`` reads back."""
        document = self.model_dump(mode="python", by_alias=True, exclude={"dims", "inputs", "arguments"})
        if self.precision == PrecisionTable():
            del document[
                "precision"
            ]  # so that an older onnxproof reads the bundle of a job that asks for none
        document["dims"] = {name: str(dim) for name, dim in self.dims.items()}
        document["inputs"] = {name: str(spec) for name, spec in self.inputs.items()}
        cleaned: dict[str, Any] = _without_none(document)
        if self.arguments:
            cleaned["arguments"] = _with_lists(self.arguments)  # with None, which forward may take
        return cleaned

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, folder: Path, source: str) -> Self:
        """Check a document by the schema. Raises JobError with the key, its value and what is allowed."""
        if "folder" in document:
            raise JobError(f"{source}: unknown key folder: paths start at the folder that the file lies in")
        try:
            return cls.model_validate({**document, "folder": folder})
        except ValidationError as error:
            raise JobError(*(explain(source, entry, cls) for entry in error.errors())) from error
        except RequestError as error:
            raise JobError(f"{source}: {error}") from error


@checks_arguments
def load_job(path: str | PathLike[str], set: Sequence[str] = ()) -> Job:
    """Read a job file. ``set`` are texts "section.key=value", with the value in TOML or as a bare word.

    Raises JobError if the file is missing, is no TOML, does not fit the schema, or makes several jobs.
    """
    file = Path(path)
    cells = cells_of(read_document(file), set, told(file))
    if len(cells) > 1:
        keys = ", ".join(key for key, _ in cells[0].axes)
        raise JobError(
            f"job file {file} makes {len(cells)} jobs, and one is expected here: fix the keys that its "
            f"matrix varies ({keys}) with --set KEY=VALUE, or give the bundle of one of them"
        )
    return Job.from_document(cells[0].document, folder=file.parent, source=told(file))


def _spec(name: str, text: Any) -> TensorSpec:
    if isinstance(text, TensorSpec):
        return replace(text, name=name)
    return TensorSpec.parse(name, str(text))


def _require_plain(value: Any, name: str) -> None:
    """Raise RequestError if a value cannot stand in a job."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _require_plain(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            _require_plain(item, f"{name}[{at}]")
    elif not isinstance(value, str | bool | int | float | None):
        raise RequestError(
            f"arguments.{name} is a {type(value).__name__}; expected a number, a text, a boolean, None, or a "
            "list or dict of these: tensors are [inputs], and of anything else make a module around yours"
        )


def _with_lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return list(value) if isinstance(value, tuple) else value
