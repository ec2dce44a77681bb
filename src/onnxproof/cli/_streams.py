"""Standard output and standard error that end in no traceback, whoever reads them.

Their encoding may lack a character, and the shell may have closed standard error (``2>&-``): the command goes
on. A full disk is a wrong request, and so is a closed standard output (``>&-``) once there is something to
print. A reader that went away (``| head``) is left to what ends the run.

What is written is written whole: the system may take less than it is given (a disk that fills up, a pipe that
does not block), and Python's own stream drops the rest if it is unbuffered (PYTHONUNBUFFERED).
"""

import codecs
import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

from onnxproof.errors import RequestError
from onnxproof.system.foreign import read_most

ESCAPES = "onnxproof-escapes"
"""The error handler that writes a character as JSON escapes it, so that JSON stays JSON."""

OUTPUT = "standard output"
OUTPUT_DESCRIPTOR = 1

INPUT = "standard input"
MOST_INPUT = 2**30
"""Bytes of a request, or of names, that are read: a device such as /dev/zero has no end."""

STANDARD = 3
"""Standard input, output and error are the file descriptors below this."""

_output_closed: ContextVar[bool] = ContextVar("output_closed", default=False)
"""Whether standard output was closed when ``patient_streams`` began."""


@contextlib.contextmanager
def patient_streams() -> Iterator[None]:
    """Put patient streams in place of ``sys.stdout`` and ``sys.stderr``."""
    closed = _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    patient = _Patient(before[0], OUTPUT), _Patient(before[1], None)
    sys.stdout, sys.stderr = patient
    token = _output_closed.set(before[0] is None or OUTPUT_DESCRIPTOR in closed)
    try:
        yield
    finally:
        for stream in patient:
            with contextlib.suppress(OSError, RequestError):  # was told when the run ended
                stream.flush()
        _output_closed.reset(token)
        sys.stdout, sys.stderr = before


def require_output() -> None:
    """Raise RequestError if standard output was closed before the program began."""
    if _output_closed.get():
        raise RequestError(f"{OUTPUT} is closed, and there is something to print: send it to a file")


def cannot_write(stream: str, error: OSError) -> RequestError:
    """What to raise where a stream cannot be written."""
    return RequestError(
        f"{stream} cannot be written ({error.strerror or error}): free space, or send it elsewhere"
    )


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all of ``content``, and wait for a pipe that is full. Raises OSError."""
    rest = memoryview(content)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            room.poll()


def read_input(expected: str) -> bytes:
    """All that standard input holds.

    Raises RequestError if it is closed, cannot be read, or holds more than ``MOST_INPUT`` bytes. ``expected``
    says what there should be.
    """
    if sys.stdin is None:
        raise RequestError(f"{INPUT} is closed: {expected}")
    buffer = getattr(sys.stdin, "buffer", None)
    try:
        return sys.stdin.read().encode() if buffer is None else read_most(buffer, MOST_INPUT)
    except OSError as error:
        raise RequestError(f"{INPUT} cannot be read ({error.strerror or error}): {expected}") from error


def is_utf8(stream: TextIO) -> bool:
    """Whether a stream takes every character."""
    return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"


def _open_closed_descriptors() -> list[int]:
    """Open the null device in place of each closed standard stream. Returns which were closed.

    The system gives a free number to the next file that is opened. Where that is 1 or 2, whatever a library
    prints would go into that file.
    """
    closed = []
    for descriptor in range(STANDARD):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.append(descriptor)
            os.open(os.devnull, os.O_RDWR)
    return closed


class _Patient(io.TextIOBase):
    """A text stream that escapes what its encoding lacks.

    If it cannot be written, it raises a RequestError that calls it ``name``, or goes silent where that is
    None. BrokenPipeError passes. It has no ``buffer``, so that click and rich write here and not past it.
    ``stream`` is None where Python has none, and then nothing is written. Text is held until its line ends,
    as on a terminal, so that lines of several threads and processes stay lines.
    """

    def __init__(self, stream: TextIO | None, name: str | None) -> None:
        self._stream = stream
        self._name = name
        self._silent = False
        self._held = bytearray()
        self._turn = threading.RLock()
        self._encoder = codecs.getincrementalencoder(self.encoding)(ESCAPES)
        self._own = stream is not None and _writes_to_a_descriptor(stream)
        """Whether it is written here, past Python's stream."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return (self._stream and self._stream.encoding) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return ESCAPES

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return super().fileno() if self._stream is None else self._stream.fileno()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"a text stream takes str, got {type(text).__name__}")
        if text and self._name is not None:
            require_output()
        if text and self._stream is not None and not self._silent:
            with self._patience(self._stream):
                self._take(text, self._stream)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and not self._silent:
            with self._patience(self._stream):
                self._release(self._stream)
                self._stream.flush()

    def _take(self, text: str, stream: TextIO) -> None:
        if not self._own:
            known = text if text.isascii() else text.encode(self.encoding, ESCAPES).decode(self.encoding)
            stream.write(known)
            return
        with self._turn:
            self._held += self._encoder.encode(text)
            if "\n" in text or len(self._held) >= io.DEFAULT_BUFFER_SIZE:
                self._release(stream)

    def _release(self, stream: TextIO) -> None:
        with self._turn:
            content = bytes(self._held)
            self._held.clear()
            if content:
                write_whole(stream.fileno(), content)

    @contextlib.contextmanager
    def _patience(self, stream: TextIO) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self._silent = True
            self._drop_the_rest(stream)
            if self._name is not None:
                raise cannot_write(self._name, error) from error

    @staticmethod
    def _drop_the_rest(stream: TextIO) -> None:
        """Let what is still buffered go to the null device, or Python fails on it as it exits."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def _writes_to_a_descriptor(stream: TextIO) -> bool:
    """Whether a stream is one of Python's own on a file descriptor.

    Tests replace it by others, and Windows' console and line ends are left to Python.
    """
    buffer = getattr(stream, "buffer", None)
    return sys.platform != "win32" and isinstance(getattr(buffer, "raw", buffer), io.FileIO)


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs), error.end


codecs.register_error(ESCAPES, _escape)
