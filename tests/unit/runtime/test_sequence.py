"""Sequences: what the steps spell, padding that does not count, and flips that are ties or defects."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.runtime.preprocess import Transform
from onnxproof.runtime.tasks import get_task
from onnxproof.runtime.tasks.sequence import NOTHING, StepLogits, Steps, Transcript, best_classes

Array = NDArray[Any]
BLANK = 3
TASK = Whole("sequence")
CTC = StepLogits(("logits",), BLANK)
PLAIN = StepLogits(("logits",), None)
PADDED = StepLogits(("logits", "lengths"), BLANK)
LETTERS = tuple(ClassInfo(name, (0, 0, 40 * index)) for index, name in enumerate(("a", "b", "c", "blank")))
WORDS = tuple(ClassInfo(name, (255, 0, 0)) for name in ("up", "down", "left", "blank"))
BOUNDS = {"logit": 1e-6}


def logits_for(classes: list[int], lead: float = 1.0) -> Array:
    """One sequence [time, 4] whose steps have these classes, each ahead of all others by ``lead``."""
    rows = np.zeros((len(classes), BLANK + 1))
    rows[np.arange(len(classes)), np.array(classes, int)] = lead
    return rows


def steps(classes: list[int], lead: float = 1.0, length: int | None = None) -> Steps:
    logits = logits_for(classes, lead)
    return Steps(logits, np.arange(len(classes)), len(classes) if length is None else length)


def read(classes: list[int], reading: StepLogits = CTC) -> Transcript:
    transcript: Transcript = TASK.decide(steps(classes), reading)
    return transcript


def test_the_task_is_found_by_its_name() -> None:
    found: object = get_task("sequence")
    assert found is TASK.task


@pytest.mark.parametrize(
    ("classes", "wanted", "places"),
    [
        pytest.param([0, 0, 3, 1], [0, 1], [0, 3], id="repeats-are-one"),
        pytest.param([0, 3, 0], [0, 0], [0, 2], id="a-blank-parts-equals"),
        pytest.param([3, 3, 2, 3], [2], [2], id="blanks-drop-at-both-ends"),
        pytest.param([2, 1, 2], [2, 1, 2], [0, 1, 2], id="neighbours-without-a-blank"),
        pytest.param([3, 3], [], [], id="blanks-alone"),
        pytest.param([], [], [], id="no-step"),
    ],
)
def test_steps_are_merged_before_blanks_are_dropped(
    classes: list[int], wanted: list[int], places: list[int]
) -> None:
    reading = read(classes)
    assert reading.labels.tolist() == wanted
    assert reading.places.tolist() == places
    assert TASK.count(reading) == len(classes)


def test_without_a_blank_every_step_is_read() -> None:
    assert read([0, 0, 3, 1], PLAIN).labels.tolist() == [0, 0, 3, 1]
    assert read([0, 0, 3, 1], PLAIN).places.tolist() == [0, 1, 2, 3]


@given(st.lists(st.integers(0, 2), max_size=8), st.data())
def test_what_is_spelled_with_repeats_and_blanks_is_read_back(word: list[int], data: Any) -> None:
    spelled: list[int] = []
    for at, letter in enumerate(word):
        least = 1 if at and letter == word[at - 1] else 0
        spelled += [BLANK] * data.draw(st.integers(least, 3))
        spelled += [letter] * data.draw(st.integers(1, 3))
    spelled += [BLANK] * data.draw(st.integers(0, 2))
    assert read(spelled).labels.tolist() == word


def test_the_surest_step_gives_the_confidence_and_the_place() -> None:
    logits = logits_for([1, 1, 1, 3])
    logits[1] *= 5
    reading = TASK.decide(Steps(logits, np.arange(4), 4), CTC)
    assert reading.places.tolist() == [1]
    assert reading.confidence[0] == pytest.approx(np.exp(5) / (np.exp(5) + 3))


def test_of_equal_logits_the_lowest_wins_and_nan_never_does() -> None:
    rows = np.array([[1, 2, 2], [np.nan, -1, -2], [np.nan, np.nan, np.nan]])
    assert best_classes(rows).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("lengths", "counted"),
    [
        pytest.param([3, 2], [3, 2], id="some-are-padded"),
        pytest.param([9, -1], [3, 0], id="a-broken-file-counts-what-there-is"),
    ],
)
def test_padding_neither_counts_nor_is_read(lengths: list[int], counted: list[int]) -> None:
    outputs = {"logits": np.stack([logits_for([0, 1, 2])] * 2), "lengths": np.array(lengths)}
    evidence = TASK.evidence(outputs, {}, PADDED, {})
    assert [entry.length for entry in evidence] == counted
    readings = [TASK.decide(entry, PADDED) for entry in evidence]
    assert [reading.labels.tolist() for reading in readings] == [[0, 1, 2][:count] for count in counted]


def test_errors_in_the_padding_set_no_bound() -> None:
    noisy = logits_for([0, 1, 2])
    noisy[2] = 1e6
    quantity = TASK.quantities(Steps(noisy, np.arange(3), 2))["logit"]
    np.testing.assert_array_equal(quantity, [*logits_for([0, 1]), [0] * 4])


def test_without_lengths_every_step_counts() -> None:
    (only,) = TASK.evidence({"logits": logits_for([0, 1, 2])[None]}, {}, CTC, {})
    assert only.length == 3


@pytest.mark.parametrize(
    ("lead", "ties", "defects"),
    [
        pytest.param(1.9e-6, 1, 0, id="lead-within-twice-the-bound"),
        pytest.param(2.1e-6, 0, 1, id="lead-just-outside"),
        pytest.param(np.nan, 0, 1, id="lead-not-a-number"),
    ],
)
@pytest.mark.parametrize("thinned", [False, True], ids=["whole", "thinned"])
def test_a_flipped_step_is_a_tie_only_within_the_bound(
    lead: float, ties: int, defects: int, *, thinned: bool
) -> None:
    reference, candidate = steps([0, 1, 2, 3]), steps([0, 1, 1, 3])
    reference.logits[2] = [-9, 0, lead, -9]
    candidate.logits[2] = [-9, lead / 2 + 1e-9, lead / 2, -9]
    if np.isnan(lead):
        reference.logits[2] = [lead, 0, 1, lead]
        candidate.logits[2] = [lead, 1, 0, lead]
    if thinned:
        reference, candidate = TASK.thin(reference, candidate, CTC)
        assert reference.numbers.tolist() == [2]
    comparison = TASK.compare(reference, candidate, CTC, BOUNDS)
    assert (comparison.matched, len(comparison.ties), len(comparison.defects)) == (3, ties, defects)


def test_a_tie_says_its_step_its_lead_and_the_limit() -> None:
    reference, candidate = steps([0, 2]), steps([0, 1])
    reference.logits[1] = [0, 0.5, 0.5 + 2**-23, 0]
    candidate.logits[1] = [0, 0.5, 0.5 - 2**-23, 0]
    (tie,) = TASK.compare(reference, candidate, CTC, BOUNDS).ties
    assert (tie.what, tie.cause) == (
        "step 1: class 2, now class 1",
        "logit 0.500000119 of class 2 leads 0.5 of class 1 by 1.19e-07, error bound 1.00e-06 each",
    )


def test_a_flip_in_the_padding_is_none() -> None:
    reference, candidate = steps([0, 1, 2], length=2), steps([0, 1, 0], length=2)
    assert not TASK.differ(TASK.decide(reference, PADDED), TASK.decide(candidate, PADDED))
    comparison = TASK.compare(reference, candidate, PADDED, BOUNDS)
    assert (comparison.matched, comparison.ties, comparison.defects) == (2, (), ())


@pytest.mark.parametrize("thinned", [False, True], ids=["whole", "thinned"])
def test_another_length_is_a_defect(*, thinned: bool) -> None:
    reference, candidate = steps([0, 1, 2], length=3), steps([0, 2, 2], length=2)
    assert TASK.differ(TASK.decide(reference, PADDED), TASK.decide(candidate, PADDED))
    if thinned:
        reference, candidate = TASK.thin(reference, candidate, PADDED)
    comparison = TASK.compare(reference, candidate, PADDED, BOUNDS)
    assert comparison.matched == 1
    assert [finding.what for finding in comparison.defects] == [
        "step 1: class 1, now class 2",
        "3 steps count, now 2",
    ]


def test_the_same_text_from_other_steps_differs() -> None:
    early, late = read([1, 1, 3, 3]), read([1, 3, 3, 3])
    assert early.labels.tolist() == late.labels.tolist()
    assert TASK.differ(early, late)


@pytest.mark.parametrize(
    ("classes", "post", "text"),
    [
        pytest.param(LETTERS, CTC, "abb", id="letters-join-whatever-the-blank-is-called"),
        pytest.param(WORDS, CTC, "up down down", id="words-have-spaces"),
        pytest.param((), CTC, "0 1 1", id="indices-have-spaces"),
        pytest.param(LETTERS, PLAIN, "a b blank b", id="no-blank-no-letter"),
    ],
)
def test_the_text_is_told_in_json(classes: tuple[ClassInfo, ...], post: StepLogits, text: str) -> None:
    document = TASK.to_json(read([0, 1, 3, 1], post), classes, 10, 10)
    assert document["text"] == text
    assert " ".join(document["labels"]) == text or "".join(document["labels"]) == text
    sure = np.e / (np.e + 3)
    assert document["confidence"] == pytest.approx([sure] * len(document["labels"]))
    assert document["steps"] == ([0, 1, 3] if post is CTC else [0, 1, 2, 3])


def test_nothing_read_is_said() -> None:
    nothing = read([3, 3])
    assert TASK.to_json(nothing, LETTERS, 1, 1) == {"text": "", "labels": [], "confidence": [], "steps": []}
    assert TASK.lines(nothing, LETTERS) == (NOTHING,)


def test_lines_say_the_text_and_each_class() -> None:
    text, *rows = TASK.lines(read([0, 3, 1]), LETTERS)
    assert text == "ab"
    assert [row.split() for row in rows] == [["step", "0", "a", "0.475"], ["step", "2", "b", "0.475"]]


@pytest.mark.parametrize("classes", [[0, 1], [3]], ids=["something", "nothing"])
def test_drawing_captions_a_copy(classes: list[int]) -> None:
    picture = Image.new("RGB", (120, 60), (9, 9, 9))
    reading = TASK.restore(read(classes), Transform(2, 2, 0, 0, 60, 30))
    drawn = TASK.draw(picture, reading, LETTERS)
    assert drawn.size == picture.size
    assert (np.asarray(drawn) != np.asarray(picture)).any()
    assert (np.asarray(picture) == 9).all()
