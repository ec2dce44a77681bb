"""Coarse maps at a picture's own pixels, depth, and the colours of a scale."""

import numpy as np
import pytest
from contracts import Whole
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.errors import ModelFileError
from onnxproof.runtime.color_scale import COUNT, colors, paint
from onnxproof.runtime.maps import interpolate, places_across, places_in, strips
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks.depth import MapValues
from onnxproof.runtime.tasks.segmentation import NOWHERE, PixelLogits

DEPTH = Whole("depth")
COARSE = MapValues(("depth",), ("height", "width"), "cubic")
SIZES = {"height": 8, "width": 8}


@pytest.mark.parametrize("how", ["nearest", "linear", "cubic"])
def test_a_map_of_the_pictures_size_stays_as_it_is(how: str) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 4))
    found = interpolate(values, places_across(3, 4, (3, 4)), how)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, values, atol=1e-12)


def test_values_between_centres_are_weighted_and_edges_go_on() -> None:
    found = interpolate(np.array([[[0.0, 4.0]]]), places_across(1, 8, (1, 2)), "linear")
    np.testing.assert_allclose(found[0, 0], [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4])


def test_cubic_interpolation_keeps_a_constant_and_swings_over_an_edge() -> None:
    places = places_across(1, 36, (1, 9))
    np.testing.assert_allclose(interpolate(np.full((1, 1, 9), 3.0), places, "cubic"), 3)
    edge = interpolate(np.repeat([[[0.0, 1.0]]], [5, 4], axis=2), places, "cubic")
    assert edge.min() < -0.05
    assert edge.max() > 1.05


def test_strips_are_the_whole_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5, 6))
    places = places_across(21, 17, (5, 6))
    whole = interpolate(values, places, "linear")
    monkeypatch.setattr("onnxproof.runtime.maps.STRIP", 3 * 17 * 2)
    parts = list(strips(values, places, "linear"))
    assert len(parts) == 11
    for rows, part in parts:
        np.testing.assert_array_equal(part, whole[:, rows])


def test_pixels_that_a_crop_lost_are_not_seen() -> None:
    # A picture of 16x8 at half its size, of which the middle 4x4 is the input.
    places = places_in(Transform(0.5, 0.5, -2, 0, 16, 8), (4, 4), (2, 2))
    assert places.seen.shape == (8, 16)
    assert places.seen_columns.tolist() == [False] * 4 + [True] * 8 + [False] * 4
    np.testing.assert_allclose(places.columns[4:12], (np.arange(8) + 0.5) / 4)


def test_coarse_logits_are_interpolated_before_a_pixel_is_decided() -> None:
    task = Whole("segmentation")
    reading = PixelLogits(("logits",), ("height", "width"))
    logits = np.zeros((1, 2, 1, 2))
    logits[0, 1, 0] = [-1, 3]
    (evidence,) = task.evidence({"logits": logits}, {"height": 1, "width": 8}, reading, {})
    restored = task.restore(task.decide(evidence, reading), Transform(1, 1, 0, 0, 8, 1))
    # Class 1 leads from where -1 + 4 t is above 0, which is before the middle. Nearest pixels split there.
    assert restored.labels.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]
    cropped = task.restore(task.decide(evidence, reading), Transform(1, 1, -2, 0, 12, 1))
    assert cropped.labels[0, :2].tolist() == [NOWHERE, NOWHERE]


def test_a_reading_of_coarse_logits_survives_the_manifest() -> None:
    task = Whole("segmentation")
    for reading in (PixelLogits(("logits",)), PixelLogits(("logits",), ("height", "width"))):
        assert task.reading(Entry(reading.to_json())) == reading


def test_a_depth_map_is_brought_to_the_picture_and_told() -> None:
    values = np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)
    (evidence,) = DEPTH.evidence({"depth": values}, SIZES, COARSE, {})
    found = DEPTH.restore(DEPTH.decide(evidence, COARSE), Transform(1, 1, 0, 0, 8, 8))
    assert found.values.shape == (8, 8)
    told = DEPTH.to_json(found, (), 8, 8)
    assert told["shape"] == [8, 8]
    assert told["min"] == pytest.approx(float(found.values.min()))
    assert "decisions.values" in told["array"]
    (line,) = DEPTH.lines(found, ())
    assert line.startswith("8x8 values, ")
    drawn = DEPTH.draw(Image.new("RGB", (8, 8)), found, (ClassInfo("a", (0, 0, 0)),))
    assert drawn.size == (8, 8)


def test_a_map_without_a_finite_value_has_no_range() -> None:
    reading = MapValues(("depth",))
    (evidence,) = DEPTH.evidence({"depth": np.full((1, 2, 2), np.nan)}, {}, reading, {})
    assert DEPTH.lines(evidence, ()) == ("2x2 values, no finite value",)
    assert DEPTH.to_json(evidence, (), None, None)["min"] is None


def test_a_reading_of_maps_survives_the_manifest_and_refuses_others() -> None:
    for reading in (COARSE, MapValues(("depth",))):
        assert DEPTH.reading(Entry(reading.to_json())) == reading
    with pytest.raises(ModelFileError, match="interpolation"):
        DEPTH.reading(Entry({**COARSE.to_json(), "interpolation": "quintic"}))


def test_the_scale_grows_evenly_lighter() -> None:
    scale = colors().astype(np.float64)
    assert scale.shape == (COUNT, 3)
    # Relative luminance (ITU-R BT.709) of linear light; its cube root is nearly the eye's lightness.
    linear = np.where(scale <= 10.31, scale / 255 / 12.92, ((scale / 255 + 0.055) / 1.055) ** 2.4)
    lightness = np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
    steps = np.diff(lightness)
    assert steps.min() > -1e-3
    eighths = np.diff(lightness[:: COUNT // 8])
    assert eighths.max() < 1.6 * eighths.min()


def test_values_are_painted_in_the_scales_colours_and_what_is_not_finite_is_left() -> None:
    values = np.tile(np.linspace(0, 1, 64), (48, 1))
    values[0, 0] = np.nan
    painted = np.asarray(paint(Image.new("RGB", (64, 48), (1, 2, 3)), values))
    assert painted[0, 0].tolist() == [1, 2, 3]
    assert painted[0, 1].tolist() == colors()[round(255 / 63)].tolist()
    assert painted[0, -1].tolist() == colors()[-1].tolist()
