"""What PyTorch's integers were chosen from, as the recorder sees it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from onnxproof.validate.legs.choices import Choice
from onnxproof.validate.legs.recorder import ChoiceRecorder

COLOURS = torch.tensor([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])


def recorded(run: Callable[[Tensor], Tensor], scores: Tensor) -> tuple[Tensor, Choice | None]:
    recorder = ChoiceRecorder()
    with torch.inference_mode(), recorder:
        output = run(scores)
    return output, recorder.choices({"output": output}).get("output")


FOLLOWED: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "top-k": (lambda x: x.topk(3).indices, True),
    "top-k-of-the-lowest": (lambda x: x.topk(3, largest=False).indices, True),
    "top-k-of-another-axis": (lambda x: x.topk(2, dim=1).indices, True),
    "sort": (lambda x: x.sort(dim=-1, descending=True).indices[..., :4], True),
    "argsort-stable": (lambda x: x.argsort(dim=1, stable=True), True),
    "argmax": (lambda x: x.argmax(-1), True),
    "argmax-of-another-axis": (lambda x: x.argmax(1), True),
    "argmin-keeps-the-axis": (lambda x: x.argmin(1, keepdim=True), True),
    "argmax-of-all": (lambda x: x.argmax(), True),
    "max": (lambda x: x.max(dim=2).indices, True),
    "min-of-the-first-axis": (lambda x: x.min(0).indices, True),
    "arranged": (lambda x: x.topk(3).indices.transpose(0, 1).reshape(-1, 3)[:, 1:].unsqueeze(1), True),
    "split": (lambda x: x.topk(4).indices.chunk(2, dim=-1)[1], True),
    "int32": (lambda x: x.topk(3).indices.int(), True),
    "moved": (lambda x: x.argmax(-1) + 5, True),
    "classes-of-a-flat-top-k": (lambda x: x.flatten(1).topk(6).indices % 4, False),
    "rows-of-a-flat-top-k": (lambda x: x.flatten(1).topk(6).indices // 4, False),
    "gathered": (lambda x: torch.arange(24).view(2, 12).gather(1, x.flatten(1).topk(5).indices), False),
    "looked-up": (lambda x: COLOURS[x.flatten(1).argmax(1)], False),
}


@pytest.mark.parametrize(("run", "distinct"), FOLLOWED.values(), ids=FOLLOWED)
def test_integers_are_followed_to_the_scores_that_they_were_chosen_from(
    run: Callable[[Tensor], Tensor], distinct: bool
) -> None:
    torch.manual_seed(0)
    scores = torch.rand(2, 3, 4)
    output, choice = recorded(run, scores)
    assert choice is not None
    assert choice.distinct == distinct
    assert not choice.rounded
    np.testing.assert_array_equal(choice.values[choice.rows, choice.places], output.numpy())
    np.testing.assert_array_equal(choice.gaps(output.numpy()), np.zeros(output.shape))
    # What a run on other scores chooses has a gap of no more than what a score moved up and another down.
    gaps = [choice.gaps(run(scores + 0.3 * torch.rand(scores.shape)).numpy()).max() for _ in range(20)]
    assert 0 < max(gaps) <= 0.3


BOUNDARIES = torch.arange(0, 9, 0.5, dtype=torch.float64)

ROUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "rounded": lambda x: x.round().int(),
    "picture": lambda x: (x * 0.5).round().clamp(0, 255).byte().transpose(0, 2),
    "truncated": lambda x: (x - 4).to(torch.int64),
    "floor": lambda x: x.floor().long() + 1,
    "ceil": lambda x: x.ceil().long(),
    "bucketize": lambda x: torch.bucketize(x, BOUNDARIES),
    "searchsorted": lambda x: torch.searchsorted(BOUNDARIES, x, right=True).int() * 2,
    "over a number": lambda x: x > 4,
    "under a tensor": lambda x: ~(x <= x.flip(0) + 0.2),
}


@pytest.mark.parametrize("run", ROUNDED.values(), ids=ROUNDED)
def test_what_is_rounded_or_compared_is_followed_to_the_float(run: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    floats = torch.rand(20, 30, 4, dtype=torch.float64) * 8
    output, choice = recorded(run, floats)
    assert choice is not None
    assert choice.rounded
    np.testing.assert_array_equal(choice.gaps(output.numpy()), np.zeros(output.shape))
    # Where a float that moved by at most e leads to another integer, the gap is no more than 2 e.
    found = run(floats + 0.02 * (torch.rand(floats.shape, dtype=torch.float64) - 0.5))
    gaps = choice.gaps(found.numpy())
    assert 0 < gaps.max() <= 0.04
    # An integer farther away is not excused so.
    beyond = choice.gaps((~output if output.dtype == torch.bool else output + 1).numpy())
    assert beyond.max() > 0.5


def test_a_comparison_tells_how_large_the_numbers_are() -> None:
    _, choice = recorded(lambda x: x > 7.99, torch.tensor([8.0, -9.0, float("inf")]))
    assert choice is not None
    assert choice.compared == 9


NOT_FOLLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "counted": lambda x: (x > 0.5).sum(-1),
    "added-to-each-other": lambda x: x.argmax(-1) + x.argmin(-1),
    "cumulated": lambda x: x.topk(3).indices.cumsum(-1),
    "sorted-again": lambda x: x.topk(3).indices.sort(-1).values,
    "boundaries-by-row": lambda x: torch.searchsorted(x.sort().values, x),
    "joined": lambda x: torch.cat((x.topk(2).indices, x.topk(1).indices), -1),
}


@pytest.mark.parametrize("run", NOT_FOLLOWED.values(), ids=NOT_FOLLOWED)
def test_what_cannot_be_followed_is_not_excused(run: Callable[[Tensor], Tensor]) -> None:
    _, choice = recorded(run, torch.rand(2, 3, 4))
    assert choice is None


def test_an_integer_that_is_changed_in_place_is_followed() -> None:
    def run(x: Tensor) -> Tensor:
        places = x.topk(3).indices
        places += 7
        return places

    output, choice = recorded(run, torch.rand(2, 12))
    assert choice is not None
    np.testing.assert_array_equal(choice.values[choice.rows, choice.places], output.numpy())


def test_a_part_that_is_overwritten_is_not_excused() -> None:
    def run(x: Tensor) -> Tensor:
        places = x.topk(3).indices
        places[:, 0] = 11
        return places

    _, choice = recorded(run, torch.rand(2, 11))
    assert choice is None
