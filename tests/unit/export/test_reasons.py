"""The reason of a failed capture is its cause, without what exporters wrap around it."""

import itertools

import pytest

from onnxproof.errors import ExportError, OnnxproofError, UserCodeError
from onnxproof.export.reasons import LONGEST, all_failed, cause_of, failed_capture
from onnxproof.system.usercode import Place

WRAPPED = """Failed to convert the exported program. \x1b[96mThis is step 3/3\x1b[0m of exporting.
Next steps:
- Create an issue in the \x1b[96m*onnx*\x1b[0m component.

## Exception summary
"""
NODE = "Error when translating node %m : call_function[target=torch.ops.aten.remainder.Scalar](args"
VIOLATED = """Constraints violated (height, width)! For more information, run with TORCH_LOGS="+dynamic".
  - Not all values of height satisfy 21 <= height.
  - You marked width as dynamic but it is a constant (25).
Suggested fixes:
  height = Dim('height', min=21, max=40)

The error above occurred when calling torch.export.export."""
HINTED = """Could not guard on data-dependent
expression Eq(u0, 1). For more information, run with TORCH_LOGS="dynamic"

For C++ stack trace, run with TORCHDYNAMO_EXTENDED_DEBUG_CPP=1"""


def chained(*errors: Exception) -> Exception:
    """The first error, each caused by the next."""
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(
            chained(RuntimeError(WRAPPED), RuntimeError(NODE), TypeError("not a\nnumber")),
            "aten.remainder.Scalar: TypeError: not a number",
            id="innermost-and-operator",
        ),
        pytest.param(
            RuntimeError(WRAPPED),
            "RuntimeError: Failed to convert the exported program. This is step 3/3 of "
            "exporting. Next steps: - Create an issue in the *onnx* component.",
            id="no-colours",
        ),
        pytest.param(
            ValueError(VIOLATED),
            "ValueError: constraints violated (height, width): Not all values of height satisfy "
            "21 <= height. You marked width as dynamic but it is a constant (25).",
            id="constraints",
        ),
        pytest.param(
            ValueError(HINTED),
            "ValueError: Could not guard on data-dependent expression Eq(u0, 1).",
            id="no-hints",
        ),
        pytest.param(ValueError(), "ValueError", id="no-words"),
    ],
)
def test_the_cause_is_told(error: Exception, told: str) -> None:
    assert cause_of(error) == told


def test_a_long_cause_ends_at_a_word() -> None:
    said = cause_of(ValueError("word " * 1000))
    assert said.endswith("word …")
    assert len(said) < LONGEST + 20


def test_the_users_line_is_told_where_it_is_known() -> None:
    error = failed_capture("torch.export", ValueError("no"), Place("net.py", 3, "forward"))
    assert isinstance(error, ExportError)
    assert str(error) == "torch.export could not capture the model: ValueError: no, at net.py:3 (in forward)"


BOTH = "no way to capture the model worked:\n- a\n- b"


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        pytest.param([ExportError("a")], "a", id="one"),
        pytest.param([ExportError("a"), ExportError("b")], BOTH, id="both"),
        pytest.param([ExportError("a"), UserCodeError("b")], BOTH, id="then-the-users"),
        pytest.param([UserCodeError("a"), UserCodeError("b")], "b", id="the-users-twice"),
    ],
)
def test_of_many_failures_all_are_told(errors: list[OnnxproofError], told: str) -> None:
    joined = all_failed(errors)
    assert str(joined) == told
    assert type(joined) is type(errors[-1])


def captured() -> str:
    """What is told of a capture that fails behind another error of its own."""
    said = ""
    try:
        try:
            dict[str, int]()["no such axis"]
        except KeyError:
            raise ValueError("cannot translate")  # noqa: B904 - as libraries do
    except ValueError as error:
        said = cause_of(error)
    return said


def test_an_error_that_was_handled_before_the_capture_is_no_cause() -> None:
    assert captured().startswith("KeyError: 'no such axis'")
    try:
        next(iter(()))
    except StopIteration:
        assert captured().startswith("KeyError: 'no such axis'")
