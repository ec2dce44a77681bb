"""One-to-one assignment by chains of changes: it leaves nothing without a partner that can have one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.validate.compare.origins import reassign

Choices = list[list[int]]
choices_of_each = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=3), max_size=6)


def stays(_one: int) -> bool:
    return False


def assigned(choices: Choices) -> tuple[dict[int, int], dict[int, int]]:
    """Partners and holders after each has been given a partner in turn, where possible."""
    partners: dict[int, int] = {}
    holders: dict[int, int] = {}
    for one in range(len(choices)):
        before = set(partners)
        given_one = reassign(one, choices.__getitem__, partners, holders, stays)
        assert set(partners) == before | ({one} if given_one else set())
    return partners, holders


def most(choices: Choices, taken: frozenset[int] = frozenset()) -> int:
    """The largest number of partners, by trying every assignment."""
    if not choices:
        return 0
    free = set(choices[0]) - taken
    return max([most(choices[1:], taken)] + [1 + most(choices[1:], taken | {partner}) for partner in free])


@given(choices=choices_of_each)
def test_as_many_as_possible_have_a_partner_of_their_own(choices: Choices) -> None:
    partners, holders = assigned(choices)
    assert all(partner in choices[one] for one, partner in partners.items())
    assert holders == {partner: one for one, partner in partners.items()}
    assert len(partners) == most(choices)


@given(choices=choices_of_each, dispensable=st.sets(st.integers(0, 5)))
def test_only_what_may_go_loses_its_partner(choices: Choices, dispensable: set[int]) -> None:
    partners, holders = assigned(choices)
    for one in range(len(choices)):
        if one in partners or one in dispensable:
            continue
        before = set(partners)
        reassign(one, choices.__getitem__, partners, holders, dispensable.__contains__)
        assert before - set(partners) <= dispensable
    assert holders == {partner: one for one, partner in partners.items()}
    needed = [own for one, own in enumerate(choices) if one not in dispensable]
    assert len(set(partners) - dispensable) == most(needed)
    assert len(partners) == most(choices)


@pytest.mark.parametrize("count", [1, 2000])
def test_a_long_chain_is_no_deep_recursion(count: int) -> None:
    chain = [[one, one + 1] for one in range(count)]
    partners = {one: one for one in range(count)}
    holders = dict(partners)
    assert reassign(count, [*chain, [0]].__getitem__, partners, holders, stays)
    assert partners == {**{one: one + 1 for one in range(count)}, count: 0}
    assert np.array_equal(sorted(holders), np.arange(count + 1))
