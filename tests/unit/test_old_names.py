"""The keywords that functions had before they were called as on the command line."""

import inspect
from pickle import dumps, loads

import pytest

from onnxproof.entry import takes_old_names


@takes_old_names
def judge(source: str, *, onnx: str | None = None, set: tuple[str, ...] = ()) -> tuple[object, ...]:
    return source, onnx, set


def test_an_old_name_is_taken_and_warned_of() -> None:
    with pytest.warns(DeprecationWarning, match=r"judge\(overrides=…\) is judge\(set=…\) now") as told:
        assert judge("job", overrides=("a=1",)) == ("job", None, ("a=1",))  # type: ignore[call-arg]
    assert told[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="onnx_file"):
        assert judge("job", onnx_file="m.onnx") == ("job", "m.onnx", ())  # type: ignore[call-arg]


def test_a_name_is_not_taken_twice_and_no_other_is_taken() -> None:
    with pytest.raises(TypeError, match="overrides"):
        judge("job", set=(), overrides=("a=1",))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="onnxfile"):
        judge("job", onnxfile="m.onnx")  # type: ignore[call-arg]


def test_a_function_with_old_names_is_itself_elsewhere() -> None:
    assert list(inspect.signature(judge).parameters) == ["source", "onnx", "set"]
    assert loads(dumps(judge)) is judge
