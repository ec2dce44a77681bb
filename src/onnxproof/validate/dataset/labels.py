"""Labelled pictures from a JSON file in COCO's layout (Lin et al. 2014, arXiv:1405.0312; the data format of
cocodataset.org): ``images``, ``annotations`` and ``categories``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxproof.contract import ClassInfo
from onnxproof.errors import JobError, PictureError
from onnxproof.system.parsed import json_in
from onnxproof.text import near

KEY = "validate.annotations"
LISTS = ("images", "annotations", "categories")
LARGEST = 2**32
"""Bytes of a file of labels that is read. That of LVIS has 1.1 GB."""
SHOWN_CLASSES = 12
"""How many of the model's classes a message lists."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One labelled object. ``label`` is the model's class; the rest is as in COCO's JSON.

    ``bbox`` is (x, y, width, height) in px, ``mask`` polygons or a run-length code, ``area`` in px², and
    ``points`` x, y, v of each keypoint: each is None if the JSON does not have it. ``crowd`` says whether it
    is a crowd.
    """

    label: int
    bbox: tuple[float, float, float, float] | None
    mask: Any
    area: float | None
    crowd: bool
    points: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """A picture and its labelled objects. ``width`` and ``height`` are those in the JSON, px."""

    file: Path
    width: int
    height: int
    annotations: tuple[Annotation, ...]

    @property
    def labels(self) -> frozenset[int]:
        """The classes that are labelled on it."""
        return frozenset(annotation.label for annotation in self.annotations)


@dataclass(frozen=True, slots=True)
class Labels:
    """The pictures of a JSON file, in its order, and the names of the model's classes."""

    pictures: tuple[LabelledPicture, ...]
    classes: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many annotations there are."""
        return sum(len(picture.annotations) for picture in self.pictures)


def read_labels(
    given: str, file: Path, folders: Sequence[Path], classes: Sequence[ClassInfo], needs: Sequence[str] = ()
) -> Labels:
    """Read the labelled pictures of a COCO JSON.

    ``given`` is the path as the job has it, for messages. ``folders`` are searched for pictures that are not
    beside the JSON. ``classes`` are the model's; categories are matched with them by name. ``needs`` names
    what each annotation must have, such as "bbox" or "segmentation".

    Raises JobError if the file is missing, is no COCO JSON, labels nothing, or names a category that the
    model has no class for; PictureError if a picture is missing.
    """
    said = f'{KEY} = "{given}"'
    document = _read(said, file)
    names = [entry.name for entry in classes]
    if not names:
        raise JobError(
            f"{said}: the model's classes have no names to match the categories with: name them in a "
            "*-classes.json beside the checkpoint, or in model.classes"
        )
    images = {_whole(said, image, "images", "id"): image for image in document["images"]}
    annotated: dict[int, list[Annotation]] = {identity: [] for identity in images}
    categories = {
        _whole(said, entry, "categories", "id"): str(entry.get("name")) for entry in document["categories"]
    }
    for entry in document["annotations"]:
        image = _whole(said, entry, "annotations", "image_id")
        if image not in images:
            raise JobError(f"{said}: an annotation is of image {image}, which images does not list")
        annotated[image].append(_annotation(said, entry, categories, names, needs))
    if not any(annotated.values()):
        raise JobError(
            f"{said}: it labels nothing on its {len(images)} pictures, so there is nothing to measure: "
            "give the file with the ground truth"
        )
    pictures = tuple(
        LabelledPicture(
            _find(said, str(image.get("file_name")), (file.parent, *folders)),
            _whole(said, image, "images", "width"),
            _whole(said, image, "images", "height"),
            tuple(annotated[identity]),
        )
        for identity, image in images.items()
    )
    return Labels(pictures, tuple(names))


def _read(said: str, file: Path) -> Mapping[str, Any]:
    try:
        document = json_in(file, LARGEST)
    except FileNotFoundError as error:
        raise JobError(
            f"{said}: {file} does not exist: give the path of a COCO JSON, relative to the job"
        ) from error
    except OSError as error:
        raise JobError(f"{said}: it cannot be read ({error.strerror or error}): give a COCO JSON") from error
    except ValueError as error:
        raise JobError(f"{said}: it cannot be read as JSON ({error}): give a COCO JSON") from error
    if isinstance(document, list):
        raise JobError(
            f"{said}: it is a list, as files of COCO results are: give the one with the ground truth, an "
            f"object with {', '.join(LISTS)}"
        )
    missing = [
        key for key in LISTS if not isinstance(document, Mapping) or not isinstance(document.get(key), list)
    ]
    if missing:
        raise JobError(
            f"{said}: it is no COCO JSON, since it has no list {' and no list '.join(missing)}: expected an "
            f"object with the lists {', '.join(LISTS)}"
        )
    for key in LISTS:
        if not all(isinstance(entry, Mapping) for entry in document[key]):
            raise JobError(f"{said}: it is no COCO JSON, since {key} holds an entry that is no object")
    found: Mapping[str, Any] = document
    return found


def _whole(said: str, entry: Mapping[str, Any], table: str, key: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise JobError(f"{said}: an entry of {table} has {key} = {value!r}: expected a whole number")
    return value


def _annotation(
    said: str,
    entry: Mapping[str, Any],
    categories: Mapping[int, str],
    names: Sequence[str],
    needs: Sequence[str],
) -> Annotation:
    category = _whole(said, entry, "annotations", "category_id")
    if category not in categories:
        raise JobError(f"{said}: an annotation has category {category}, which categories does not list")
    box, area = entry.get("bbox"), entry.get("area")
    for need in needs:
        if not entry.get(need):
            raise JobError(
                f'{said}: annotation {entry.get("id")} has no "{need}", which this task is measured by: '
                "label it, or take it out"
            )
    if box is not None and not (
        isinstance(box, list) and len(box) == 4 and all(_is_finite(value) for value in box)
    ):
        raise JobError(f"{said}: annotation {entry.get('id')} has bbox = {box!r}: expected [x, y, w, h]")
    return Annotation(
        label=_class_of(said, categories[category], names),
        bbox=None if not box else (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        mask=entry.get("segmentation") or None,
        area=float(area) if area is not None and _is_finite(area) else None,
        crowd=bool(entry.get("iscrowd", 0)),
        points=_points(said, entry),
    )


def _points(said: str, entry: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The keypoints of an annotation: a list of x, y, v for each."""
    points = entry.get("keypoints")
    if not points:
        return None
    if not isinstance(points, list) or len(points) % 3 or not all(_is_finite(value) for value in points):
        raise JobError(
            f"{said}: annotation {entry.get('id')} has keypoints that are no list of x, y, v for each point"
        )
    return tuple(float(value) for value in points)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _class_of(said: str, category: str, names: Sequence[str]) -> int:
    if category in names:
        return names.index(category)
    close = near(category, names)
    hint = f' (is it "{close[0]}"?)' if close else ""
    listed = ", ".join(names[:SHOWN_CLASSES]) + (", …" if len(names) > SHOWN_CLASSES else "")
    raise JobError(
        f'{said}: the category "{category}" is annotated, and the model has no class of this name{hint}; '
        f"there are: {listed}. Rename the category as the class, or take its annotations out"
    )


def _find(said: str, name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(str(folder) for folder in dict.fromkeys(folders))
    raise PictureError(
        f"{said}: the picture {name} is missing, looked for in {looked}: put it beside the JSON, or name its "
        "folder in validate.images"
    )
