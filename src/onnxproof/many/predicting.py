"""``predict`` over many pictures: each worker has its own session, and answers keep the pictures' order."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxproof.errors import ModelFileError, PictureError
from onnxproof.many.chunks import chunks_of
from onnxproof.many.engines import Engine
from onnxproof.many.journal import Journal
from onnxproof.many.run import completed
from onnxproof.many.worker import THREADS, Work
from onnxproof.progress import Progress, silent
from onnxproof.runtime.folder import model_file, require_checksums
from onnxproof.runtime.loading import load
from onnxproof.runtime.remote import Place, seen_from
from onnxproof.source import sha256_of
from onnxproof.system.parsed import parse_json
from onnxproof.text import json_text, one_line


@dataclass(frozen=True, slots=True)
class Answers:
    """The lines of some pictures in a row, and how many of the pictures cannot be used."""

    lines: tuple[str, ...]
    failed: int


@dataclass(frozen=True, slots=True)
class Predict:
    """Predict on each picture. ``form`` is that of a line: JSON, or the text that the command prints.

    ``sha256`` is the model's: a worker elsewhere may have another file at that path. ``settings`` replace
    those of the file's reading. ``batch`` is as for ``Predictor.predict_each``. Relative paths of pictures
    start at ``folder``. ``checksums`` is as for ``load``.
    """

    model: str
    sha256: str
    settings: tuple[tuple[str, float], ...] = ()
    batch: int = 1
    form: Literal["json", "text"] = "json"
    folder: str = ""
    checksums: bool = True

    def to_json(self) -> dict[str, Any]:
        """What the answers depend on, as the journal keeps it."""
        return {
            "command": "predict",
            "model_sha256": self.sha256,
            "settings": dict(self.settings),
            "batch": self.batch,
            "form": self.form,
            "threads": THREADS,
        }

    def open(self) -> Work:
        """Load the model. Raises ModelFileError if it is not there, or another."""
        file = model_file(self.model)
        sum_of = functools.cache(sha256_of)  # a large model is read once, not twice
        if sum_of(file) != self.sha256:
            raise ModelFileError(f"{file} is another file where this worker runs: give all workers the same")
        predictor = load(self.model, threads=THREADS, settings=dict(self.settings), checksums=False)
        if self.checksums:
            require_checksums(self.model, sum_of)

        def work(pictures: Sequence[Place]) -> bytes:
            places = [seen_from(self.folder, picture) for picture in pictures]
            answers = predictor.predict_each(places, batch=self.batch)
            lines, failed = [], 0
            for picture, one in zip(pictures, answers, strict=True):
                failed += isinstance(one, PictureError)
                lines.append(self._line(picture, one))
            return json.dumps([failed, lines]).encode()

        return work

    def _line(self, picture: Place, one: Any) -> str:
        if self.form == "text":
            told = f"error: {one}" if isinstance(one, PictureError) else str(one)
            return one_line(f"{picture}: ") + (one_line(told) if isinstance(one, PictureError) else told)
        if isinstance(one, PictureError):
            return json_text({"image": str(picture), "error": error_json(one)}, indent=None)
        return json_text({"image": str(picture), **one.to_json()}, indent=None)


def error_json(error: PictureError) -> dict[str, str]:
    """A picture's error, in place of its answer."""
    return {"type": type(error).__name__, "message": str(error)}


def predict_task(
    model: Path,
    sha256: str,
    settings: dict[str, float],
    batch: int,
    form: Literal["json", "text"],
    *,
    checksums: bool,
) -> Predict:
    """The task for a bundle or an ONNX file, whose model has that SHA-256."""
    own = tuple(sorted(settings.items()))
    return Predict(str(model.absolute()), sha256, own, batch, form, str(Path.cwd()), checksums)


def predict_many(
    task: Predict,
    pictures: Sequence[Place],
    engine: Engine,
    journal: Journal,
    *,
    keep: bool,
    progress: Progress = silent,
) -> Iterator[Answers]:
    """The answers on all pictures, in their order, a chunk at a time.

    A picture that cannot be used is an error in its place. What is printed is dropped from the journal
    unless ``keep``. Raises as ``run.completed`` does.
    """
    waiting: dict[int, str] = {}
    following = done = 0
    stage = f"predict on {len(pictures)} pictures, {engine}"
    for chunk in completed(task, chunks_of(pictures, journal.key), engine, journal):
        done += len(chunk.pictures)
        progress(stage, done, len(pictures))
        waiting[chunk.number] = chunk.name
        while following in waiting:
            name = waiting.pop(following)
            failed, lines = parse_json(journal.taken(name))
            yield Answers(tuple(lines), failed)
            following += 1
            if not keep:
                journal.drop(name)
