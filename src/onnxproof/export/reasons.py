"""Why an exporter could not capture a model: the cause itself, and the user's line of code that led to it."""

import re

from onnxproof.errors import ExportError, OnnxproofError, UserCodeError
from onnxproof.usercode import Place, failure, raised_by_user, users_place

LONGEST = 600
"""How many characters of a cause a reason keeps."""

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
OPERATOR = re.compile(r"target=torch\.ops\.([\w.]+)\]?\(")
"""The operator in what torch.onnx says of a node that it cannot translate."""

HINTS = re.compile(
    r"\s*(For more information, run with|Suggested fixes:|The error above occurred).*", re.DOTALL
)
"""What torch.export adds to its reason for those who debug it."""

VIOLATED = re.compile(r"Constraints violated \(([^)]*)\)!")
ITEMS = re.compile(r"^\s+- (.*)$", re.MULTILINE)


def failed_capture(exporter: str, error: BaseException, at: Place | None = None) -> OnnxproofError:
    """UserCodeError if the traced code itself raised, ExportError if the exporter did.

    ``at`` is the user's line of code, if it does not show in the error's own stack.
    """
    if raised_by_user(error):
        return failure(f"while {exporter} captures the model, its code", error)
    return ExportError(f"{exporter} could not capture the model: {cause_of(error, at)}")


def both_failed(first: OnnxproofError, second: OnnxproofError) -> OnnxproofError:
    """What to raise if neither exporter captured the model. It is of the second error's class.

    If the model's own code raised the same error for both, one of them is told.
    """
    if isinstance(first, UserCodeError) and isinstance(second, UserCodeError):
        return second
    joined = type(second)(f"{second}. Before that, {first}")
    joined.__cause__ = second.__cause__
    return joined


def cause_of(error: BaseException, at: Place | None = None) -> str:
    """The innermost cause of an error, the operator that it is about, and the user's line of code."""
    causes = [error]
    while (cause := _behind(causes[-1])) is not None and cause not in causes:
        causes.append(cause)
    operator = next((found[1] for one in causes if (found := OPERATOR.search(str(one)))), None)
    place = at or next((place for one in reversed(causes) if (place := users_place(one))), None)
    about = "" if operator is None else f"{operator}: "
    where = "" if place is None else f", at {place}"
    said = _told(causes[-1])
    return f"{about}{type(causes[-1]).__name__}{f': {said}' if said else ''}{where}"


def _behind(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _told(error: BaseException) -> str:
    """An error's own words: its first paragraph, or what it lists if that is a heading of a list."""
    text = COLOURS.sub("", str(error)).strip()
    violated = VIOLATED.match(text)
    if violated is not None:
        text = f"constraints violated ({violated[1]}): {' '.join(ITEMS.findall(text))}"
    else:
        text = HINTS.sub("", text.partition("\n\n")[0])
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0]} …"
