"""Embeddings: neighbours by cosine or by logits, JSON, and neighbours that are ties or defects."""

from typing import Any

import numpy as np
import pytest
from contracts import Whole
from PIL import Image

from onnxproof.document import Entry
from onnxproof.errors import ModelFileError
from onnxproof.runtime.tasks.embedding import Nearness, Pairs, Vectors, cosine_similarity

TASK = Whole("embedding")
VECTORS = Vectors(("embeddings",))
PAIRS = Pairs(("logits", "embeddings"), "softmax")
BOUNDS = {"similarity": 1e-6}


def near(*similarity: float) -> Nearness:
    return Nearness(np.array(similarity), np.arange(len(similarity)), None)


def test_a_rows_neighbours_are_the_other_rows_by_their_angle() -> None:
    vectors = np.array([[1.0, 0], [10, 1], [0, 1], [-1, 0]])
    evidence = TASK.evidence({"embeddings": vectors}, {}, VECTORS, {})
    found = [TASK.decide(one, VECTORS).numbers.tolist() for one in evidence]
    assert found == [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]
    np.testing.assert_allclose(np.diag(cosine_similarity(vectors)), 1)


def test_a_row_alone_has_a_vector_and_no_neighbour() -> None:
    (evidence,) = TASK.evidence({"embeddings": np.ones((1, 12))}, {}, VECTORS, {})
    decisions = TASK.decide(evidence, VECTORS)
    assert TASK.to_json(decisions, (), None, None) == {"embedding": [1.0] * 12}
    assert TASK.lines(decisions, ()) == ("a vector of 12 numbers: 1, 1, 1, 1, 1, 1, 1, 1, …",)
    assert TASK.count(decisions) == 0
    assert TASK.compare(evidence, evidence, VECTORS, BOUNDS).matched == 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_pairs_have_a_probability_for_each_text(activation: Any) -> None:
    reading = Pairs(("logits", "embeddings"), activation)
    outputs = {"logits": np.array([[1.0, 3.0, 2.0]]), "embeddings": np.ones((1, 4))}
    (evidence,) = TASK.evidence(outputs, {}, reading, {})
    decisions = TASK.decide(evidence, reading)
    told = TASK.to_json(decisions, (), 8, 8)["neighbours"]
    assert [one["number"] for one in told] == [1, 2, 0]
    powers = np.exp([3.0, 2.0, 1.0])
    wanted = powers / powers.sum() if activation == "softmax" else powers / (1 + powers)
    np.testing.assert_allclose([one["probability"] for one in told], wanted)
    assert TASK.lines(decisions, ())[0] == f"number 1: {wanted[0]:.1%}"
    assert TASK.draw(Image.new("RGB", (60, 40)), decisions, ()).size == (60, 40)


@pytest.mark.parametrize(
    ("reference", "candidate", "ties", "defects"),
    [
        pytest.param(near(0.5, 0.4), near(0.5, 0.4), 0, 0, id="the-same"),
        pytest.param(near(0.5, 0.5 - 1.9e-6), near(0.5 - 1e-6, 0.5 - 0.9e-6), 1, 0, id="within-the-bound"),
        pytest.param(near(0.5, 0.5 - 2.1e-6), near(0.5 - 1e-6, 0.5 - 0.9e-6), 0, 1, id="led-by-more"),
        pytest.param(near(0.5, 0.5 - 1e-6), near(0.4, 0.5 - 1e-6), 0, 1, id="moved-by-more"),
        pytest.param(near(0.5, 0.4), near(np.nan, 0.4), 0, 1, id="not-a-number"),
    ],
)
def test_another_neighbour_is_a_tie_only_within_the_bound(
    reference: Nearness, candidate: Nearness, ties: int, defects: int
) -> None:
    thinned = TASK.thin(reference, candidate, VECTORS)
    compared = TASK.compare(*thinned, VECTORS, BOUNDS)
    assert (len(compared.ties), len(compared.defects)) == (ties, defects)
    assert compared.matched == (not ties and not defects)


def test_readings_survive_the_manifest_and_pairs_need_an_activation() -> None:
    for reading in (VECTORS, PAIRS):
        assert TASK.reading(Entry(reading.to_json())) == reading
    with pytest.raises(ModelFileError, match="activation"):
        TASK.reading(Entry({"decode": "pairs", "outputs": ["logits"]}))
