"""What can go wrong when a graph is evaluated in float64."""

from onnxproof.errors import CheckError


class ExactError(CheckError):
    """A graph could not be evaluated in float64."""


class UnsupportedError(ExactError):
    """The graph holds operators that this evaluator does not know. It says nothing about the graph itself."""


class NotRunnableError(ExactError):
    """The graph does not take these inputs.

    For example an axis is frozen at another size, an input has another name or dtype, or shapes do not fit.
    """


class UnsupportedNodeError(Exception):
    """A node asks for what is not implemented in float64. Operators raise it; the graph names the node."""
