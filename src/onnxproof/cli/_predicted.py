"""What predict prints and draws of decisions: on pictures, on the frames of videos, or on arrays alone."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from onnxproof.cli._document import show_json
from onnxproof.cli._pictures import check_drawings
from onnxproof.errors import PictureError, RequestError
from onnxproof.runtime import Prediction, Predictor
from onnxproof.runtime.drawings import drawing_names, save_drawing
from onnxproof.runtime.preprocess import Picture
from onnxproof.runtime.remote import Place
from onnxproof.runtime.video import frames_of, is_video
from onnxproof.system.files import check_folder, explained
from onnxproof.system.folders import made_folder
from onnxproof.text import one_line

SOME_FAILED = 2
"""The exit code if one of the pictures on the command line did not work."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What to predict on. ``many`` says that a picture that cannot be used does not end the run."""

    images: Sequence[Place]
    arrays: Mapping[str, Any]
    draw: Path | None
    batch: int
    many: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A picture or a frame: its name as JSON and as text, and where it is drawn below the folder for it."""

    head: Mapping[str, Any]
    name: str
    picture: Picture
    drawing: Path


def print_decisions(
    predictor: Predictor, asked: Asked, read: Sequence[Path], *, as_json: bool, jsonl: bool
) -> int:
    """Print the decisions on each image, in order, or on the arrays alone. Returns the exit code.

    ``read`` are the files that the command reads. Raises RequestError if a drawing would replace one of them,
    PictureError for a lone picture that cannot be used.
    """
    if asked.draw is not None:
        _check_drawings(asked.draw, asked.images, read)
    shown = _Shown(as_json=as_json, jsonl=jsonl)
    if not asked.images:
        shown.add({}, None, predictor.predict(None, asked.arrays))
        return shown.end(alone=True)
    # Held from when they are read to when they are answered: as many as the stream holds.
    held: deque[_Item] = deque()

    def pictures() -> Iterator[Picture]:
        for item in _items(asked.images):
            held.append(item)
            yield item.picture

    readers = 1 if asked.many else 0
    with closing(predictor.stream(pictures(), asked.arrays, batch=asked.batch, readers=readers)) as answers:
        for one in answers:
            item = held.popleft()
            if isinstance(one, PictureError) and not asked.many:
                raise one
            if isinstance(one, Prediction) and asked.draw is not None:
                draw(one, item.picture, asked.draw / item.drawing)
            shown.add(item.head, item.name, one)
    return shown.end()


def told_failed(failed: int, count: int) -> int:
    """Say how many pictures cannot be used. Returns the exit code."""
    if not failed:
        return 0
    click.echo(f"onnxproof: {failed} of {count} pictures cannot be used, see the answer", err=True)
    return SOME_FAILED


def draw(prediction: Prediction, picture: Picture, file: Path) -> None:
    """Write a drawing, and the folders that it needs. Raises RequestError if that fails."""
    with explained(file.parent, "--draw"), made_folder(file.parent):
        save_drawing(prediction.draw(picture), file)


class _Shown:
    """Prints each answer, or keeps it for the one document at the end."""

    def __init__(self, *, as_json: bool, jsonl: bool) -> None:
        self._as_json, self._jsonl = as_json, jsonl
        self._results: list[dict[str, Any]] = []
        self._failed = self._count = 0

    def add(self, head: Mapping[str, Any], name: str | None, one: Prediction | PictureError) -> None:
        self._count += 1
        failed = isinstance(one, PictureError)
        self._failed += failed
        if not self._as_json and not self._jsonl:
            told = one_line(f"error: {one}") if failed else str(one)
            click.echo(told if name is None else f"{one_line(name)}: {told}")
            return
        if isinstance(one, PictureError):
            result = {**head, "error": {"type": type(one).__name__, "message": str(one)}}
        else:
            result = {**head, **one.to_json()}
        if self._jsonl:
            show_json(result, line=True)
        else:
            self._results.append(result)

    def end(self, *, alone: bool = False) -> int:
        """Print the document, if there is one: a list, or the only answer. Returns the exit code."""
        if self._as_json:
            show_json(self._results[0] if alone else self._results)
        return told_failed(self._failed, self._count)


def _items(images: Sequence[Place]) -> Iterator[_Item]:
    """The pictures, and in a video's place its frames."""
    for image, name in zip(images, drawing_names(images), strict=True):
        if not is_video(image):
            yield _Item({"image": str(image)}, str(image), image, Path(name))
            continue
        for frame in frames_of(str(image)):
            head = {"image": str(image), "frame": frame.index, "time": frame.time}
            at = "" if frame.time is None else f", {frame.time:.3f} s"
            yield _Item(head, f"{frame}{at}", frame, Path(Path(name).stem, f"{frame.index:06}.png"))


def _check_drawings(folder: Path, images: Sequence[Place], read: Sequence[Path]) -> None:
    if not images:
        raise RequestError("--draw needs a picture to draw on, and arrays alone are given: leave it out")
    named = list(zip(images, drawing_names(images), strict=True))
    check_drawings(folder, [name for image, name in named if not is_video(image)], read)
    for image, name in named:
        if is_video(image):
            check_folder(folder / Path(name).stem, "--draw")
