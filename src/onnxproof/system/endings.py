"""How a run or a job ends that raised: its exit code, and the error's message.

Exit codes 0, 1, 3 and 4 are the commands' own, and 2 is a wrong request. An exception that nobody foresaw
gets another, so that CI does not read it as a verdict.
"""

from dataclasses import dataclass
from typing import Any

from onnxproof.errors import OnnxproofError
from onnxproof.system.disk import request_of
from onnxproof.system.extras import brings, missing
from onnxproof.system.shortage import shortage, shows_shortage
from onnxproof.system.signals import Stopped
from onnxproof.system.usercode import failure, innermost_place, told_at, users_place
from onnxproof.text import one_line

EXIT_CODES = {"pass": 0, "fail": 1, "error": 4}
"""The exit code of a verdict, by its status."""

WRONG_REQUEST = 2
UNFORESEEN = 70
"""EX_SOFTWARE of BSD's sysexits.h."""
INTERRUPTED = 130
"""The shell's exit code for a command that was stopped by Ctrl-C: 128 and SIGINT's number."""


@dataclass(frozen=True, slots=True)
class Ending:
    """An exit code, the error's type, and its message.

    ``text`` is what is printed on standard error: its lines are ours, and what came from files is escaped.
    """

    exit_code: int
    type: str
    message: str
    text: str

    def text_of(self, name: str) -> str:
        """The text for one job of several."""
        return f"{NAMED}{one_line(name)}: {self.text.removeprefix(NAMED)}"

    @property
    def is_fault(self) -> bool:
        """Whether the fault is onnxproof's own."""
        return self.exit_code == UNFORESEEN

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints in place of a result."""
        return {"error": {"type": self.type, "message": self.message, "exit_code": self.exit_code}}


NAMED = "onnxproof: "


def ending(exit_code: int, kind: str, *lines: str) -> Ending:
    """An ending whose text names onnxproof, and whose message has these lines."""
    return Ending(exit_code, kind, "\n".join(lines), NAMED + "\n".join(map(one_line, lines)))


def ending_of(error: BaseException) -> Ending:
    """How a run ends that raised this error."""
    kind = type(error).__name__
    if isinstance(error, OnnxproofError):
        return ending(error.exit_code, kind, *map(str, error.args))
    if isinstance(error, KeyboardInterrupt):
        return ending(INTERRUPTED, "Interrupted", "stopped")
    if isinstance(error, Stopped):
        return ending(error.exit_code, "Stopped", f"stopped by {error.name}")
    if users_place(error) is not None:
        users = failure("the code that the request names", error)
        return ending(users.exit_code, type(users).__name__, str(users))
    if (told := request_of(error)) is not None:
        return ending(told.exit_code, type(told).__name__, str(told))
    if isinstance(error, ModuleNotFoundError) and error.name is not None and brings(error.name):
        lacking = missing(error.name)
        return ending(lacking.exit_code, type(lacking).__name__, str(lacking))
    if shows_shortage(error):
        return ending(WRONG_REQUEST, "RequestError", shortage())
    message = (
        f"something that nobody foresaw {told_at(error, innermost_place(error))}. This is a fault of "
        "onnxproof, not of the request: report it as CONTRIBUTING.md says, with what --traceback prints"
    )
    return ending(UNFORESEEN, "Unforeseen", message)
