"""What can go wrong when a graph is evaluated in float64."""

from onnxproof.errors import CheckError


class ExactError(CheckError):
    """A graph could not be evaluated in float64."""


class UnsupportedError(ExactError):
    """The graph holds operators that this evaluator does not know, or whose implementation raised where ONNX
    Runtime does not refuse the node. It says nothing about the graph itself."""


class NotRunnableError(ExactError):
    """The graph does not take these inputs.

    For example an axis is frozen at another size, an input has another name or dtype, or shapes do not fit.
    ONNX Runtime refuses the node, too.
    """


class UnsupportedNodeError(Exception):
    """A node asks for what is not implemented in float64. Operators raise it; the graph names the node."""


class ForbiddenNodeError(Exception):
    """ONNX's specification does not allow the node these values, whatever a runtime makes of it. Operators
    raise it; the graph names the node."""
