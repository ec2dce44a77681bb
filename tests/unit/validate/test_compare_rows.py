"""Detectors with NMS in the graph: rows as sets, what is a tie and what a defect, the cuts by rank."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from contracts import Whole, reading_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxproof.runtime.readings.boxes import Candidates, Cuts, decide
from onnxproof.runtime.readings.rows import OpenRegions, nearest_candidates, rows_from
from onnxproof.validate.compare import Comparison
from onnxproof.validate.compare.margins import Margins
from onnxproof.validate.compare.matching import compare_detections
from onnxproof.validate.compare.origins import DUPLICATE

Array = NDArray[Any]
Box = tuple[float, float, float, float]

GRAPH = {"score_threshold": 0.05, "iou_threshold": 0.5, "max_detections": 100}
TASK = Whole("detection")
DOCUMENT: Mapping[str, Any] = {
    "decode": "nms",
    "outputs": ["boxes", "labels", "scores"],
    "first_label": 1,
    "score_threshold": 0.5,
    "graph": GRAPH,
}
POST: Any = reading_of("detection", **DOCUMENT)
BOUNDS = {"box": 0.01, "score": 0.001}
NOTHING: dict[str, Array] = {}


class Row(NamedTuple):
    box: Box
    score: float
    label: int = 1


A = Row((0, 0, 40, 40), 0.9)
NEAR_A = Row((10, 0, 50, 40), 0.8)  # IoU 0.6 with A
B = Row((100, 0, 140, 40), 0.75, 2)
C = Row((0, 100, 40, 150), 0.7)
FAINT = Row((200, 200, 220, 240), 0.3)
SCENE = (A, B, C, FAINT)


def outputs(rows: Sequence[Row]) -> dict[str, Array]:
    return {
        "boxes": np.array([row.box for row in rows], np.float32).reshape(-1, 4),
        "labels": np.array([row.label for row in rows], np.int64),
        "scores": np.array([row.score for row in rows], np.float32),
    }


def margins(rows: Sequence[Row], regions: OpenRegions | None = None) -> dict[str, Array]:
    told = outputs(rows)
    found = {f"candidate_{name}": told[name] for name in told}
    if regions is not None:
        found |= {"open_boxes": regions.boxes, "open_causes": np.array(regions.causes, dtype=str)}
    return found


def judged(
    wanted: Sequence[Row],
    found: Sequence[Row],
    candidates: Sequence[Row] = (),
    regions: OpenRegions | None = None,
    **graph: Any,
) -> Comparison:
    """The verdict on ``found``, where PyTorch chose ``wanted`` from those and further candidates."""
    post = reading_of("detection", **{**DOCUMENT, "graph": {**GRAPH, **graph}})
    chosen_from = [*wanted, *(row for row in candidates if row not in wanted)]
    (reference,) = TASK.evidence(outputs(wanted), {}, post, margins(chosen_from, regions))
    (candidate,) = TASK.evidence(outputs(found), {}, post, NOTHING)
    comparison: Comparison = TASK.compare(*TASK.thin(reference, candidate, post), post, BOUNDS)
    return comparison


def test_decisions_are_the_rows_above_the_threshold_with_labels_from_zero() -> None:
    (evidence,) = TASK.evidence(outputs(SCENE), {}, POST, NOTHING)
    decided = TASK.decide(evidence, POST)
    assert decided.labels.tolist() == [0, 1, 0]
    assert decided.scores.tolist() == pytest.approx([0.9, 0.75, 0.7])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)], ids=str)
def test_the_order_of_rows_changes_nothing(order: tuple[int, ...]) -> None:
    found = judged(SCENE, [SCENE[i] for i in order])
    assert (found.matched, found.ties, found.defects) == (3, (), ())


def test_no_rows_at_all() -> None:
    assert judged((), ()) == Comparison(0, (), ())


@pytest.mark.parametrize(
    "found",
    [
        pytest.param((A, B), id="missing"),
        pytest.param((A, B, C, Row((60, 60, 80, 90), 0.8)), id="extra"),
        pytest.param((A, A, B, C), id="duplicate"),
        pytest.param((A._replace(label=2), B, C), id="another-class"),
        pytest.param((A._replace(score=0.95), B, C), id="another-score"),
        pytest.param((A._replace(box=(0, 0, 40, 41)), B, C), id="another-box"),
        pytest.param((A._replace(score=float("nan")), B, C), id="nan"),
        pytest.param((A, B, C, FAINT._replace(score=float("nan"))), id="nan-in-a-row-below-the-threshold"),
    ],
)
def test_what_no_margin_excuses_is_a_defect(found: Sequence[Row]) -> None:
    assert judged(SCENE, found).defects


def test_a_score_at_the_threshold_is_a_tie() -> None:
    at = Row((300, 0, 340, 40), 0.5004)
    found = judged((*SCENE, at), (*SCENE, at._replace(score=0.4996)))
    assert not found.defects
    assert [tie.cause.partition(",")[0] for tie in found.ties] == ["score 0.500400007 against threshold 0.5"]
    assert judged((*SCENE, at), SCENE, regions=None).defects == ()
    far = at._replace(score=0.51)
    assert judged((*SCENE, far), SCENE).defects


def test_an_iou_at_the_threshold_of_the_graph_is_a_tie() -> None:
    rival = Row((13.3334, 0, 53.3334, 40), 0.8)
    assert judged((*SCENE, rival), SCENE).defects == ()
    assert judged(SCENE, (*SCENE, rival), candidates=(rival,)).defects == ()
    assert judged(SCENE, (*SCENE, NEAR_A), candidates=(NEAR_A,)).defects


class TestRanks:
    """A graph that keeps the best three."""

    def test_at_the_cut_is_a_tie(self) -> None:
        rival = Row((300, 0, 340, 40), 0.6996)
        found = judged((A, B, C), (A, B, rival), candidates=(rival,), max_detections=3)
        assert not found.defects
        assert {tie.what.partition(":")[0] for tie in found.ties} == {"missing", "extra"}
        across = "at the cut after the best 3, error bound 1.00e-03 each"
        assert [tie.cause for tie in found.ties] == [
            f"score 0.699999988 against 0.699599981 {across}",
            f"score 0.699599981 against 0.699999988 {across}",
        ]

    def test_far_from_the_cut_is_a_defect(self) -> None:
        rival = Row((300, 0, 340, 40), 0.65)
        assert judged((A, B, C), (A, B, rival), candidates=(rival,), max_detections=3).defects

    def test_the_best_of_each_group_enter_nms(self) -> None:
        boxes = np.array([(x * 50, 0, x * 50 + 40, 40) for x in range(6)], np.float32)
        scores = np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.95], np.float32)
        groups = np.array([0, 0, 0, 1, 1, 2])
        candidates = Candidates(boxes, scores, np.zeros(6, np.int64), None, groups)
        cuts = Cuts(0.1, 0.5)
        assert decide(candidates, replace(cuts, top_candidates=2)).indices.tolist() == [5, 0, 1, 3, 4]
        assert decide(candidates, replace(cuts, top_candidates=1)).indices.tolist() == [5, 0, 3]
        cut = replace(cuts, top_candidates=2, max_detections=3)
        assert decide(candidates, cut).indices.tolist() == [5, 0, 1]

    def test_the_cut_of_a_group_is_open_within_the_bound(self) -> None:
        boxes = np.array([(x * 50, 0, x * 50 + 40, 40) for x in range(4)], np.float32)
        scores = np.array([0.9, 0.8, 0.7995, 0.6], np.float32)
        candidates = Candidates(boxes, scores, np.zeros(4, np.int64), None, np.zeros(4, np.int64))
        cuts = Cuts(0.1, 0.5, top_candidates=2)
        assert Margins(candidates, cuts, BOUNDS).open_indices().tolist() == [1, 2]

    def test_a_box_that_must_be_kept_is_found_before_one_that_may_drop_out(self) -> None:
        """Boxes without area suppress nothing, not even their like: the first leaves, the second stays."""
        boxes = np.array([(5, 5, 5, 5), (100, 0, 140, 40), (5, 5, 5, 5)], np.float32)
        labels, groups = np.zeros(3, np.int64), np.array([0, 0, 1])
        legs = [
            Candidates(boxes, np.array(scores, np.float32), labels, None, groups)
            for scores in ([0.8, 0.7995, 0.7994], [0.7992, 0.7999, 0.7994])
        ]
        cuts = Cuts(0.1, 0.5, top_candidates=1)
        wanted, found = (decide(leg, cuts) for leg in legs)
        comparison, pairs = compare_detections(
            legs[0], wanted, found, cuts, {"box": 0.0, "score": 0.001}, candidate=legs[1]
        )
        assert pairs == ((1, 1),)
        assert comparison.defects == ()
        assert [tie.what.partition(":")[0] for tie in comparison.ties] == ["missing", "extra"]


class TestHiddenChoices:
    REGION = OpenRegions(np.array([[0, 100, 40, 150]]), ("a coin toss",))

    @pytest.mark.parametrize(
        "found", [(A, B), (A, B, C._replace(box=(0, 103, 40, 152)))], ids=["gone", "moved"]
    )
    def test_excuse_what_hangs_on_them(self, found: Sequence[Row]) -> None:
        assert judged(SCENE, found).defects
        excused = judged(SCENE, found, regions=self.REGION)
        assert not excused.defects
        assert {tie.cause for tie in excused.ties} == {"a coin toss"}

    def test_excuse_no_duplicate(self) -> None:
        found = judged(SCENE, (A, B, C, C), regions=self.REGION)
        assert [defect.cause for defect in found.defects] == [DUPLICATE]

    def test_excuse_nothing_elsewhere(self) -> None:
        assert judged(SCENE, (A, C), regions=self.REGION).defects

    def test_excuse_what_they_suppress(self) -> None:
        beside = Row((25, 100, 65, 150), 0.65)  # IoU 0.23 with C, 0.51 with what comes in its place
        instead = Row((12, 100, 52, 150), 0.72)
        region = OpenRegions(np.array([[12, 100, 52, 150]]), ("a coin toss",))
        found = judged((A, B, C, beside), (A, B, instead), regions=region)
        assert not found.defects
        assert len(found.ties) == 3


def test_rows_without_candidates_of_their_class_are_infinitely_far() -> None:
    candidates = Candidates(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64), None)
    told = outputs([A, B])
    indices, distances = nearest_candidates(candidates, told["boxes"], told["scores"], told["labels"] - 1)
    assert indices.tolist() == [0, 0]
    assert np.isfinite(distances).tolist() == [True, False]


def test_the_reference_knows_which_candidates_its_rows_were() -> None:
    rows = rows_from(outputs([C, A]), POST, margins([A, NEAR_A, B, C]))
    assert rows.detections.indices.tolist() == [3, 0]


@st.composite
def crowds(draw: st.DrawFn) -> Candidates:
    """Boxes that overlap a lot, in two classes and three groups, many of whose scores nearly tie."""
    count = draw(st.integers(0, 14))
    place, side = st.integers(0, 30), st.integers(8, 30)
    corners = draw(st.lists(st.tuples(place, place, side, side), min_size=count, max_size=count))
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    grades = draw(st.lists(st.integers(1, 12), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    groups = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return Candidates(
        boxes, np.array(grades) / 12, np.array(labels, np.int64), None, np.array(groups, np.int64)
    )


@given(
    candidates=crowds(),
    seed=st.integers(0, 2**32 - 1),
    top=st.integers(1, 5),
    most=st.integers(1, 6),
    iou=st.sampled_from([1 / 3, 0.5, 0.7]),
)
def test_noise_within_the_bounds_is_never_a_defect(
    candidates: Candidates, seed: int, top: int, most: int, iou: float
) -> None:
    random = np.random.default_rng(seed)
    noisy = replace(
        candidates,
        boxes=candidates.boxes + random.uniform(-1e-6, 1e-6, candidates.boxes.shape),
        scores=candidates.scores + random.uniform(-1e-6, 1e-6, candidates.scores.shape),
    )
    cuts = Cuts(0.5, iou, top_candidates=top, max_detections=most)
    wanted, found = decide(candidates, cuts), decide(noisy, cuts)
    # Each leg errs by up to 1e-6 from a truth between them, so they lie that far apart.
    bounds = {"box": 1.001e-6, "score": 1.001e-6}
    comparison, _ = compare_detections(candidates, wanted, found, cuts, bounds)
    assert not comparison.defects
    assert comparison.matched + len(comparison.ties) >= max(len(wanted), len(found))
