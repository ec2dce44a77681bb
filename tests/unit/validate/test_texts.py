"""Integer inputs as a tokenizer writes texts, and masks that drop other steps than the last."""

import numpy as np
import pytest

from onnxproof.tensors import TensorSpec
from onnxproof.validate.cases import Case, materialise
from onnxproof.validate.texts import Gaps, Text, with_gaps

IDS = TensorSpec("ids", "int64", ("batch", "time"), (0, 999))
MASK = TensorSpec("mask", "int64", ("batch", "time"), mask=True)
OTHERS = TensorSpec("types", "int64", ("batch", "time"), (0, 1))
SPECIAL = (7, 8, 9, 995)
TEXT = Text(pad=999, ends=(998, 997))


def case(text: Text = TEXT, *, batch: int = 4, time: int = 12, gaps: tuple[Gaps, ...] = ()) -> Case:
    sizes = {"batch": batch, "time": time}
    return Case("text", sizes, "noise", 3, ids={"ids": SPECIAL}, text=text, gaps=gaps)


@pytest.mark.parametrize("gaps", [(), ("left", "holes")], ids=["right", "left-and-holes"])
@pytest.mark.parametrize("replica", [0, 1])
def test_padding_is_where_the_mask_drops_and_ends_at_the_last_kept_step(
    gaps: tuple[Gaps, ...], replica: int
) -> None:
    one = Case.from_json(case(gaps=gaps).to_json())
    assert one == case(gaps=gaps)
    arrays = materialise(
        Case(**{**{name: getattr(one, name) for name in Case.__slots__}, "replica": replica}),
        [IDS, OTHERS, MASK],
        None,
    )
    ids, kept = arrays["ids"], arrays["mask"] != 0
    assert not kept.all()
    assert (ids[~kept] == 999).all()
    for row, (numbers, used) in enumerate(zip(ids, kept, strict=True)):
        assert numbers[np.flatnonzero(used)[-1]] == TEXT.ends[row % 2]
    assert set(SPECIAL) <= set(ids[1:].reshape(-1).tolist())
    assert arrays["types"].max() == 1


def test_without_a_mask_texts_end_where_they_like() -> None:
    ids = materialise(case(), [IDS], None)["ids"]
    padded = ids == 999
    assert padded[:, -1].any()
    assert not padded[:, 0].any()
    assert (np.diff(padded.astype(int), axis=1) >= 0).all()


def test_ids_beyond_the_range_are_not_written() -> None:
    ids = materialise(case(Text(pad=-1, ends=(5000, 998))), [IDS, MASK], None)["ids"]
    assert ids.min() >= 0
    assert ids.max() <= 999


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_each_row_of_a_mask_with_gaps_keeps_its_last_step(steps: int) -> None:
    kinds: tuple[Gaps, ...] = ("left", "holes", "both")
    mask = with_gaps(np.ones((6, steps), np.int64), kinds, np.random.default_rng(0))
    assert mask.dtype == np.int64
    assert (mask[:, -1] == 1).all()
    if steps == 9:
        assert (mask[::3, 0] == 0).all()
        assert (np.diff(mask[::3], axis=1) >= 0).all()
        assert (mask[1::3, 0] == 1).all()
        assert (mask[1::3] == 0).any(axis=1).all()
        assert (mask[2::3, 0] == 0).all()
        assert (np.abs(np.diff(mask[2::3], axis=1)).sum(axis=1) > 1).all()
