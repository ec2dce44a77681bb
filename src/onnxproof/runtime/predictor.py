"""Run a bundle or a lone ONNX file on pictures, with ONNX Runtime and the file's own metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any

import onnxruntime as ort
from PIL import Image

from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.manifest import METADATA_KEY, Manifest
from onnxproof.runtime.preprocess import Picture, prepare, read_picture
from onnxproof.runtime.tasks import get_task

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Prediction:
    """One picture's decisions in its own coordinates. ``decisions`` is the task's own value."""

    task: str
    decisions: Any
    manifest: Manifest
    width: int
    height: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object; its keys are the task's."""
        return get_task(self.task).to_json(self.decisions, self.manifest.classes, self.width, self.height)

    def lines(self) -> tuple[str, ...]:
        """The decisions as text: a summary, then a line for each."""
        return get_task(self.task).lines(self.decisions, self.manifest.classes)

    def draw(self, picture: Picture) -> Image.Image:
        """A copy of the picture with the decisions drawn on it."""
        return get_task(self.task).draw(read_picture(picture), self.decisions, self.manifest.classes)


class Predictor:
    """A loaded model. Made by ``load``; safe to call from several threads."""

    def __init__(
        self, session: ort.InferenceSession, manifest: Manifest, postprocess: Mapping[str, Any]
    ) -> None:
        self.session = session
        self.manifest = manifest
        self.postprocess = postprocess
        self._task = get_task(manifest.task)

    def predict(self, picture: Picture) -> Prediction:
        """The decisions on one picture: a path, a file's bytes, a PIL image, or uint8 [H, W, 3] in RGB.

        Raises PictureError where the picture cannot be read or fitted to the model's input, RequestError
        where the model takes no picture, ModelFileError where ONNX Runtime cannot run it.
        """
        spec = self.manifest.preprocess
        if spec is None:
            raise RequestError(
                f"the model's inputs are {', '.join(map(str, self.manifest.inputs))}, none a picture: "
                "give arrays, --input NAME=FILE.npy (in Python, onnxproof.runtime.load_plain)"
            )
        array, transform = prepare(picture, spec)
        names = [output.name for output in self.session.get_outputs()]
        try:
            # ONNX Runtime's exceptions have no common public base below Exception.
            values = self.session.run(names, {spec.input: array})
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelFileError(
                f"the model does not run on {spec.input} {array.dtype}{list(array.shape)} ({reason}): "
                "was the file changed? Export it again."
            ) from error
        outputs = dict(zip(names, values, strict=True))
        height, width = array.shape[2:] if spec.layout == "NCHW" else array.shape[1:3]
        sizes = {"batch": 1, spec.height.name: height, spec.width.name: width}
        (evidence,) = self._task.evidence(outputs, sizes, self.postprocess, {})
        decisions = self._task.restore(self._task.decide(evidence, self.postprocess), transform)
        return Prediction(
            self.manifest.task, decisions, self.manifest, transform.picture_width, transform.picture_height
        )


def load(
    path: str | PathLike[str],
    *,
    providers: Sequence[str] = (CPU,),
    threads: int = 0,
    overrides: Mapping[str, float] = MappingProxyType({}),
) -> Predictor:
    """Load a bundle (a folder) or a lone ``.onnx`` file that onnxproof wrote.

    ``threads`` is ONNX Runtime's number of intra-op threads (0: as many as it chooses); ``overrides``
    replace settings of the task that the file carries, such as "score_threshold" and "iou_threshold".
    Raises ModelFileError where the file is missing, broken or without onnxproof's metadata,
    RequestError for a setting that the task does not have, or a value outside of [0, 1].
    """
    file = model_file(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return predictor_of(open_session(file, options, providers), file, overrides)


def predictor_of(
    session: ort.InferenceSession, file: Path, overrides: Mapping[str, float] = MappingProxyType({})
) -> Predictor:
    """A predictor on a session that is open already; ``file`` is for messages. Raises as ``load``."""
    manifest = read_metadata(session.get_modelmeta().custom_metadata_map, file)
    unknown = sorted(set(overrides) - set(manifest.postprocess))
    if unknown:
        raise RequestError(
            f"{unknown[0]} is not a setting of task {manifest.task}; "
            f"there are: {', '.join(sorted(manifest.postprocess)) or 'none'}"
        )
    for name, value in overrides.items():
        if not 0 <= value <= 1:
            raise RequestError(f"{name} = {value}: expected a number from 0 to 1")
    return Predictor(session, manifest, {**manifest.postprocess, **overrides})


def model_file(path: str | PathLike[str]) -> Path:
    """The ONNX file that a bundle's folder or a file's path names; ModelFileError where there is none."""
    given = Path(path)
    file = given / MODEL_FILE if given.is_dir() else given
    if not file.is_file():
        what = f"the folder {given} holds no {MODEL_FILE}" if given.is_dir() else f"{given} does not exist"
        raise ModelFileError(f"{what}: give a bundle (the folder that export wrote) or an .onnx file")
    return file


def open_session(file: Path, options: ort.SessionOptions, providers: Sequence[str]) -> ort.InferenceSession:
    """An ONNX Runtime session; ModelFileError where the file cannot be loaded, RequestError where a
    provider is not there."""
    require_providers(providers)
    try:
        # ONNX Runtime's exceptions have no common public base below Exception.
        return ort.InferenceSession(str(file), options, providers=list(providers))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelFileError(
            f"{file} cannot be loaded by ONNX Runtime ({reason}): is it whole? Export it again."
        ) from error


def require_providers(providers: Sequence[str]) -> None:
    """RequestError where an execution provider is not in the ONNX Runtime that is installed."""
    available = ort.get_available_providers()
    missing = [provider for provider in providers if provider not in available]
    if missing:
        raise RequestError(
            f'execution provider "{missing[0]}" is not in this ONNX Runtime; '
            f"there are: {', '.join(available)}"
        )


def read_metadata(metadata: Mapping[str, str], file: Path) -> Manifest:
    """The manifest in an ONNX file's metadata; ModelFileError where there is none."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelFileError(
            f"{file} carries no onnxproof metadata, so what its outputs mean is not known: "
            "give a file that onnxproof exported, or run this one with arrays: onnxproof predict "
            "MODEL.onnx --input NAME=FILE (in Python, onnxproof.runtime.load_plain)"
        )
    return _parse_manifest(text, f"{file}'s metadata")


def read_manifest(bundle: Path) -> Manifest:
    """The ``manifest.json`` of a bundle; ModelFileError where it is missing or broken."""
    file = bundle / MANIFEST_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{bundle} is no bundle: it holds no {MANIFEST_FILE}; give a folder that export wrote"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{file} cannot be read ({error}): export the bundle again") from error
    return _parse_manifest(text, str(file))


def _parse_manifest(text: str, source: str) -> Manifest:
    try:
        return Manifest.from_json(json.loads(text))
    except json.JSONDecodeError as error:
        raise ModelFileError(f"{source} is no JSON ({error}): export the model again") from error
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error
