"""What a bundle says of itself: the manifest, in ``manifest.json`` and in the model's own metadata."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from onnxproof.errors import ModelFileError
from onnxproof.tensors import Dim, Field, TensorSpec

FORMAT = 1
METADATA_KEY = "onnxproof"
"""The key of the ONNX file's ``metadata_props`` that holds the manifest as JSON."""

IN_FILE_ONLY = ("model_sha256",)
"""Keys of ``manifest.json`` that cannot stand inside the file they describe."""


@dataclass(frozen=True, slots=True)
class ClassInfo:
    """A class: its name, and its colour as RGB in 0..255."""

    name: str
    color: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What the host does to a picture before the model's input; the graph does the rest.

    ``layout`` is the order of the input's axes; pixels in 0..255 are divided by ``divide_by`` (255
    where the input is in [0, 1], 1 where the graph scales them itself).
    ``resize`` is "crop" (short side to ``size`` pixels, then a centre crop to declared sizes),
    "letterbox" (long side to ``size`` pixels, then grey padding) or "stretch".
    """

    input: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "uint8"]
    divide_by: int
    resize: Literal["crop", "letterbox", "stretch"]
    size: int
    height: Dim
    width: Dim

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``dataclasses.asdict``."""
        return cls(**{**value, "height": Dim(**value["height"]), "width": Dim(**value["width"])})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The facts that a bundle carries. ``preprocess`` is None where no input is a picture.

    ``postprocess`` is what the task needs to turn outputs into decisions (thresholds, layout); ``fields``
    say what the outputs' channels mean, for whoever compares two files.
    ``job`` is the job that made the bundle, its paths relative to the bundle.
    """

    name: str
    task: str
    family: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dims: tuple[Dim, ...]
    preprocess: Preprocess | None
    classes: tuple[ClassInfo, ...]
    postprocess: Mapping[str, Any]
    opset: int
    exporter: str
    simplify: str
    checkpoint_sha256: str | None
    model_sha256: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    job: Mapping[str, Any] | None = None
    fields: tuple[Field, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document of ``manifest.json``."""
        return {
            "format": FORMAT,
            "name": self.name,
            "task": self.task,
            "family": self.family,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "fields": [asdict(entry) for entry in self.fields],
            "dims": [asdict(dim) for dim in self.dims],
            "preprocess": None if self.preprocess is None else asdict(self.preprocess),
            "classes": [{"name": entry.name, "color": list(entry.color)} for entry in self.classes],
            "postprocess": dict(self.postprocess),
            "opset": self.opset,
            "exporter": self.exporter,
            "simplify": self.simplify,
            "checkpoint_sha256": self.checkpoint_sha256,
            "model_sha256": self.model_sha256,
            "versions": dict(self.versions),
            "job": None if self.job is None else dict(self.job),
        }

    def to_metadata(self) -> str:
        """The text for the ONNX file's own metadata: no checksum of itself, no paths, sorted keys."""
        document = self.to_json()
        for key in (*IN_FILE_ONLY, "job"):
            del document[key]
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; ModelFileError where a key is missing or the format is newer."""
        found = value.get("format") if isinstance(value, Mapping) else None
        if found != FORMAT:
            raise ModelFileError(
                f"manifest format {found!r} is not {FORMAT}: "
                "read this bundle with the onnxproof that wrote it, or export it again"
            )
        try:
            preprocess = value["preprocess"]
            outputs = tuple(TensorSpec.from_json(spec) for spec in value["outputs"])
            fields = value.get("fields")
            return cls(
                name=value["name"],
                task=value["task"],
                family=value["family"],
                inputs=tuple(TensorSpec.from_json(spec) for spec in value["inputs"]),
                outputs=outputs,
                dims=tuple(Dim(**dim) for dim in value["dims"]),
                preprocess=None if preprocess is None else Preprocess.from_json(preprocess),
                classes=tuple(ClassInfo(entry["name"], tuple(entry["color"])) for entry in value["classes"]),
                postprocess=dict(value["postprocess"]),
                opset=value["opset"],
                exporter=value["exporter"],
                simplify=value["simplify"],
                checkpoint_sha256=value["checkpoint_sha256"],
                model_sha256=value.get("model_sha256"),
                versions=dict(value["versions"]),
                job=value.get("job"),
                # Files that were written before fields were have none.
                fields=whole_outputs(outputs)
                if fields is None
                else tuple(Field(**entry) for entry in fields),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ModelFileError(
                f"the manifest is not one that onnxproof wrote ({type(error).__name__}: {error}); "
                "export the model again"
            ) from error


def whole_outputs(outputs: Iterable[TensorSpec]) -> tuple[Field, ...]:
    """One field an output, where nothing says what its channels mean: floats are continuous, integers and
    booleans are labels."""
    return tuple(
        Field(spec.name, spec.name, "", kind="continuous" if spec.dtype.startswith("float") else "label")
        for spec in outputs
    )
