"""Where a verdict was reached: versions, processor, threads."""

import os
import platform
from collections.abc import Iterable
from typing import Any

from onnxproof.system.packages import versions
from onnxproof.validate.trial import Settings


def environment(settings: Settings, packages: Iterable[str]) -> dict[str, Any]:
    """A JSON object. ``packages`` names the packages whose versions it has."""
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
