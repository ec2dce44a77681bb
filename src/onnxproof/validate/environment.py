"""Where a verdict was reached: versions, processor, threads."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from typing import Any

from onnxproof.validate.trial import Settings

PACKAGES = ("onnxproof", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "numpy", "pillow")
"""Those that an export and its verdict rest on."""


def environment(settings: Settings, packages: Iterable[str]) -> dict[str, Any]:
    """A JSON object; the versions are those of ``packages``."""
    return {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": settings.threads,
        "effort": settings.effort,
        "seed": settings.seed,
        "versions": versions(packages),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed versions of packages."""
    return {name: importlib.metadata.version(name) for name in packages}
