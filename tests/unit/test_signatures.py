"""The arguments of the public functions: held to their signatures in words, never read letter by letter."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import onnxproof
from onnxproof.errors import RequestError
from onnxproof.many.workers import Workers
from onnxproof.runtime.preprocess.picture import pictures_of
from onnxproof.system.signatures import argument, checks_arguments

OWN_CHECKS = {"nms", "read_picture"}
"""Public functions that tell apart more than types, and say so themselves."""

Address = str | PathLike[str]
Choice = Literal["quick", "thorough"]


def public() -> dict[str, Any]:
    """The functions that users call, by their names, without those that bring PyTorch."""
    found = {name: getattr(onnxproof.runtime, name) for name in onnxproof.runtime.__all__}
    found |= {
        name: getattr(onnxproof, name) for name in ("compare", "kit", "load_job", "load_jobs", "schema")
    }
    return {name: one for name, one in found.items() if not inspect.isclass(one)}


@pytest.mark.parametrize("name", sorted(public().keys() - OWN_CHECKS))
def test_every_public_function_holds_its_arguments_to_its_signature(name: str) -> None:
    assert getattr(public()[name], "checks_arguments", False)


@pytest.mark.parametrize("name", sorted(public()))
def test_a_public_function_says_what_is_wrong_with_an_argument_of_no_type(name: str) -> None:
    function = public()[name]
    first, *others = [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.default is inspect.Parameter.empty
    ]
    with pytest.raises(RequestError, match=r"expected|has shape"):
        function(object(), **dict.fromkeys(others, object())) if others else function(object())
    assert first


@pytest.mark.parametrize(
    ("value", "stated", "taken"),
    [
        pytest.param("export.opset=18", Sequence[str], ("export.opset=18",), id="one-text-is-one-entry"),
        pytest.param("net.toml", Iterable[Address], ("net.toml",), id="one-job-is-one-entry"),
        pytest.param(Path("net.toml"), Iterable[Address], (Path("net.toml"),), id="one-path-is-one-entry"),
        pytest.param(Path("a"), str | PathLike[str], Path("a"), id="a-path-stays-a-path"),
        pytest.param(Path("pics/*.png"), Sequence[str], ("pics/*.png",), id="a-path-for-a-text"),
        pytest.param(["a", "b"], Sequence[str], ("a", "b"), id="a-list"),
        pytest.param((one for one in "ab"), Iterable[str], ("a", "b"), id="a-generator"),
        pytest.param("cpu", str | Sequence[str], "cpu", id="a-text-where-one-may-be-given"),
        pytest.param(np.int64(3), int, 3, id="numpys-integer"),
        pytest.param(np.float32(0.5), float, 0.5, id="numpys-float"),
        pytest.param(2, float, 2, id="an-integer-is-a-number"),
        pytest.param(np.True_, bool, True, id="numpys-bool"),
        pytest.param("thorough", Choice | None, "thorough", id="a-choice"),
        pytest.param(None, Choice | None, None, id="none-where-it-is-stated"),
        pytest.param({"a": object()}, Mapping[str, str], {"a": object}, id="a-mapping"),
    ],
)
def test_an_argument_of_its_type_is_taken(value: Any, stated: Any, taken: Any) -> None:
    found = argument("name", value, stated)
    assert found.keys() == taken.keys() if isinstance(taken, dict) else found == taken


@pytest.mark.parametrize(
    ("value", "stated", "says"),
    [
        pytest.param(1.5, int, "threads is 1.5, expected a whole number", id="half-a-thread"),
        pytest.param(True, int, "threads is True, expected a whole number", id="true-is-no-number"),
        pytest.param("no", bool, 'threads is "no", expected True or False', id="no-is-not-false"),
        pytest.param(3, Address | None, "threads is 3, expected a path", id="a-number-for-a-path"),
        pytest.param(None, Sequence[str], "threads is None, expected a list of texts", id="none-for-a-list"),
        pytest.param(1, Sequence[int], "threads is 1, expected a list of whole numbers", id="a-number-alone"),
        pytest.param("1", Sequence[int], 'threads is "1", expected a list of whole numbers', id="a-text"),
        pytest.param([1, "x"], Sequence[int], 'threads holds "x", expected a list of whole', id="an-entry"),
        pytest.param({0: "cat"}, Sequence[str], "threads is {0: 'cat'}, expected a list of texts", id="dict"),
        pytest.param([1], Mapping[str, int], r"threads is \[1\], expected a mapping", id="a-list"),
        pytest.param(3, Callable[[str], None], "threads is 3, expected a function", id="no-function"),
        pytest.param("quik", Choice | None, 'is "quik", expected .*; did you mean "quick"', id="near"),
        pytest.param(3, Workers, "threads is 3, expected a Workers", id="another-class"),
        pytest.param("a\0b", Address | None, "threads holds a null character", id="null"),
        pytest.param(Path("a\0b"), Address, "threads holds a null character", id="null-in-a-path"),
    ],
)
def test_another_type_is_refused_in_words(value: Any, stated: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        argument("threads", value, stated)


def test_an_unknown_keyword_stays_pythons_own_error() -> None:
    @checks_arguments
    def judge(source: str, *, set: Sequence[str] = ()) -> tuple[str, Sequence[str]]:
        return source, set

    assert judge("job", set="a=1") == ("job", ("a=1",))
    with pytest.raises(TypeError, match="sets"):
        judge("job", sets=())  # type: ignore[call-arg]


def test_one_setting_is_not_read_letter_by_letter(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('name = "net"\n[model]\nfamily = "module"\nbuilder = "net.py:make"\n')
    assert onnxproof.load_job(job, set="export.opset=18").export.opset == 18


@pytest.mark.parametrize("one", ["a.png", Path("a.png"), b"PNG", bytearray(b"PNG")])
def test_one_picture_in_place_of_several_is_the_only_one(one: Any) -> None:
    assert list(pictures_of(one)) == [one]
    assert list(pictures_of([one, one])) == [one, one]


def test_no_pictures_are_refused_in_words() -> None:
    with pytest.raises(RequestError, match="pictures is a int, expected a list of pictures, or one"):
        pictures_of(3)


@pytest.mark.parametrize("wrong", [{"count": 2.5}, {"count": "x"}, {"dask": 3}, {"resume": 3}])
def test_workers_hold_their_fields_to_their_types(wrong: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"{next(iter(wrong))} is .*, expected"):
        Workers(**wrong)
