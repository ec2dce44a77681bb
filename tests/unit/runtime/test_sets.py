"""Detection without NMS: every candidate stands for itself, and boxes in shares come back to pixels."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import Whole, reading_of
from numpy.typing import NDArray

from onnxproof.document import Entry
from onnxproof.errors import JobError, ModelFileError
from onnxproof.job import Job
from onnxproof.runtime.manifest import read_reading
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.sets import QuerySet
from onnxproof.validate.compare import Comparison

Array = NDArray[Any]
TASK = Whole("detection")
SPLIT = {"decode": "split", "nms": "none", "outputs": ["boxes", "scores"], "score_threshold": 0.5}
QUERIES = {
    **SPLIT,
    "decode": "queries",
    "outputs": ["logits", "boxes"],
    "activation": "softmax",
    "picture": ["height", "width"],
}
ROWS = {**SPLIT, "decode": "rows", "outputs": ["rows"]}
SIZES = {"batch": 1, "height": 64, "width": 96}
BOX = (8.0, 8.0, 24.0, 40.0)
BOUNDS = {"box": 0.01, "score": 0.001}


def split(*scores: tuple[float, ...]) -> dict[str, Array]:
    """Rows with the same box."""
    return {
        "boxes": np.array([[BOX] * len(scores)], np.float32),
        "scores": np.array([scores], np.float32),
    }


def decided(values: Mapping[str, Array], /, **document: Any) -> Any:
    reading = reading_of("detection", **document)
    (evidence,) = TASK.evidence(values, SIZES, reading, {})
    return TASK.decide(evidence, reading)


def test_boxes_that_coincide_all_stay_and_so_do_two_classes_of_one_row() -> None:
    found = decided(split((0.9, 0.6), (0.7, 0.1), (0.5, 0.2)), **SPLIT)
    assert found.labels.tolist() == [0, 0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_only_the_best_pairs_of_all_count_where_the_network_has_such_a_cut() -> None:
    found = decided(split((0.9, 0.6), (0.7, 0.8)), **SPLIT, max_detections=2)
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize(
    "picture", [pytest.param(["height", "width"], id="named"), pytest.param([64, 96], id="fixed")]
)
def test_boxes_in_shares_of_the_input_come_back_to_the_pictures_pixels(picture: list[Any]) -> None:
    outputs = {
        "logits": np.array([[[9.0, 0, 0], [0, 0, 9.0], [0, 1.5, 1.25]]], np.float32),
        "boxes": np.array([[[0.5, 0.25, 0.5, 0.25]] * 3], np.float32),
    }
    found = decided(outputs, **{**QUERIES, "picture": picture, "score_threshold": 0.4})
    assert found.labels.tolist() == [0, 1]  # the second query says that there is no object
    assert found.boxes.tolist() == [[24, 8, 72, 24]] * 2
    # The picture of 192 by 96 px was laid into 96 by 48 px, 8 px below the upper edge.
    restored = TASK.restore(found, Transform(0.5, 0.5, 0, 8, 192, 96))
    assert restored.boxes.tolist() == [[48, 0, 144, 32]] * 2


def test_a_sigmoid_makes_a_candidate_of_each_class_of_a_query() -> None:
    outputs = {
        "logits": np.array([[[2.0, 1.0], [-9, -9]]], np.float32),
        "boxes": np.array([[[0.5, 0.5, 1, 1]] * 2], np.float32),
    }
    found = decided(outputs, **{**QUERIES, "activation": "sigmoid"})
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(-1.0))])
    again = decided(
        {**outputs, "logits": 1 / (1 + np.exp(-outputs["logits"]))}, **{**QUERIES, "activation": "none"}
    )
    assert again.scores.tolist() == pytest.approx(found.scores.tolist())


def test_rows_come_packed_or_as_three_outputs() -> None:
    rows = np.array([[[*BOX, 0.75, 3], [*BOX, 0.25, 1]]], np.float32)
    three: dict[str, Array] = {"b": rows[..., :4], "l": rows[..., 5].astype(np.int64), "s": rows[..., 4]}
    for outputs, document in (({"rows": rows}, ROWS), (three, {**ROWS, "outputs": ["b", "l", "s"]})):
        found = decided(outputs, **document)
        assert found.labels.tolist() == [3]
        assert found.boxes.tolist() == [list(BOX)]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(SPLIT, id="split"),
        pytest.param({**QUERIES, "max_detections": 300}, id="queries"),
        pytest.param({**QUERIES, "picture": [640, "width"], "activation": "none"}, id="one-side-fixed"),
        pytest.param(ROWS, id="rows"),
    ],
)
def test_a_reading_is_written_as_it_was_read(document: dict[str, Any]) -> None:
    reading = reading_of("detection", **document)
    assert json.loads(json.dumps(reading.to_json())) == document
    assert reading.settings() == {"score_threshold": 0.5}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"nms": "greedy"}, "postprocess.nms", id="other-nms"),
        pytest.param({"decode": "packed"}, "expected one of split, queries, rows", id="needs-nms"),
        pytest.param({"iou_threshold": 0.5}, "unknown key", id="no-threshold-of-nms"),
        pytest.param({"max_detections": 0}, "from 1", id="none-at-all"),
    ],
)
def test_what_is_no_reading_of_a_set_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        read_reading("detection", Entry({**SPLIT, **change}, "postprocess"))


def test_a_job_without_nms_has_no_settings_of_it() -> None:
    document = {"name": "a", "model": {"family": "module"}, "validate": {"nms": "none", "iou_threshold": 0.5}}
    with pytest.raises(JobError, match=r"leave these out, or nms"):
        Job.from_document(document, folder=Path(), source="job.toml")


def compared(here: dict[str, Array], there: dict[str, Array], /, **document: Any) -> Comparison:
    reading = reading_of("detection", **document)
    legs = [TASK.evidence(outputs, SIZES, reading, {})[0] for outputs in (here, there)]
    comparison: Comparison = TASK.compare(*TASK.thin(*legs, reading), reading, BOUNDS)
    return comparison


def test_a_score_at_the_threshold_is_a_tie_and_one_far_from_it_a_defect() -> None:
    found = compared(split((0.9, 0.5005), (0.6, 0.1)), split((0.9, 0.4998), (0.3, 0.1)), **SPLIT)
    assert found.matched == 1
    assert [tie.cause.split(",")[0] for tie in found.ties] == ["score 0.500500023 against threshold 0.5"]
    assert len(found.defects) == 1
    assert "missing" in found.defects[0].what


def test_pairs_at_the_cut_after_the_best_may_change_places() -> None:
    cut = {**SPLIT, "max_detections": 2}
    found = compared(split((0.9,), (0.7,), (0.6995,)), split((0.9,), (0.6996,), (0.6999,)), **cut)
    assert not found.defects
    found = compared(split((0.9,), (0.7,), (0.65,)), split((0.9,), (0.65,), (0.69,)), **cut)
    assert found.defects


def test_a_box_that_coincides_excuses_nothing_without_nms() -> None:
    found = compared(split((0.9,), (0.8999,)), split((0.9,), (0.1,)), **SPLIT)
    assert found.matched == 1
    assert len(found.defects) == 1


def test_queries_that_a_top_k_chose_are_told_by_the_manifest() -> None:
    chosen = QuerySet(("logits", "boxes"), 0.5, 8, "sigmoid", selects=True)
    assert QuerySet.read(Entry(chosen.to_json())) == chosen
    assert "selects" not in replace(chosen, selects=False).to_json()
