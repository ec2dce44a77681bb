"""What one ONNX file promises: its inputs and outputs, what they mean, and how they are read."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, Self, TypeAlias, get_args

from onnxproof.document import Entry
from onnxproof.errors import RequestError
from onnxproof.tensors import Dim, Field, TensorSpec

LARGEST_SIDE = 65_535
"""The longest side of a picture, px: the limit of JPEG."""

LARGEST_COLOR = 255

LONGEST_NAME = 200
"""File systems take names of up to 255 bytes, and what is hidden beside a file has a longer one."""

NAME = f"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}"
"""What names a model, as a regular expression. Folders are called so: a bundle, a model of a repository."""
NAME_IN_WORDS = f'up to {LONGEST_NAME} letters, digits, ".", "_" and "-", a letter or a digit first'
SHOWN_NAME = 60
"""Characters of a wrong name that a message shows."""

LAYOUTS: Mapping[str, tuple[int, int, int]] = {"NCHW": (1, 2, 3), "NHWC": (3, 1, 2)}
"""For each layout of a picture's input: the axes of the channels, the height and the width."""


Resize: TypeAlias = Literal[
    "crop", "letterbox", "stretch", "stretch-crop", "short-side", "nearest-side", "keep"
]
Filter: TypeAlias = Literal[
    "pillow-nearest",
    "pillow-box",
    "pillow-bilinear",
    "pillow-hamming",
    "pillow-bicubic",
    "pillow-lanczos",
    "opencv-linear",
    "torch-bilinear",
    "torch-bicubic",
    "torch-lanczos",
]
Channels: TypeAlias = Literal["rgb", "bgr"]
Rounding: TypeAlias = Literal["nearest", "down"]
StepRounding: TypeAlias = Literal["nearest", "down", "up"]
Half: TypeAlias = Literal["down", "even"]
Place: TypeAlias = Literal["centre", "top-left"]
PadTo: TypeAlias = Literal["least", "size"]
WayBack: TypeAlias = Literal["sides", "ratio"]
BoxesIn: TypeAlias = Literal["input", "picture"]

