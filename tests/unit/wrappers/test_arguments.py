"""How inputs and plain values become the arguments of ``forward``."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import pytest

from onnxproof.errors import JobError
from onnxproof.wrappers.arguments import fit_arguments


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Batch:
    image: Any
    pairs: tuple[Any, ...] = ()
    deep: bool = False


def positional_only(x: Any, y: Any, /, z: Any = None) -> Any:
    return ("po", x, y, z)


def keyword_only(x: Any, *, mask: Any, scale: Any = None) -> Any:
    return ("ko", x, mask, scale)


def optional(x: Any, mask: Any = None, scale: Any = None) -> Any:
    return ("opt", x, mask, scale)


def stars(*xs: Any) -> Any:
    return ("stars", xs)


def named_then_stars(a: Any, b: Any, *xs: Any, k: Any = 0) -> Any:
    return ("named", a, b, xs, k)


def keywords(x: Any, **rest: Any) -> Any:
    return ("kw", x, rest)


def of_tuple(xs: tuple[Any, ...], ys: "tuple[tuple[Any, Any], ...] | None" = None) -> Any:
    return ("tuple", xs, ys)


def of_pair(pair: Optional[Pair]) -> Any:  # noqa: UP045
    return ("pair", pair)


def of_batch(batch: Batch) -> Any:
    return ("batch", batch)


def of_dict(batch: dict[str, tuple[Any, ...]]) -> Any:
    return ("dict", batch)


def untyped(batch, xs=None):  # type: ignore[no-untyped-def]
    return ("untyped", batch, xs)


@pytest.mark.parametrize(
    ("forward", "places", "constants", "called"),
    [
        pytest.param(positional_only, ["x", "y"], {}, ("po", 0, 1, None), id="positional-only"),
        pytest.param(keyword_only, ["x", "mask"], {}, ("ko", 0, 1, None), id="keyword-only"),
        pytest.param(keyword_only, ["mask", "x"], {}, ("ko", 1, 0, None), id="by-name-in-any-order"),
        pytest.param(optional, ["x"], {}, ("opt", 0, None, None), id="optional-left-out"),
        pytest.param(optional, ["x", "scale"], {}, ("opt", 0, None, 1), id="optional-skipped"),
        pytest.param(optional, ["picture"], {}, ("opt", 0, None, None), id="a-name-of-its-own-by-position"),
        pytest.param(
            optional, ["mask", "picture"], {}, ("opt", 1, 0, None), id="a-position-that-is-not-taken"
        ),
        pytest.param(optional, ["x"], {"scale": 3, "mask": None}, ("opt", 0, None, 3), id="constants"),
        pytest.param(stars, ["a", "b"], {}, ("stars", (0, 1)), id="star"),
        pytest.param(stars, ["xs[0]", "xs[1]"], {}, ("stars", (0, 1)), id="star-by-its-name"),
        pytest.param(
            named_then_stars, ["b", "a", "c"], {"k": 5}, ("named", 1, 0, (2,), 5), id="names-before-a-star"
        ),
        pytest.param(keywords, ["x", "y"], {"z": 7}, ("kw", 0, {"y": 1, "z": 7}), id="double-star"),
        pytest.param(of_tuple, ["xs[0]", "xs[1]"], {}, ("tuple", (0, 1), None), id="a-list-as-a-tuple"),
        pytest.param(
            of_tuple,
            ["xs[0]", "ys[0][0]", "ys[0][1]"],
            {},
            ("tuple", (0,), ((1, 2),)),
            id="tuples-in-tuples",
        ),
        pytest.param(of_pair, ["pair[0]", "pair[1]"], {}, ("pair", Pair(0, 1)), id="a-list-as-a-namedtuple"),
        pytest.param(
            of_pair, ["pair.second", "pair.first"], {}, ("pair", Pair(1, 0)), id="a-dict-as-a-namedtuple"
        ),
        pytest.param(
            of_batch,
            ["batch.image", "batch.pairs[0]"],
            {"batch": {"deep": True}},
            ("batch", Batch(0, (1,), True)),
            id="a-dict-as-a-dataclass-with-a-plain-value-in-it",
        ),
        pytest.param(of_dict, ["batch.a[0]"], {}, ("dict", {"a": (0,)}), id="tuples-in-a-dict"),
        pytest.param(
            untyped,
            ["batch.a", "xs[0]"],
            {"batch.n": 2},
            ("untyped", {"a": 0, "n": 2}, [1]),
            id="no-annotations",
        ),
    ],
)
def test_forward_is_called_as_a_person_would(
    forward: Callable[..., Any], places: list[str], constants: Mapping[str, Any], called: Any
) -> None:
    plain, named = fit_arguments(forward, places, constants).fill(range(len(places)))
    assert forward(*plain, **named) == called


@pytest.mark.parametrize(
    ("forward", "places", "constants", "words"),
    [
        pytest.param(keyword_only, ["x"], {}, ["needs mask", "[arguments]", "(x, mask, scale)"], id="needed"),
        pytest.param(positional_only, ["x"], {}, ["needs y"], id="needed-by-position"),
        pytest.param(
            optional, ["x"], {"deep": 1}, ["arguments.deep", "(x, mask, scale)"], id="no-such-value"
        ),
        pytest.param(optional, ["a", "b", "c", "d"], {}, ["inputs.d", "(x, mask, scale)"], id="too-many"),
        pytest.param(optional, ["x"], {"x": 1}, ["x is given twice"], id="tensor-and-value"),
        pytest.param(optional, ["x[1]"], {}, ["x has x[1]", "0, 1, 2"], id="a-gap"),
    ],
)
def test_what_does_not_fit_is_refused(
    forward: Callable[..., Any], places: list[str], constants: Mapping[str, Any], words: list[str]
) -> None:
    with pytest.raises(JobError) as caught:
        fit_arguments(forward, places, constants)
    for word in words:
        assert word in str(caught.value)
