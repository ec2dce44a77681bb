"""The exceptions that onnxproof raises for problems that a caller can fix.

Every message says what was got, what was expected and what to do. ``exit_code`` is the command line's exit
code for it. Each argument of an error is a line of its message. A line feed inside of a line came from a file
or a path, and is shown escaped.
"""

from typing import ClassVar


class OnnxproofError(Exception):
    """Base of everything below."""

    exit_code: ClassVar[int] = 2

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


class RequestError(OnnxproofError):
    """The request is wrong: a job, a flag, a file, a shape or a picture."""


class MissingPackageError(RequestError, ImportError):
    """A package is missing that an extra of onnxproof brings. The message names the extra."""


class JobError(RequestError):
    """A job file or its keyword arguments do not fit the schema."""


class CheckpointError(RequestError):
    """A checkpoint is missing, unsafe to load, or does not fit the model."""


class TrustError(RequestError):
    """A bundle names code to run, and the user did not say that it may."""


class UserCodeError(RequestError):
    """Code that the user brought, a builder or a module, raised, or called sys.exit or os._exit."""


class ExitCalledError(UserCodeError):
    """Code that the user brought called sys.exit or os._exit. It does so whoever runs it."""


class PictureError(RequestError):
    """A picture cannot be read, or cannot be fitted to the model's input."""


class ModelFileError(RequestError):
    """An ONNX file or a bundle is missing, broken, or not one that onnxproof can run."""


class ExportError(OnnxproofError):
    """Capture, simplification or writing of the ONNX file failed."""

    exit_code: ClassVar[int] = 3


class CheckError(OnnxproofError):
    """A check could not be run, so there is no verdict."""

    exit_code: ClassVar[int] = 4