PADDING: tuple[int, int, int] = (114, 114, 114)
"""The colour of letterbox padding, RGB: the grey of YOLOX (Ge et al. 2021, its reference code)."""


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class: its name, and its colour as RGB in 0..255."""

    name: str
    color: tuple[int, int, int]

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "color": list(self.color)}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object."""
        keys = entry.table(("name", "color"))
        red, green, blue = (part.whole(0, LARGEST_COLOR) for part in keys["color"].entries(3))
        return cls(keys["name"].words(), (red, green, blue))


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What the host does to a picture before the model's input; the graph does the rest.

    ``layout`` is the order of the input's axes. Pixels in 0..255 are divided by ``divide_by``: 255 if the
    input is in [0, 1], 1 if the graph scales them itself. ``size`` is in pixels.

    ``resize`` is one of these:

    - "crop": the short side becomes ``size`` pixels, then declared sizes are cut from the centre;
    - "letterbox": the long side becomes ``size`` pixels, then ``padding`` is put around;
    - "short-side": the short side becomes ``size`` pixels, but the long one ``longest`` at most; then
      ``padding`` fills up to declared sizes;
    - "stretch": both sides become ``size`` pixels, or the declared sizes that are fixed;
    - "stretch-crop": both sides become ``size`` pixels, then declared sizes are cut from the centre;
    - "nearest-side": the side that changes least becomes ``size`` pixels, the other follows;
    - "keep": no scale; only the sides are rounded to multiples of ``step``. ``size`` says nothing.

    The other keys state what frameworks do differently. Each default is what onnxproof did before it had the
    key:

    - ``filter``: whose resampling, and which. "pillow-" is ``PIL.Image.resize``; "opencv-linear" is
      ``cv2.resize`` with INTER_LINEAR; "torch-" is torchvision's ``resize`` of uint8 tensors, antialiased.
    - ``channels``: their order in the input.
    - ``longest``: the limit of "short-side", px.
    - ``enlarge``: whether "letterbox" enlarges pictures that are smaller than ``size``.
    - ``rounding``: of a letterbox's sides. For "short-side" it is the rounding of the short side of a picture
      that ``longest`` limits.
    - ``step``: "short-side", "nearest-side" and "keep" round the sides that they resize to, to multiples of
      this; ``step_rounding`` says how.
    - ``place``: where in the padding the picture lies.
    - ``half``: what becomes of the half pixel where an odd number of pixels is divided between two sides.
    - ``padding``: its colour, RGB in 0..255.
    - ``pad_to``: "least" is the smallest declared size that holds the picture; "size" is ``size`` for both
      sides of a letterbox.
    - ``way_back``: boxes return to the picture by the "sides" as they were resized, or by the "ratio" from
      before the sides were rounded, the same for both axes.
    - ``network``: the height and the width that the graph itself fits the picture to, as the keys above say;
      the file then takes pictures as they are, and ``height`` and ``width`` are their own sizes. None if the
      host fits them.
    - ``boxes``: whose pixels the file's boxes are in, if the graph fits the picture: those that the network
      sees ("input"), or the picture's own.
    """

    input: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8"]
    divide_by: int
    resize: Resize
    size: int
    height: Dim
    width: Dim
    filter: Filter = "pillow-bicubic"
    channels: Channels = "rgb"
    longest: int = LARGEST_SIDE
    enlarge: bool = True
    rounding: Rounding = "nearest"
    step: int = 1
    step_rounding: StepRounding = "nearest"
    place: Place = "centre"
    half: Half = "down"
    padding: tuple[int, int, int] = PADDING
    pad_to: PadTo = "least"
    way_back: WayBack = "sides"
    network: tuple[int, int] | None = None
    boxes: BoxesIn = "input"

    def __post_init__(self) -> None:
        sides = {
            "height": self.height.max,
            "width": self.width.max,
            "size": self.size,
            "longest": self.longest,
            "step": self.step,
        }
        for name, side in sides.items():
            if not 1 <= side <= LARGEST_SIDE:
                raise RequestError(f"preprocess.{name}: {side} px, expected 1 to {LARGEST_SIDE} px")
        if not all(0 <= value <= LARGEST_COLOR for value in self.padding):
            raise RequestError(f"preprocess.padding: {list(self.padding)}, expected 0 to {LARGEST_COLOR}")
        if self.way_back == "ratio" and (self.resize not in ("letterbox", "short-side") or self.step > 1):
            raise RequestError(
                f'preprocess.way_back = "ratio" with resize = "{self.resize}", expected "sides": only a '
                "picture that keeps its aspect and its ends has one ratio"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        network = None if self.network is None else list(self.network)
        return {**asdict(self), "padding": list(self.padding), "network": network}

    @classmethod
    def read(cls, entry: Entry) -> Self:
        """The inverse of ``to_json``; ModelFileError for any other object.

        Files of older versions have only the keys without a default.
        """
        words = {
            "filter": Filter,
            "channels": Channels,
            "rounding": Rounding,
            "step_rounding": StepRounding,
            "place": Place,
            "half": Half,
            "pad_to": PadTo,
            "way_back": WayBack,
            "boxes": BoxesIn,
        }
        keys = entry.table(
            ("input", "layout", "dtype", "divide_by", "resize", "size", "height", "width"),
            (*words, "longest", "enlarge", "padding", "step", "network"),
        )
        later: dict[str, Any] = {key: keys[key].text(get_args(words[key])) for key in words if key in keys}
        later |= {key: keys[key].whole(1, LARGEST_SIDE) for key in ("longest", "step") if key in keys}
        if "enlarge" in keys:
            later["enlarge"] = keys["enlarge"].flag()
        if "padding" in keys:
            later["padding"] = tuple(part.whole(0, LARGEST_COLOR) for part in keys["padding"].entries(3))
        if "network" in keys and keys["network"].value is not None:
            later["network"] = tuple(side.whole(1, LARGEST_SIDE) for side in keys["network"].entries(2))
        with entry.naming():
            return cls(
                input=keys["input"].text(),
                layout=keys["layout"].text(tuple(LAYOUTS)),  # type: ignore[arg-type]
                dtype=keys["dtype"].text(("float32", "uint8")),  # type: ignore[arg-type]
                divide_by=keys["divide_by"].whole(1, LARGEST_SIDE),
                resize=keys["resize"].text(get_args(Resize)),  # type: ignore[arg-type]
                size=keys["size"].whole(1, LARGEST_SIDE),
                height=Dim.read(keys["height"]),
                width=Dim.read(keys["width"]),
                **later,
            )


class Reading(Protocol):
    """How a task reads a file's outputs: their layout, and the settings of its decisions.

    It is a frozen value, made once when a file or a model is loaded. Each layout has its own type, in the
    task's module or in ``runtime/readings/``.
    """

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are read, in the order in which the task reads them."""

    def require(self, outputs: Mapping[str, TensorSpec]) -> None:
        """Raise RequestError if the outputs, by name, do not have the dtypes and axes that the task reads."""

    def settings(self) -> Mapping[str, float]:
        """The settings that a user may replace, by name."""

    def with_settings(self, **settings: float) -> Self:
        """The same reading with some of its settings replaced.

        Raises RequestError for a setting that it does not have, or a value outside its range.
        """

    def to_json(self) -> dict[str, Any]:
        """A JSON object, the manifest's ``postprocess``."""


