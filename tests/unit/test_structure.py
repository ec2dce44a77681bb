"""Places of tensors in nested lists and dicts, and the names that follow from them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxproof.errors import RequestError
from onnxproof.structure import Place, apart, leaves, name_of, parse_place, place_text, tree_of

KEYS = st.text("abc_/ 1é", min_size=1, max_size=4)
PLACES = st.builds(
    lambda first, rest: (first, *rest), KEYS, st.lists(KEYS | st.integers(0, 12), max_size=3).map(tuple)
)


@given(place=PLACES)
def test_a_place_reads_back_what_it_writes(place: Place) -> None:
    assert parse_place(place_text(place)) == place


@pytest.mark.parametrize("text", ["", ".a", "a.", "a..b", "[0]", "a[x]", "a[-1]", "a[0", "a]b"])
def test_what_is_no_place_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RequestError, match=r'"images\[0\]"'):
        parse_place(text)


@pytest.mark.parametrize(
    ("value", "places"),
    [
        pytest.param("t", ["x"], id="alone"),
        pytest.param(["t", "t"], ["x[0]", "x[1]"], id="list"),
        pytest.param({"a": "t", "b": ["t"]}, ["x.a", "x.b[0]"], id="dict-of-lists"),
        pytest.param([["t"], {"a": "t"}], ["x[0][0]", "x[1].a"], id="list-of-lists"),
    ],
)
def test_leaves_make_the_tree_again(value: Any, places: list[str]) -> None:
    found = list(leaves(value, ("x",)))
    assert [place_text(place) for place, _ in found] == places
    assert tree_of(found) == {"x": value}


@pytest.mark.parametrize("value", [[], {}, {"a": []}, {"a.b": "t"}, {0: "t"}])
def test_leaves_refuse_what_has_no_place(value: Any) -> None:
    with pytest.raises(RequestError, match="x"):
        list(leaves(value, ("x",)))


@pytest.mark.parametrize(
    ("places", "words"),
    [
        pytest.param(["x", "x"], "x is given twice", id="twice"),
        pytest.param(["x", "x.a"], "x.a is given, and so is x", id="in-a-value"),
        pytest.param(["x.a", "x"], "x is given twice", id="over-a-dict"),
        pytest.param(["x[0]", "x[2]"], "positions 0, 1, 2", id="a-gap"),
        pytest.param(["x[0]", "x.a"], "positions 0, 1, 2", id="a-list-and-a-dict"),
    ],
)
def test_places_that_do_not_go_together_are_refused(places: list[str], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        tree_of((parse_place(text), number) for number, text in enumerate(places))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        pytest.param(("batch", "image"), "batch_image", id="keys"),
        pytest.param(("images", 0, "left"), "images_0_left", id="position"),
        pytest.param(("a/b c.d",), "a_b_c_d", id="what-no-runtime-likes"),
        pytest.param(("0",), "output_0", id="a-number-in-front"),
        pytest.param(("",), "_", id="an-empty-key"),
        pytest.param((), "output", id="alone"),
    ],
)
def test_name_of_a_place(place: Place, name: str) -> None:
    assert name_of(place) == name


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b", "output_x", "x"])), st.sets(st.just("x")))
def test_names_are_apart(names: list[str], taken: set[str]) -> None:
    found = apart(names, taken)
    assert len(set(found)) == len(found) == len(names)
    assert taken.isdisjoint(found)
    if len(set(names)) == len(names) and taken.isdisjoint(names):
        assert found == tuple(names)


def test_a_clash_is_told_apart_by_number_and_an_input_by_its_side() -> None:
    assert apart(["a_b", "a_b", "a_b_2"]) == ("a_b", "a_b_3", "a_b_2")
    assert apart(["x", "y"], {"x"}) == ("output_x", "y")
