"""How much an output moves from input to input."""

import math
from dataclasses import replace

import numpy as np

from onnxproof.tensors import Field, TensorSpec
from onnxproof.validate.facts import Facts
from onnxproof.validate.measure import LabelMeasurement
from onnxproof.validate.pools import FieldPools
from onnxproof.validate.spread import Spread
from onnxproof.validate.weak import weak_witnesses


def test_members_of_a_batch_are_inputs_of_their_own() -> None:
    spread = Spread()
    spread.add(np.array([[1.0, 2.0], [1.5, 2.0]]), ())
    assert spread.largest == 0.5


def test_only_answers_to_inputs_of_the_same_sizes_are_held_against_each_other() -> None:
    spread = Spread()
    spread.add(np.zeros((1, 4)), (64, 32))
    spread.add(np.ones((1, 4)), (32, 64))
    assert spread.largest is None
    spread.add(np.full((1, 4), 1.25), (32, 64))
    assert spread.largest == 0.25


def test_the_order_of_the_parts_does_not_matter() -> None:
    random = np.random.default_rng(0)
    runs = [random.normal(size=(2, 3, 100)) for _ in range(4)]
    whole, first, second = Spread(), Spread(), Spread()
    for run in runs:
        whole.add(run, (8,))
    for run in runs[2:]:
        second.add(run, (8,))
    for run in runs[:2]:
        first.add(run, (8,))
    second.merge(first)
    assert second.largest == whole.largest


def test_places_that_are_no_number_do_not_count() -> None:
    spread = Spread()
    spread.add(np.array([[math.nan, 1.0], [math.nan, 3.0]]), ())
    assert spread.largest == 2.0


def test_infinities_do_not_count() -> None:
    spread = Spread()
    spread.add(np.array([[-math.inf, 1.0], [-math.inf, 3.0]]), ())
    assert spread.largest == 2.0


def test_an_output_that_is_always_the_same_is_weak_evidence() -> None:
    random = np.random.default_rng(0)
    for size, weak in ((1e-3, True), (1e-1, False)):
        pools = FieldPools((Field("logits", "logits", ""),))
        for case in ("noise", "black"):
            values = {"logits": 1 + size * random.random((1, 10))}
            single = {"logits": values["logits"].astype(np.float32)}
            pools.add(case, values, single, single, {}, sizes=(64, 64), constant=case == "black")
        facts = Facts("leg", (), 1, False, (), (), pools.measured(()), (), None, {})
        notes = weak_witnesses(facts, (TensorSpec("x", "float32", ("batch", 3), (0, 1)),))
        assert ["weak evidence: logits moved by" in note for note in notes] == [True] * weak
        assert ["as outputs of an untrained model do" in note for note in notes] == [True] * weak
        one_value = TensorSpec("x", "float32", ("batch", 3), (1, 1))
        notes = weak_witnesses(facts, (one_value,))
        says = "since the inputs are declared to have one value alone (x: float32[batch, 3] in 1..1)"
        assert [says in note for note in notes] == [True] * weak
        notes = weak_witnesses(facts, (one_value, TensorSpec("y", "float32", ("batch", 3), (0, 1))))
        assert ["untrained model" in note for note in notes] == [True] * weak


def test_labels_that_are_all_alike_are_weak_evidence() -> None:
    label = LabelMeasurement("label", 10, 0, math.nan, "", only=3)
    facts = Facts("leg", (), 1, False, (), (), (), (label,), None, {})
    (note,) = weak_witnesses(facts, ())
    assert note.startswith("weak evidence: label was class 3 in all 10 places")
    for other in (replace(label, only=None), replace(label, count=1)):
        assert not weak_witnesses(replace(facts, labels=(other,)), ())
