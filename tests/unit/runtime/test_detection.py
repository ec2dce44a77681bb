"""Detection: three layouts say the same, decisions are cut strictly, and ties are told from defects."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from contracts import Whole, reading_of
from examples import examples
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.errors import ModelFileError, RequestError
from onnxproof.runtime.nms import pairwise_iou
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.readings.boxes import Candidates
from onnxproof.runtime.readings.cells import cells, decode_raw
from onnxproof.runtime.tasks import get_task, task_names
from onnxproof.validate.compare import Comparison

NAN, INF = float("nan"), float("inf")
Box = tuple[float, float, float, float]
Array = NDArray[Any]

TASK = Whole("detection")
STRIDES = (8, 16, 32)
DOCUMENT: Mapping[str, Any] = {
    "decode": "split",
    "outputs": ["boxes", "scores"],
    "strides": [8, 16, 32],
    "score_threshold": 0.5,
    "iou_threshold": 0.5,
    "class_agnostic": False,
}
POST: Any = reading_of("detection", **DOCUMENT)
BOUNDS = {"box": 0.01, "score": 0.001}
HEIGHT, WIDTH = 64, 96
CLASSES = (ClassInfo("cat", (255, 0, 0)), ClassInfo("dog", (0, 0, 255)))


class Row(NamedTuple):
    """One candidate; ``gap`` is its score's lead over the next class."""

    box: Box
    score: float
    label: int = 0
    gap: float = INF


def candidates(*rows: Row, gaps_known: bool = True) -> Candidates:
    return Candidates(
        np.array([row.box for row in rows], np.float32).reshape(-1, 4),
        np.array([row.score for row in rows], np.float32),
        np.array([row.label for row in rows], np.int64),
        np.array([row.gap for row in rows], np.float32) if gaps_known else None,
    )


def settled(**changes: Any) -> Any:
    """The reading of POST, with something changed."""
    return reading_of("detection", **{**DOCUMENT, **changes})


def beside(shift: float) -> Box:
    """BASE moved to the right: their IoU is (40 - shift) / (40 + shift), a half at 13.333."""
    return (shift, 0, 40 + shift, 40)


BASE: Box = beside(0)
FAR: Box = (100, 100, 140, 150)
FARTHER: Box = (200, 10, 230, 60)
SCENE = (Row(BASE, 0.875), Row(FAR, 0.75, 1), Row(FARTHER, 0.625))


