"""The document of a run that crashes: a shell beside the run prints it, because Python cannot any more.

A segmentation fault in the user's code, or in a library, ends the process at once. So does the system where
memory runs out.
"""

import contextlib
import faulthandler
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from onnxproof.text import json_text

SHELL = Path("/bin/sh")

DONE = "the run is over"

HEAD = "Fatal Python error: "

FATAL = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating-point exception": "SIGFPE",
}
"""What Python's faulthandler calls the signals that it tells of, behind ``HEAD``."""

SIGNALLED = 128
"""The shell's exit code for a process that a signal ended is this and the signal's number."""


@contextlib.contextmanager
def told_if_it_crashes() -> Iterator[None]:
    """Print an error's document on standard output if this process is ended by a signal that it cannot catch.

    The exit code stays the signal's. Where Python was, as far as it can tell, goes to standard error. Does
    nothing where there is no POSIX shell.
    """
    if sys.platform == "win32" or not SHELL.is_file():
        yield
        return
    reads, writes = os.pipe()
    given = ["sh", "-c", _script(), "sh", *map(_document, (*FATAL.values(), "SIGKILL"))]
    shell = os.posix_spawn(SHELL, given, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, reads, 0)])
    os.close(reads)
    enabled = faulthandler.is_enabled()
    faulthandler.enable(writes)
    try:
        yield
    finally:
        faulthandler.disable()
        if enabled and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        with contextlib.suppress(OSError):  # the shell was ended, or the user's code closed the pipe
            os.write(writes, f"{DONE}\n".encode())
            os.close(writes)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(shell, 0)


def _script() -> str:
    """Wait for how the run ends, and show where Python was. Its own end closes the pipe, too.

    A process that the user's code forks may crash, and the run goes on: that is no end.
    """
    arms = "".join(f'*"{said}"*) shift {at};; ' for at, said in enumerate(FATAL))
    return (
        f'said=; while read -r line; do case $line in "{DONE}") exit;; "{HEAD}"*) said=$line;; '
        '*) printf "%s\\n" "$line" >&2;; esac; done; '
        f'case $said in {arms}*) shift {len(FATAL)};; esac; printf "%s\\n" "$1"'
    )


def _document(name: str) -> str:
    number = signal.Signals[name].value
    why = (
        "the system ended it, most likely because memory ran out, or somebody ended it, or code of the model "
        "or of a library ended the process without a word"
        if name == "SIGKILL"
        else "code of the model or of a library crashed the interpreter; standard error says where Python was"
    )
    return json_text(
        {"error": {"type": "Crashed", "message": f"{name}: {why}", "exit_code": SIGNALLED + number}}
    )
