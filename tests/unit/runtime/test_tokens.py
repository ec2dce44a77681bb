"""Classes of tokens: padding that does not count, spans, JSON, and flips that are ties or defects."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole
from PIL import Image

from onnxproof.contract import ClassInfo
from onnxproof.document import Entry
from onnxproof.runtime.tasks.tokens import TokenLogits

TASK = Whole("tokens")
MASKED = TokenLogits(("logits", "counted"))
NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TAGS = tuple(ClassInfo(name, (0, 0, 0)) for name in NAMES)
BOUNDS = {"logit": 1e-6}


def logits_of(*names: str, lead: float = 1.0) -> Any:
    """One text [1, n, 5] whose tokens have these classes."""
    rows = np.zeros((1, len(names), len(NAMES)))
    for at, name in enumerate(names):
        rows[0, at, NAMES.index(name)] = lead
    return rows


def decided(logits: Any, counted: Any) -> Any:
    outputs = {"logits": logits, "counted": np.asarray([counted])}
    (evidence,) = TASK.evidence(outputs, {}, MASKED, {})
    return evidence, TASK.decide(evidence, MASKED)


def test_padding_on_either_side_does_not_count() -> None:
    _, tokens = decided(logits_of("B-LOC", "O", "B-PER", "I-PER", "O"), [0, 1, 1, 1, 0])
    assert tokens.places.tolist() == [1, 2, 3]
    assert [NAMES[label] for label in tokens.steps] == ["O", "B-PER", "I-PER"]


def test_without_a_second_output_all_tokens_count() -> None:
    (evidence,) = TASK.evidence({"logits": logits_of("O", "B-PER")}, {}, TokenLogits(("logits",)), {})
    assert TASK.decide(evidence, TokenLogits(("logits",))).places.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("names", "spans"),
    [
        (("O", "B-PER", "I-PER", "O"), [("PER", 1, 2)]),
        (("B-PER", "B-PER"), [("PER", 0, 0), ("PER", 1, 1)]),
        (("B-PER", "I-LOC", "I-LOC"), [("PER", 0, 0), ("LOC", 1, 2)]),
        (("O", "I-PER", "O", "I-PER"), [("PER", 1, 1), ("PER", 3, 3)]),
        (("O", "O"), []),
    ],
    ids=["one", "two-begin", "kind-changes", "begins-inside", "none"],
)
def test_spans_follow_the_tags(names: tuple[str, ...], spans: list[tuple[str, int, int]]) -> None:
    _, tokens = decided(logits_of(*names), [1] * len(names))
    told = TASK.to_json(tokens, TAGS, None, None)
    assert [(span["label"], span["first"], span["last"]) for span in told["spans"]] == spans
    assert [token["label"] for token in told["tokens"]] == list(names)


def test_classes_that_are_no_tags_have_no_spans() -> None:
    _, tokens = decided(logits_of("O", "B-PER"), [1, 1])
    plain = tuple(ClassInfo(name, (0, 0, 0)) for name in "abcde")
    assert list(TASK.to_json(tokens, plain, None, None)) == ["tokens"]
    assert TASK.lines(tokens, plain)[0] == "2 tokens"
    assert TASK.draw(Image.new("RGB", (40, 30)), tokens, plain).size == (40, 30)


@pytest.mark.parametrize(("lead", "ties", "defects"), [(1.9e-6, 1, 0), (2.1e-6, 0, 1)])
def test_a_flipped_token_is_a_tie_only_within_the_bound(lead: float, ties: int, defects: int) -> None:
    reference = logits_of("O", "B-PER", "O", lead=lead)
    candidate = reference.copy()
    candidate[0, 1] = candidate[0, 1][[1, 0, 2, 3, 4]]
    candidate[0, 1] += np.where(candidate[0, 1] > 0, -lead / 2, lead / 2 * (np.arange(5) == 1))
    ours, theirs = (decided(rows, [1, 1, 0])[0] for rows in (reference, candidate))
    compared = TASK.compare(ours, theirs, MASKED, BOUNDS)
    assert (compared.matched, len(compared.ties), len(compared.defects)) == (1, ties, defects)


def test_another_number_of_tokens_that_count_is_a_defect() -> None:
    rows = logits_of("O", "O", "O")
    ours, theirs = (decided(rows, counted)[0] for counted in ([1, 1, 0], [1, 1, 1]))
    assert TASK.compare(ours, theirs, MASKED, BOUNDS).defects


def test_a_reading_survives_the_manifest() -> None:
    assert TASK.reading(Entry(MASKED.to_json())) == MASKED
