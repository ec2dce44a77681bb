"""The terminal: each command parses, calls one function, prints, exits.

Next to nothing is imported here, so that Ctrl-C, SIGTERM and SIGHUP are told in words while the rest is
imported, too.
"""

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from onnxproof.system.imports import imported
from onnxproof.system.shortage import shortage, shows_shortage
from onnxproof.system.signals import Stopped, stopping_raises

if TYPE_CHECKING:
    from onnxproof.cli._commands import COMMANDS as COMMANDS
    from onnxproof.cli._commands import app as app
    from onnxproof.cli._commands import main as main

COMMANDS_MODULE = "onnxproof.cli._commands"

INTERRUPTED = 130
"""The shell's exit code for a command that was stopped by Ctrl-C: 128 and SIGINT's number."""

WRONG_REQUEST = 2
UNFORESEEN = 70
"""As ``system.endings`` has them, which imports more."""

DOCUMENT = '{{"error": {{"type": "{type}", "message": "{message}", "exit_code": {exit_code}}}}}'
"""What ``--json`` prints of a run that was stopped."""


def program() -> NoReturn:
    """The console script: the command line in a process of its own, which ends here."""
    code: Any = INTERRUPTED
    try:
        with stopping_raises():
            code = imported(COMMANDS_MODULE).whole_run()
    except KeyboardInterrupt:  # before the run began, or after it ended
        _tell("Interrupted", "stopped", code)
    except Stopped as stopped:
        code = stopped.exit_code
        _tell("Stopped", f"stopped by {stopped.name}", code)
    except Exception as error:  # noqa: BLE001 - before or after the run, whose own errors are told in it
        if shows_shortage(error):
            code = WRONG_REQUEST
            _tell("RequestError", shortage(), code)
        else:
            code = UNFORESEEN
            sys.excepthook(*sys.exc_info())
            _tell("Unforeseen", "something that nobody foresaw, before the run began or after it ended", code)
    os._exit(code)


def _tell(kind: str, message: str, code: int) -> None:
    with contextlib.suppress(OSError):  # a terminal that hung up takes no message
        print(f"onnxproof: {message}", file=sys.stderr, flush=True)  # noqa: T201
        if asks_for("--json") and sys.stdout is not None:
            print(DOCUMENT.format(type=kind, message=message, exit_code=code), flush=True)  # noqa: T201


def asks_for(flag: str) -> bool:
    """Whether the flag is among the arguments before ``--``."""
    given = sys.argv[1:]
    return flag in (given[: given.index("--")] if "--" in given else given)


def __getattr__(name: str) -> Any:
    if name not in ("COMMANDS", "app", "main"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(imported(COMMANDS_MODULE), name)