def raw_head(classes: int, seed: int = 0) -> Array:
    """What a dense head puts out for one picture of HEIGHT by WIDTH: float32 [1, n, 5 + classes]."""
    random = np.random.default_rng(seed)
    count = sum((HEIGHT // stride) * (WIDTH // stride) for stride in STRIDES)
    raw = random.uniform(0, 1, (1, count, 5 + classes))
    raw[..., 2:4] = random.normal(0, 0.625, (1, count, 2))
    return raw.astype(np.float32)


def decoded_by_hand(raw: Array) -> tuple[Array, Array]:
    """Corners and sizes [n, 4] and class scores [n, C], one cell after the other, in Python's floats."""
    boxes, scores, rows = [], [], iter(raw[0].astype(float).tolist())
    for stride in STRIDES:
        for y in range(HEIGHT // stride):
            for x in range(WIDTH // stride):
                dx, dy, log_width, log_height, objectness, *classes = next(rows)
                width, height = math.exp(log_width) * stride, math.exp(log_height) * stride
                left, top = (x + dx) * stride - width / 2, (y + dy) * stride - height / 2
                boxes.append((left, top, width, height))
                scores.append([objectness * score for score in classes])
    return np.array(boxes, np.float32), np.array(scores, np.float32)


def candidates_of(
    outputs: Mapping[str, Array],
    post: Any = POST,
    margins: Mapping[str, Array] = MappingProxyType({}),
) -> list[Candidates]:
    """What a dense head's outputs are taken for, picture by picture."""
    found = TASK.evidence(outputs, {"batch": 1, "height": HEIGHT, "width": WIDTH}, post, margins)
    return [evidence for evidence in found if isinstance(evidence, Candidates)]


def evidence_of(decode: str, raw: Array) -> Candidates:
    """The same numbers, as a model with that layout would put them out."""
    boxes, scores = decoded_by_hand(raw)
    if decode == "none":
        outputs = {"output": raw}
    elif decode == "split":
        corners = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
        outputs = {"boxes": corners[None], "scores": scores[None]}
    else:
        labels, best = scores.argmax(axis=1), scores.max(axis=1)
        outputs = {"output": np.column_stack((boxes, labels, best)).astype(np.float32)[None]}
    post = settled(decode=decode, outputs=list(outputs))
    return candidates_of(outputs, post)[0]


class TestLayouts:
    @pytest.mark.parametrize("classes", [1, 3], ids=["one-class", "several-classes"])
    @pytest.mark.parametrize("decode", ["none", "split", "packed"])
    def test_give_the_candidates_decoded_by_hand(self, decode: str, classes: int) -> None:
        raw = raw_head(classes)
        boxes, scores = decoded_by_hand(raw)
        found = evidence_of(decode, raw)
        np.testing.assert_allclose(found.boxes[:, :2], boxes[:, :2], atol=1e-4)
        np.testing.assert_allclose(found.boxes[:, 2:] - found.boxes[:, :2], boxes[:, 2:], atol=1e-4)
        np.testing.assert_allclose(found.scores, scores.max(axis=1), rtol=1e-6)
        assert found.labels.tolist() == scores.argmax(axis=1).tolist()
        assert found.labels.dtype == np.int64

    def test_take_the_same_decisions(self) -> None:
        raw = raw_head(3)
        decided = [TASK.decide(evidence_of(decode, raw), POST) for decode in ("none", "split", "packed")]
        assert len(decided[0]) > 3
        for other in decided[1:]:
            assert not TASK.differ(decided[0], other)

    def test_tell_the_lead_over_the_next_class(self) -> None:
        scores = np.array([[[0.5, 0.75, 0.25], [0.5, 0.5, 0.25]]], np.float32)
        outputs = {"boxes": np.zeros((1, 2, 4), np.float32), "scores": scores}
        evidence = candidates_of(outputs)[0]
        assert evidence.gaps is not None
        assert evidence.gaps.tolist() == [0.25, 0.0]

    def test_with_one_class_no_lead_is_too_small(self) -> None:
        evidence = evidence_of("split", raw_head(1))
        assert evidence.gaps is not None
        assert np.isposinf(evidence.gaps).all()

    def test_packed_knows_the_lead_only_from_pytorch(self) -> None:
        packed = {"output": np.zeros((2, 3, 6), np.float32)}
        post = settled(decode="packed", outputs=["output"])
        gaps = np.arange(6, dtype=np.float32).reshape(2, 3)
        assert [one.gaps for one in candidates_of(packed, post)] == [None, None]
        second = candidates_of(packed, post, {"label": gaps})[1]
        assert second.gaps is not None
        assert second.gaps.tolist() == [3, 4, 5]

    @pytest.mark.parametrize("decode", ["none", "split", "packed"])
    def test_members_of_a_batch_stay_apart(self, decode: str) -> None:
        first, second = raw_head(2, seed=1), raw_head(2, seed=2)
        legs = decode_raw(np.concatenate((first, second)), HEIGHT, WIDTH, (8, 16, 32))
        np.testing.assert_array_equal(legs[0][1], decode_raw(second, HEIGHT, WIDTH, (8, 16, 32))[0][0])
        assert evidence_of(decode, first).scores.tolist() != evidence_of(decode, second).scores.tolist()

    def test_sizes_that_overflow_are_infinite_without_a_warning(self) -> None:
        raw = raw_head(1)
        raw[0, 5, 2] = 1e5
        boxes, _ = decode_raw(raw, HEIGHT, WIDTH, (8, 16, 32))
        assert boxes[0, 5, [0, 2]].tolist() == [-INF, INF]
        packed = np.array([[[-INF, 0, INF, 9, 0, 0.875]]], np.float32)
        TASK.evidence({"output": packed}, {}, settled(decode="packed", outputs=["output"]), {})

    def test_cells_go_row_by_row_and_stride_by_stride(self) -> None:
        first_rows = [[column, row, 8] for row in range(4) for column in range(6)]
        second_rows = [[column, row, 16] for row in range(2) for column in range(3)]
        assert cells(32, 48, (8, 16)).tolist() == first_rows + second_rows

    def test_another_number_of_cells_says_what_may_be_frozen(self) -> None:
        with pytest.raises(ModelFileError) as caught:
            decode_raw(np.zeros((1, 84, 7), np.float32), 64, 96, (8, 16, 32))
        for word in ("84 cells", "64x96", "[8, 16, 32]", "126", "frozen"):
            assert word in str(caught.value)


class TestDecide:
    @pytest.mark.parametrize(
        ("score", "kept"),
        [
            pytest.param(0.5, 0, id="at-the-threshold-goes"),
            pytest.param(np.nextafter(np.float32(0.5), np.float32(1)), 1, id="a-trifle-above-stays"),
            pytest.param(NAN, 0, id="nan-goes"),
        ],
    )
    def test_threshold_is_strict(self, score: float, kept: int) -> None:
        assert len(TASK.decide(candidates(Row(BASE, score)), POST)) == kept

    @pytest.mark.parametrize(
        ("class_agnostic", "indices"),
        [
            pytest.param(False, [2, 0, 1], id="classes-do-not-suppress-each-other"),
            pytest.param(True, [2, 0], id="class-agnostic-they-do"),
        ],
    )
    def test_classes(self, *, class_agnostic: bool, indices: list[int]) -> None:
        evidence = candidates(
            Row(BASE, 0.75, 0), Row(beside(1), 0.625, 1), Row(FAR, 0.875, 1), Row(FAR, 0.4, 0)
        )
        decided = TASK.decide(evidence, settled(class_agnostic=class_agnostic))
        assert decided.indices.tolist() == indices
        np.testing.assert_array_equal(decided.boxes, evidence.boxes[indices])
        np.testing.assert_array_equal(decided.scores, evidence.scores[indices])
        np.testing.assert_array_equal(decided.labels, evidence.labels[indices])

    def test_nothing_from_nothing(self) -> None:
        assert TASK.count(TASK.decide(candidates(), POST)) == 0

    def test_thinning_changes_no_decision(self) -> None:
        evidence = evidence_of("split", raw_head(3))
        thin, _ = TASK.thin(evidence, evidence, POST)
        assert isinstance(thin, Candidates)
        assert 0 < len(thin) < len(evidence)
        np.testing.assert_array_equal(TASK.decide(thin, POST).boxes, TASK.decide(evidence, POST).boxes)

    def test_thinning_at_threshold_0_keeps_what_another_leg_may_keep(self) -> None:
        zero = candidates(Row(BASE, 0))
        assert len(TASK.thin(zero, zero, settled(score_threshold=0))[0]) == 1

    @pytest.mark.parametrize(
        ("rows", "differ"),
        [
            pytest.param(SCENE, False, id="the-same"),
            pytest.param(SCENE[:2], True, id="one-less"),
            pytest.param((SCENE[0]._replace(label=1), *SCENE[1:]), True, id="another-class"),
            pytest.param((SCENE[0]._replace(score=0.7), *SCENE[1:]), True, id="another-order"),
        ],
    )
    def test_differ(self, rows: Sequence[Row], *, differ: bool) -> None:
        first, second = (TASK.decide(candidates(*scene), POST) for scene in (SCENE, rows))
        assert TASK.differ(first, second) is differ


class TestPresentation:
    def test_json_has_the_documented_keys(self) -> None:
        decided = TASK.decide(candidates(Row((10, 20, 30, 80), 0.75, 1), Row(FAR, 0.625, 7)), POST)
        document = TASK.to_json(decided, CLASSES, width=200, height=160)
        assert json.loads(json.dumps(document)) == document
        assert document["boxes"][0] == {
            "box": {"topX": 0.05, "topY": 0.125, "bottomX": 0.15, "bottomY": 0.5},
            "box_xyxy": [10, 20, 30, 80],
            "label": "dog",
            "score": 0.75,
        }
        assert document["boxes"][1]["label"] == "7"

    def test_json_of_nothing(self) -> None:
        assert TASK.to_json(TASK.decide(candidates(), POST), CLASSES, 9, 9) == {"boxes": []}

    def test_boxes_are_restored_and_nothing_else_changes(self) -> None:
        decided = TASK.decide(candidates(*SCENE), POST)
        restored = TASK.restore(decided, Transform(2, 2, 0, 0, 1000, 1000))
        np.testing.assert_array_equal(restored.boxes, decided.boxes / 2)
        assert not TASK.differ(decided, restored)

    def test_each_detection_is_drawn_in_the_colour_of_its_class(self) -> None:
        picture = Image.new("RGB", (300, 200), (9, 9, 9))
        drawn = np.asarray(TASK.draw(picture, TASK.decide(candidates(*SCENE), POST), CLASSES))
        assert drawn[150, 120].tolist() == [0, 0, 255]
        assert drawn[60, 215].tolist() == [255, 0, 0]

    def test_the_task_is_found_by_name(self) -> None:
        assert "detection" in task_names()
        assert get_task("detection") is TASK.task
        with pytest.raises(RequestError, match=r"telepathy.*detection"):
            get_task("telepathy")


def judge(
    reference: Sequence[Row], candidate: Sequence[Row], *, gaps_known: bool = True, **changes: Any
) -> Comparison:
    wanted, found = candidates(*reference, gaps_known=gaps_known), candidates(*candidate, gaps_known=False)
    comparison: Comparison = TASK.compare(wanted, found, settled(**changes), BOUNDS)
    return comparison


def counts(comparison: Comparison) -> tuple[int, int, int]:
    return comparison.matched, len(comparison.ties), len(comparison.defects)


def moved(row: Row, x: float = 0, score: float = 0) -> Row:
    """The row with its box moved to the right, and its score raised."""
    left, top, right, bottom = row.box
    return row._replace(box=(left + x, top, right + x, bottom), score=row.score + score)


FIRST = Row(BASE, 0.75 + 2**-11)
SECOND = Row(beside(10), 0.75)  # an IoU of 0.6 with the first
THIRD = Row(beside(20), 0.625)  # an IoU of 0.6 with the second, of 1/3 with the first


class TestMatched:
    @pytest.mark.parametrize(
        ("reference", "candidate", "matched"),
        [
            pytest.param([], [], 0, id="nothing-on-either-side"),
            pytest.param(SCENE, SCENE, 3, id="identical"),
            pytest.param(SCENE, SCENE[::-1], 3, id="another-order-of-rows"),
            pytest.param(SCENE, [moved(row, 0.005, -5e-4) for row in SCENE], 3, id="inside-the-bounds"),
            pytest.param(SCENE, [*SCENE, SCENE[0]], 3, id="a-duplicate-that-nms-drops"),
            pytest.param(SCENE, [*SCENE, Row(BASE, 0.2, 1)], 3, id="a-candidate-that-the-threshold-drops"),
            pytest.param(
                [Row((5, 5, 5, 5), 0.875)] * 2, [Row((5, 5, 5, 5), 0.875)] * 2, 2, id="boxes-without-area"
            ),
            pytest.param([Row((NAN, 0, 9, 9), 0.875)], [Row((NAN, 0, 9, 9), 0.875)], 1, id="nan-in-both"),
            pytest.param(
                [Row((-INF, 0, INF, 9), 0.875)], [Row((-INF, 0, INF, 9), 0.875)], 1, id="inf-in-both"
            ),
            pytest.param([Row(BASE, NAN)], [Row(BASE, NAN)], 0, id="nan-scores-in-both-are-not-kept"),
        ],
    )
    def test_all(self, reference: Sequence[Row], candidate: Sequence[Row], matched: int) -> None:
        assert counts(judge(reference, candidate)) == (matched, 0, 0)

    def test_quantities_are_what_bounds_are_given_for(self) -> None:
        assert set(TASK.quantities(candidates(*SCENE))) == set(BOUNDS)


class TestTies:
    @pytest.mark.parametrize(
        ("reference", "candidate", "expected", "words"),
        [
            pytest.param(
                [*SCENE, Row(beside(300), 0.5005)],
                [*SCENE, Row(beside(300), 0.4997)],
                (3, 1, 0),
                ["missing", "score 0.5005", "threshold 0.5", "bound 1.00e-03"],
                id="score-falls-below-the-threshold-inside-the-bound",
            ),
            pytest.param(
                [*SCENE, Row(beside(300), 0.4997)],
                [*SCENE, Row(beside(300), 0.5005)],
                (3, 1, 0),
                ["extra", "score 0.4997", "threshold 0.5", "bound 1.00e-03"],
                id="score-rises-above-the-threshold-inside-the-bound",
            ),
            pytest.param(
                [Row(BASE, 0.875), Row(beside(13.336), 0.75)],
                [Row(BASE, 0.875), Row(beside(13.330), 0.75)],
                (1, 1, 0),
                ["missing", "IoU 0.499", "threshold 0.5"],
                id="iou-rises-above-the-threshold-inside-the-slack",
            ),
            pytest.param(
                [Row(BASE, 0.875), Row(beside(13.330), 0.75)],
                [Row(BASE, 0.875), Row(beside(13.336), 0.75)],
                (1, 1, 0),
                ["extra", "IoU 0.500", "threshold 0.5"],
                id="iou-falls-below-the-threshold-inside-the-slack",
            ),
            pytest.param(
                [Row(BASE, 0.875, 0, gap=0.0015)],
                [Row(BASE, 0.875, 1)],
                (0, 1, 0),
                ["flipped: class 0", "now class 1", "leads the runner-up by 0.0015"],
                id="class-flips-inside-twice-the-bound",
            ),
            pytest.param(
                [Row(BASE, 0.5005, 0, gap=0.0015)],
                [Row(BASE, 0.4997, 1)],
                (0, 1, 0),
                ["missing", "threshold 0.5"],
                id="class-and-threshold-both-open",
            ),
            pytest.param(
                [FIRST, SECOND],
                [moved(FIRST, score=-4e-4), moved(SECOND, score=4e-4)],
                (0, 2, 0),
                ["missing: class 0, score 0.750488281", "may change order", "extra: class 0, score 0.7504"],
                id="overlapping-boxes-change-order",
            ),
            pytest.param(
                [FIRST, SECOND, THIRD],
                [moved(FIRST, score=-4e-4), moved(SECOND, score=4e-4), THIRD],
                (0, 3, 0),
                ["missing: class 0, score 0.625", "depends on an overlapping box", "may change order"],
                id="a-chain-depends-on-the-open-pair",
            ),
            pytest.param(
                [Row(BASE, 0.875, 0, gap=0.0015), Row(beside(2), 0.75, 1)],
                [Row(BASE, 0.875, 1), Row(beside(2), 0.75, 1)],
                (0, 2, 0),
                ["flipped: class 0", "missing: class 1, score 0.75", "one class or of two", "runner-up"],
                id="a-flipped-box-suppresses-in-its-new-class",
            ),
            pytest.param(
                [Row(BASE, 0.875, 0, gap=0.0015), Row(beside(2), 0.75, 0)],
                [Row(BASE, 0.875, 1), Row(beside(2), 0.75, 0)],
                (0, 2, 0),
                ["flipped: class 0", "extra: class 0, score 0.75", "one class or of two"],
                id="a-flipped-box-no-longer-suppresses-in-its-old-class",
            ),
            pytest.param(
                [Row(BASE, 0.875, 0, gap=0.0), Row(BASE, 0.875, 0)],
                [Row(BASE, 0.8747, 1), Row(BASE, 0.875, 0)],
                (0, 2, 0),
                ["flipped: class 0", "now class 1", "extra: class 0, score 0.875", "one class or of two"],
                id="a-box-flips-and-its-twin-takes-its-class",
            ),
        ],
    )
    def test_cause_is_named(
        self,
        reference: Sequence[Row],
        candidate: Sequence[Row],
        expected: tuple[int, int, int],
        words: list[str],
    ) -> None:
        comparison = judge(reference, candidate)
        assert counts(comparison) == expected
        told = "\n".join(f"{finding.what}: {finding.cause}" for finding in comparison.ties)
        for word in words:
            assert word in told

    def test_boxes_as_small_as_the_bound_are_ties_with_their_neighbours_only(self) -> None:
        speck, twin = (5, 5, 5.001, 5.001), (5.001, 5, 5.002, 5.001)
        reference = [Row(speck, 0.875), Row(twin, 0.75), Row(FAR, 0.625)]
        onto_speck = Row((5.0002, 5, 5.0012, 5.001), 0.75)
        assert counts(judge(reference, [Row(speck, 0.875), onto_speck, Row(FAR, 0.625)])) == (2, 1, 0)
        assert counts(judge(reference, [Row(speck, 0.875), Row(twin, 0.75)])) == (2, 0, 1)


class TestBoxesWithinTheBoundsOfEachOther:
    """Which is which is open. With an IoU threshold of 1, NMS keeps them all."""

    def test_the_nearest_is_not_taken_from_a_box_that_has_no_other(self) -> None:
        reference = [Row(beside(0), 0.875), Row(beside(0.008), 0.875)]
        candidate = [Row(beside(-0.008), 0.875), Row(beside(0.003), 0.875)]  # the second is nearest to BASE
        assert counts(judge(reference, candidate, iou_threshold=1.0)) == (2, 0, 0)

    def test_one_of_them_too_many_is_a_defect(self) -> None:
        reference = [Row(beside(0), 0.875), Row(beside(0.008), 0.875)]
        candidate = [*reference, Row(beside(0.004), 0.875)]
        assert counts(judge(reference, candidate, iou_threshold=1.0)) == (2, 0, 1)


class TestDefects:
    @pytest.mark.parametrize(
        ("reference", "candidate", "expected", "words"),
        [
            pytest.param(
                SCENE, [], (0, 0, 3), ["missing: class 1, score 0.75", "no margin"], id="nothing-is-found"
            ),
            pytest.param(
                [], SCENE[:1], (0, 0, 1), ["extra: class 0, score 0.875", "no candidate"], id="out-of-nothing"
            ),
            pytest.param(
                [*SCENE, Row(beside(300), 0.5015)],
                [*SCENE, Row(beside(300), 0.4999)],
                (3, 0, 1),
                ["missing: class 0, score 0.5015", "no margin"],
                id="score-falls-from-just-outside-the-bound",
            ),
            pytest.param(
                [*SCENE, Row(beside(300), 0.4985)],
                [*SCENE, Row(beside(300), 0.5001)],
                (3, 0, 1),
                ["extra: class 0, score 0.5001", "no candidate with this class, box and score"],
                id="score-rises-from-just-outside-the-bound",
            ),
            pytest.param(
                [Row(BASE, 0.875), Row(beside(13.5), 0.75)],
                [Row(BASE, 0.875), Row(beside(13.3), 0.75)],
                (1, 0, 1),
                ["missing: class 0, score 0.75", "no margin"],
                id="iou-rises-from-outside-the-slack",
            ),
            pytest.param(
                [Row(BASE, 0.875), Row(beside(13.1), 0.75)],
                [Row(BASE, 0.875), Row(beside(13.4), 0.75)],
                (1, 0, 1),
                ["extra: class 0, score 0.75", "no candidate"],
                id="iou-falls-from-outside-the-slack",
            ),
            pytest.param(
                [Row(BASE, 0.875), Row(beside(13.1), 0.75)],
                [Row(BASE, 0.3), Row(beside(13.1), 0.75)],
                (0, 0, 2),
                ["missing: class 0, score 0.875", "extra: class 0, score 0.75", "the reference drops it"],
                id="the-suppressed-box-takes-the-suppressors-place",
            ),
            pytest.param(
                [Row(BASE, 0.875), Row(beside(15), 0.75), Row(FAR, 0.75)],
                [Row(BASE, 0.3), Row(beside(15), 0.75), Row(FAR, 0.75)],
                (2, 0, 1),
                ["missing: class 0, score 0.875"],
                id="a-lost-box-beside-one-that-it-never-suppressed",
            ),
            pytest.param(
                [Row(BASE, 0.875, 0, gap=0.0025)],
                [Row(BASE, 0.875, 1)],
                (0, 0, 2),
                ["missing: class 0", "no margin", "extra: class 1", "no candidate with this class"],
                id="class-flips-outside-twice-the-bound",
            ),
            pytest.param(
                SCENE,
                [moved(SCENE[0], x=0.5), *SCENE[1:]],
                (2, 0, 1),
                ["moved: class 0, score 0.875", "the box moved by 0.5 px, error bound 1.00e-02"],
                id="a-moved-box",
            ),
            pytest.param(
                SCENE,
                [moved(SCENE[0], score=-0.02), *SCENE[1:]],
                (2, 0, 1),
                [
                    "moved: class 0, score 0.875",
                    "the score moved by 0.02 from 0.875 to 0.855",
                    "error bound 1.00e-03",
                ],
                id="a-changed-score",
            ),
            pytest.param(
                [FIRST, SECOND],
                [moved(FIRST, score=-0.6), moved(SECOND, score=-0.6)],
                (0, 0, 1),
                ["missing: class 0, score 0.750488281", "nothing that overlaps it takes its place", "order"],
                id="both-of-an-open-pair-are-lost",
            ),
            pytest.param(
                [Row(BASE, 0.875, 0, gap=0.0015)],
                [Row(BASE, 0.3, 1)],
                (0, 0, 1),
                ["missing: class 0", "no margin"],
                id="an-open-class-excuses-no-loss",
            ),
            pytest.param(
                SCENE,
                [Row((NAN, 0, 40, 40), 0.875), *SCENE[1:]],
                (2, 0, 2),
                ["missing: class 0", "extra: class 0", "nan"],
                id="nan-in-the-candidates-box",
            ),
            pytest.param(
                SCENE, [Row(BASE, NAN), *SCENE[1:]], (2, 0, 1), ["missing"], id="nan-in-the-candidates-score"
            ),
            pytest.param(
                [Row((NAN, 0, 40, 40), 0.875)],
                [Row(BASE, 0.875)],
                (0, 0, 2),
                ["nan"],
                id="nan-in-the-references",
            ),
            pytest.param(
                [Row(BASE, NAN)], [Row(BASE, 0.875)], (0, 0, 1), ["extra"], id="nan-in-the-references-score"
            ),
            pytest.param(
                SCENE, [Row((0, 0, INF, 40), 0.875), *SCENE[1:]], (2, 0, 2), ["inf"], id="an-infinite-side"
            ),
        ],
    )
    def test_is_named(
        self,
        reference: Sequence[Row],
        candidate: Sequence[Row],
        expected: tuple[int, int, int],
        words: list[str],
    ) -> None:
        comparison = judge(reference, candidate)
        assert counts(comparison) == expected
        told = "\n".join(f"{finding.what}: {finding.cause}" for finding in comparison.defects)
        for word in words:
            assert word in told

    def test_a_duplicate_that_no_threshold_drops(self) -> None:
        comparison = judge(SCENE, [*SCENE, SCENE[0]], iou_threshold=1.0)
        assert counts(comparison) == (3, 0, 1)
        assert "duplicate" in comparison.defects[0].cause

    def test_without_known_leads_no_class_is_open(self) -> None:
        flipped = [Row(BASE, 0.875, 1)]
        assert counts(judge([Row(BASE, 0.875, 0, gap=0)], flipped, gaps_known=False)) == (0, 0, 2)

    def test_an_open_class_brings_no_dropped_box_back(self) -> None:
        reference = [Row(BASE, 0.875), Row(beside(10), 0.75, 1, gap=0.0)]
        candidate = [Row((50, 0, 90, 40), 0.875), Row(beside(10), 0.75, 0)]
        comparison = judge(reference, candidate, class_agnostic=True)
        assert comparison.ties == ()

    def test_at_iou_threshold_0_boxes_apart_are_no_rivals(self) -> None:
        comparison = judge(SCENE, SCENE[:2], iou_threshold=0.0)
        assert counts(comparison) == (2, 0, 1)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Array, Array]:
    """Boxes [n, 4] that overlap a lot, and class scores [n, C] many of which nearly tie."""
    count, classes = draw(st.integers(0, 12)), draw(st.integers(1, 3))
    place, side = st.integers(0, 30), st.integers(8, 30)
    corners = draw(st.lists(st.tuples(place, place, side, side), min_size=count, max_size=count))
    grades = draw(st.lists(st.integers(0, 12), min_size=count * classes, max_size=count * classes))
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes, np.array(grades).reshape(count, classes) / 12


def evidence_from(boxes: Array, scores: Array) -> Candidates:
    return candidates_of({"boxes": boxes[None], "scores": scores[None]})[0]


def largest(difference: Array) -> float:
    return float(np.abs(difference).max(initial=0))


@examples(150)
@given(
    crowd=crowds(),
    box_bound=st.sampled_from([0.0, 1e-4, 0.01, 0.5]),
    score_bound=st.sampled_from([0.0, 1e-6, 1e-3, 0.02, 0.05]),
    extreme=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    score_threshold=st.sampled_from([0.0, 0.25, 0.3, 0.5]),
    iou_threshold=st.sampled_from([0.0, 1 / 3, 0.45, 0.5, 0.7, 1.0]),
    class_agnostic=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(  # the class of the first box flips, and the second, which it suppressed, takes its place
    crowd=(np.array([[0.0, 0, 8, 8]] * 2), np.array([[1.0, 1], [1, 0]])),
    box_bound=0.0,
    score_bound=1e-6,
    extreme=False,
    dtype=np.float32,
    score_threshold=0.0,
    iou_threshold=0.0,
    class_agnostic=False,
    seed=0,
)
def test_noise_within_the_bounds_is_never_a_defect(
    crowd: tuple[Array, Array],
    box_bound: float,
    score_bound: float,
    dtype: Any,
    score_threshold: float,
    iou_threshold: float,
    seed: int,
    *,
    extreme: bool,
    class_agnostic: bool,
) -> None:
    """Whatever decisions float error alone can change, it is called a tie.

    Boxes have sides of 16 bounds or more: between smaller ones, which is which cannot be told.
    """
    random = np.random.default_rng(seed)

    def noisy(values: Array, bound: float) -> Array:
        noise = random.choice([-1, 0, 1], values.shape) if extreme else random.uniform(-1, 1, values.shape)
        return (values + bound * noise).astype(dtype)

    boxes, scores = noisy(crowd[0], box_bound), np.clip(noisy(crowd[1], 0.003), 0, 1)
    other_boxes, other_scores = noisy(boxes, box_bound), np.clip(noisy(scores, score_bound), 0, 1)
    bounds = {
        "box": largest(other_boxes.astype(np.float64) - boxes) * (1 + 1e-9) + 1e-12,
        "score": largest(other_scores.astype(np.float64) - scores) * (1 + 1e-9) + 1e-12,
    }
    order = random.permutation(len(boxes))
    post = settled(
        score_threshold=score_threshold, iou_threshold=iou_threshold, class_agnostic=class_agnostic
    )
    reference, candidate = TASK.thin(
        evidence_from(boxes, scores), evidence_from(other_boxes[order], other_scores[order]), post
    )
    comparison = TASK.compare(reference, candidate, post, bounds)
    assert comparison.defects == ()
    assert comparison.matched + len(comparison.ties) >= TASK.count(TASK.decide(reference, post))


@st.composite
def clear_crowds(draw: st.DrawFn) -> Candidates:
    """Overlapping boxes in which no score, order, overlap or class is anywhere near open."""
    boxes, _ = draw(crowds())
    count = len(boxes)
    assume(count > 0)
    ious = pairwise_iou(boxes, boxes)
    assume(float(np.abs(ious - POST.iou_threshold).min()) > 1e-3)
    ranks = draw(st.permutations(range(count)))
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    return Candidates(
        boxes, 0.55 + 0.4 * np.array(ranks) / count, np.array(labels, np.int64), np.full(count, 0.3)
    )


def one_lost(evidence: Candidates, index: int) -> Candidates:
    scores = evidence.scores.copy()
    scores[index] = 0.1
    return replace(evidence, scores=scores)


def one_relabelled(evidence: Candidates, index: int) -> Candidates:
    labels = evidence.labels.copy()
    labels[index] = 2
    return replace(evidence, labels=labels)


def one_moved(evidence: Candidates, index: int) -> Candidates:
    boxes = evidence.boxes.copy()
    boxes[index] += 0.25
    return replace(evidence, boxes=boxes)


def one_added(evidence: Candidates, index: int) -> Candidates:
    return Candidates(
        np.concatenate((evidence.boxes, [[500, 500, 540, 540]])),
        np.append(evidence.scores, 0.7),
        np.append(evidence.labels, 0),
        np.append(evidence.gaps if evidence.gaps is not None else [], 0.3),
    )


@examples(60)
@given(evidence=clear_crowds(), which=st.integers(0, 99), class_agnostic=st.booleans())
@pytest.mark.parametrize("damage", [one_lost, one_relabelled, one_moved, one_added])
def test_damage_where_margins_are_wide_is_always_a_defect(
    damage: Any, evidence: Candidates, which: int, *, class_agnostic: bool
) -> None:
    post, bounds = settled(class_agnostic=class_agnostic), {"box": 1e-6, "score": 1e-6}
    kept = TASK.decide(evidence, post).indices
    comparison = TASK.compare(evidence, damage(evidence, int(kept[which % len(kept)])), post, bounds)
    assert comparison.defects
    assert comparison.ties == ()