ReadReading = Callable[[str, Entry], Reading]
"""Reads the ``postprocess`` of a manifest, given the name of its task."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What one file promises.

    ``name`` is also the name of folders (``NAME``). ``dims`` are the sizes of the named axes. ``fields`` say
    what the outputs' channels mean. ``preprocess`` is None if no input is a picture. ``classes`` stand in the
    order of the outputs' channels. ``reading`` says how the task reads the outputs.

    Raises RequestError if the name is no such name, or if the parts do not fit each other.
    """

    name: str
    task: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: tuple[Dim, ...]
    fields: tuple[Field, ...]
    preprocess: Preprocess | None
    classes: tuple[ClassInfo, ...]
    reading: Reading

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise RequestError(f"name is {json.dumps(self.name)[:SHOWN_NAME]}, expected {NAME_IN_WORDS}")
        for kind, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [spec.name for spec in specs]
            if len(set(names)) < len(names):
                raise RequestError(f"{kind}: a name comes twice among {', '.join(names)}")
        names = [dim.name for dim in self.dims]
        for name in names:
            if names.count(name) > 1:
                raise RequestError(f"dims: {name} is declared twice")
        self._require_fields()
        self._require_picture()
        outputs = {spec.name: spec for spec in self.outputs}
        for name in self.reading.outputs:
            if name not in outputs:
                listed = ", ".join(outputs) or "none"
                raise RequestError(f"postprocess.outputs names {name}, the file's outputs are {listed}")
        try:
            self.reading.require(outputs)
        except RequestError as error:
            raise RequestError(f"postprocess does not fit the outputs: {error}") from error

    def _require_fields(self) -> None:
        outputs = {spec.name: spec for spec in self.outputs}
        names = [entry.name for entry in self.fields]
        for index, entry in enumerate(self.fields):
            where = f"fields[{index}]"
            if names.count(entry.name) > 1:
                raise RequestError(f"{where}.name is {entry.name}, which another field is called, too")
            if entry.output not in outputs:
                listed = ", ".join(outputs) or "none"
                raise RequestError(f"{where}.output is {entry.output}, expected one of the outputs: {listed}")
            if entry.ranks is not None and entry.ranks not in names:
                raise RequestError(f"{where}.ranks is {entry.ranks}, expected another field's name")
            shape = outputs[entry.output].shape
            last = shape[-1] if shape else 1
            stop = entry.stop if entry.stop is not None else entry.start + 1
            if not 0 <= entry.start < stop or (isinstance(last, int) and stop > last):
                raise RequestError(
                    f"{where} has the channels {entry.start} to {entry.stop}, expected some of the last axis "
                    f"of {entry.output} {outputs[entry.output]}"
                )

    def _require_picture(self) -> None:
        spec = self.preprocess
        if spec is None:
            return
        found = next((entry for entry in self.inputs if entry.name == spec.input), None)
        if found is None:
            listed = ", ".join(entry.name for entry in self.inputs) or "none"
            raise RequestError(f"preprocess.input is {spec.input}, expected one of the inputs: {listed}")
        _, row, column = LAYOUTS[spec.layout]
        fits = len(found.shape) == 4 and all(
            found.shape[axis] == dim.name or (dim.fixed and found.shape[axis] == dim.min)
            for axis, dim in ((row, spec.height), (column, spec.width))
        )
        if not fits or found.dtype != spec.dtype:
            raise RequestError(
                f"preprocess lays {spec.dtype} pictures in as {spec.layout}, {spec.height.name} by "
                f"{spec.width.name}, and the input {spec.input} is {found}"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object. The reading is under "postprocess"."""
        return {
            "name": self.name,
            "task": self.task,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "fields": [asdict(entry) for entry in self.fields],
            "dims": [asdict(dim) for dim in self.dims],
            "preprocess": None if self.preprocess is None else self.preprocess.to_json(),
            "classes": [entry.to_json() for entry in self.classes],
            "postprocess": self.reading.to_json(),
        }

    @classmethod
    def read(cls, keys: Mapping[str, Entry], read_reading: ReadReading) -> Self:
        """The inverse of ``to_json``, from the entries of its object by key. Other keys are ignored.

        Files of older versions have no "fields". They get one field for each output. Raises ModelFileError,
        which names the key, if a value is not what the key expects.
        """
        task = keys["task"].text()
        outputs = tuple(TensorSpec.read(entry) for entry in keys["outputs"].entries())
        fields, preprocess = keys.get("fields"), keys["preprocess"]
        return cls(
            name=keys["name"].text(),
            task=task,
            inputs=tuple(TensorSpec.read(entry) for entry in keys["inputs"].entries()),
            outputs=outputs,
            dims=tuple(Dim.read(entry) for entry in keys["dims"].entries()),
            fields=whole_outputs(outputs)
            if fields is None
            else tuple(Field.read(entry) for entry in fields.entries()),
            preprocess=None if preprocess.value is None else Preprocess.read(preprocess),
            classes=tuple(ClassInfo.read(entry) for entry in keys["classes"].entries()),
            reading=read_reading(task, keys["postprocess"]),
        )


def whole_outputs(outputs: Iterable[TensorSpec]) -> tuple[Field, ...]:
    """One field for each output, for a file that does not say what its channels mean. Floats are continuous;
    integers and booleans are labels."""
    return tuple(
        Field(spec.name, spec.name, "", kind="continuous" if "float" in spec.dtype else "label")
        for spec in outputs
    )
