"""Why an exporter could not capture a model: the cause itself, and the user's line of code that led to it."""

import re
import traceback
from collections.abc import Collection, Iterator, Sequence
from types import FrameType

from onnxproof.errors import ExportError, OnnxproofError, RequestError, UserCodeError
from onnxproof.system.usercode import Place, failure, raised_by_user, telling_place

LONGEST = 600
"""How many characters of a cause a reason keeps."""

COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
OPERATOR = re.compile(r"target=torch\.ops\.([\w.]+)\]?\(")
"""The operator in what torch.onnx says of a node that it cannot translate."""

HINTS = re.compile(
    r"\s*(For more information, run with|Suggested fixes:|The error above occurred).*", re.DOTALL
)
"""What torch.export adds to its reason for those who debug it."""

SPECIALIZED = ("Constraints violated", "Specializations unexpectedly required", "Not all values of")
"""How torch.export begins to say that it made a declared size a constant, or narrowed it."""

VIOLATED = re.compile(r"Constraints violated \(([^)]*)\)!")
ITEMS = re.compile(r"^\s+- (.*)$", re.MULTILINE)


class UntracedError(ExportError):
    """An exporter could not follow the module's code; it, or another, may in another mode."""


def failed_capture(exporter: str, error: BaseException, at: Place | None = None) -> OnnxproofError:
    """UserCodeError if the traced code itself raised, ExportError if the exporter did, and a RequestError
    as it is: the exporter could not write, say.

    ``at`` is the user's line of code, if it does not show in the error's own stack.
    """
    if isinstance(error, RequestError):
        return error
    if raised_by_user(error):
        return failure(f"while {exporter} captures the model, its code", error)
    return ExportError(f"{exporter} could not capture the model: {cause_of(error, at)}")


def fixes_sizes(error: BaseException) -> bool:
    """Whether an exporter failed because it could not keep a declared size free."""
    return str(error).startswith(SPECIALIZED)


def all_failed(errors: Sequence[OnnxproofError], diagnosis: Sequence[str] = ()) -> OnnxproofError:
    """What to raise if no way to capture a model worked. It is of the last error's class.

    If the model's own code raised for all, the last is told alone. ``diagnosis`` are the lines of code that
    cannot be captured, as far as they are known.
    """
    *_, last = errors
    if all(isinstance(error, UserCodeError) for error in errors) or (len(errors) == 1 and not diagnosis):
        return last
    kind = UserCodeError if isinstance(last, UserCodeError) else ExportError
    lines = ["no way to capture the model worked:", *(f"- {error}" for error in errors)]
    if diagnosis:
        lines += ["These lines of code stand in the way:", *diagnosis]
    joined = kind(*lines)
    joined.__cause__ = last.__cause__
    return joined


def cause_of(error: BaseException, at: Place | None = None) -> str:
    """The innermost cause of an error, the operator that it is about, and the user's line of code."""
    causes, frames = [error], {*_frames_of(error)}
    while (cause := _behind(causes[-1], frames)) is not None and cause not in causes:
        causes.append(cause)
        frames.update(_frames_of(cause))
    operator = next((found[1] for one in causes if (found := OPERATOR.search(str(one)))), None)
    place = at or next((place for one in reversed(causes) if (place := telling_place(one))), None)
    about = "" if operator is None else f"{operator}: "
    where = "" if place is None else f", at {place}"
    said = _told(causes[-1])
    return f"{about}{type(causes[-1]).__name__}{f': {said}' if said else ''}{where}"


def _behind(error: BaseException, frames: Collection[FrameType]) -> BaseException | None:
    """The error that led to another one. ``frames`` are those through which it came up.

    An error that was being handled when the work began, further out, has no part in it.
    """
    if error.__cause__ is not None:
        return error.__cause__
    before = None if error.__suppress_context__ else error.__context__
    if before is None or before.__traceback__ is None or not frames:
        return before
    return before if before.__traceback__.tb_frame in frames else None


def _frames_of(error: BaseException) -> Iterator[FrameType]:
    return (frame for frame, _ in traceback.walk_tb(error.__traceback__))


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
