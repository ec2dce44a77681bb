"""Reads the files beside a checkpoint in the tutorials' folder layout.

- ``*-colormap.json`` is ``{"items": [{"label", "color"}]}``, with colours as RGB in [0, 1].
- ``*-classes.json`` takes its place for classes that need no colours. It is a list of names.
- ``norm_stats.json`` is ``{"mean", "std_dev"}``, with a value for each channel of an input in [0, 1].
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxproof.contract import ClassInfo
from onnxproof.errors import CheckpointError
from onnxproof.system.parsed import json_in

Channels = tuple[float, float, float]

NORM_STATS = "norm_stats.json"

HUE_STEP = (5**0.5 - 1) / 2
"""The step from one class's hue to the next, as a share of the colour circle. A step of the golden ratio
keeps the hues apart for any number of classes."""


def name_classes(names: Sequence[str]) -> tuple[ClassInfo, ...]:
    """Classes of these names. Each gets a bright colour of its own."""
    classes = []
    for index, name in enumerate(names):
        shares = colorsys.hsv_to_rgb(index * HUE_STEP % 1, 0.75, 1)
        red, green, blue = (round(255 * share) for share in shares)
        classes.append(ClassInfo(name, (red, green, blue)))
    return tuple(classes)


def number_classes(count: int) -> tuple[ClassInfo, ...]:
    """Classes that have no names. Each is named after its index."""
    return name_classes([str(index) for index in range(count)])


def read_classes(folder: Path) -> tuple[ClassInfo, ...] | None:
    """The classes in the folder's colormap or list of classes, in order. Returns None if it has neither.

    Raises CheckpointError if the folder holds several of these files, or one that cannot be read.
    """
    files = sorted({*folder.glob("*colormap.json"), *folder.glob("*classes.json")})
    if not files:
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise CheckpointError(
            f"{folder} holds {len(files)} files of classes ({names}): leave only the model's own"
        )
    document = read_json(files[0])
    if files[0].name.endswith("classes.json"):
        if not isinstance(document, list) or not all(isinstance(name, str) for name in document):
            raise CheckpointError(f'{files[0]} is no list of classes: expected ["cat", "dog"]')
        return name_classes(document)
    try:
        return tuple(ClassInfo(str(item["label"]), _to_rgb(item["color"])) for item in document["items"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(
            f'{files[0]} is no colormap: expected {{"items": [{{"label": "cat", "color": [0.1, 0.5, 1]}}]}}'
        ) from error


def read_norm_stats(folder: Path) -> tuple[Channels, Channels] | None:
    """Mean and standard deviation in the folder's norm_stats.json. Returns None if there is no such file.

    Raises CheckpointError if the file cannot be read.
    """
    file = folder / NORM_STATS
    if not file.is_file():
        return None
    document = read_json(file)
    try:
        mean = tuple(float(value) for value in document["mean"])
        std = tuple(float(value) for value in document["std_dev"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f'{file}: expected {{"mean": [r, g, b], "std_dev": [r, g, b]}}') from error
    if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
        raise CheckpointError(
            f"{file}: got mean {list(mean)} and std_dev {list(std)}; expected three of each, std_dev above 0"
        )
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def _to_rgb(color: Any) -> tuple[int, int, int]:
    red, green, blue = (min(max(int(float(value) * 255), 0), 255) for value in color)
    return red, green, blue


def read_json(file: Path) -> Any:
    """What a JSON file holds. Raises CheckpointError if it cannot be read."""
    try:
        return json_in(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
