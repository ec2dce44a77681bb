"""The packages that an export and its verdict rest on, and their versions."""

import importlib.metadata
from collections.abc import Iterable

PACKAGES = ("onnxproof", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy", "pillow")
"""Those whose versions a bundle and a verdict name."""


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions of packages."""
    return {name: importlib.metadata.version(name) for name in packages}
