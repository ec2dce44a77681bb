"""A stream of pictures is answered in order, whatever their sizes, and each stage is timed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxproof
from onnxproof.errors import PictureError, RequestError
from onnxproof.runtime import Prediction, Timings

SCENES = sorted((Path(__file__).parents[2] / "examples" / "digits" / "images").glob("*.png"))[:3]


def mixed(bundle: Path) -> tuple[onnxproof.Predictor, list[Any]]:
    """A predictor, and pictures of three sizes among each other."""
    images = [np.asarray(Image.open(scene).convert("RGB")) for scene in SCENES]
    pictures = [np.ascontiguousarray(image[:rows]) for rows in (256, 192, 256, 128) for image in images]
    return onnxproof.load(bundle, threads=1), pictures


def test_the_answers_are_those_of_one_picture_at_a_time_in_order(demo_bundle: Path) -> None:
    predictor, pictures = mixed(demo_bundle)
    alone = [predictor.predict(picture) for picture in pictures]
    told = Timings()
    streamed = list(predictor.stream(pictures, batch=3, ahead=5, readers=2, timings=told))
    assert len(streamed) == len(alone) > 0
    for one, other in zip(streamed, alone, strict=True):
        assert isinstance(one, Prediction)
        assert (one.width, one.height) == (other.width, other.height)
        assert one.decisions.labels.tolist() == other.decisions.labels.tolist()
        np.testing.assert_allclose(one.decisions.boxes, other.decisions.boxes, atol=1e-2)
    assert sum(len(one.decisions.labels) for one in alone) > 0
    assert told.pictures == len(pictures)
    assert min(told.decode, told.prepare, told.run, told.decide) > 0


def test_a_bad_picture_is_an_error_in_its_place(demo_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    predictor = onnxproof.load(demo_bundle, threads=1)
    found = list(predictor.stream([SCENES[0], tmp_path / "bad.png", SCENES[1]], batch=2))
    assert [isinstance(one, PictureError) for one in found] == [False, True, False]


def test_no_more_pictures_are_taken_than_may_be_held(demo_bundle: Path) -> None:
    predictor, pictures = mixed(demo_bundle)
    taken: list[int] = []

    def frames() -> Iterator[Any]:
        for number, picture in enumerate(pictures):
            taken.append(number)
            yield picture

    stream = predictor.stream(frames(), batch=2, ahead=4)
    next(stream)
    assert len(taken) <= 5
    stream.close()
    assert list(predictor.stream([], batch=2)) == []
    with pytest.raises(RequestError, match="expected 1 or more"):
        next(predictor.stream(pictures, ahead=0))


def test_an_error_of_the_source_is_raised(demo_bundle: Path) -> None:
    def frames() -> Iterator[Any]:
        yield SCENES[0]
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        list(onnxproof.load(demo_bundle, threads=1).stream(frames(), batch=1, ahead=1))
