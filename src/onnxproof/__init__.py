"""Export trained PyTorch checkpoints to ONNX, and prove that the file decides as the checkpoint did.

Names are resolved when they are first used: importing onnxproof imports no torch.
"""

import functools
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onnxproof.system.extras import NEEDED_BY, require
from onnxproof.system.imports import imported

if TYPE_CHECKING:
    from onnxproof import runtime as runtime
    from onnxproof.check import check as check
    from onnxproof.check_module import check_module as check_module
    from onnxproof.comparison import compare as compare
    from onnxproof.deploy.bench import bench as bench
    from onnxproof.deploy.package import package as package
    from onnxproof.finding.draft import Draft as Draft
    from onnxproof.finding.draft import init as init
    from onnxproof.job import Job as Job
    from onnxproof.job import load_job as load_job
    from onnxproof.job.matrix import load_jobs as load_jobs
    from onnxproof.kit import kit as kit
    from onnxproof.many.workers import Workers as Workers
    from onnxproof.pipeline import Bundle as Bundle
    from onnxproof.pipeline import export as export
    from onnxproof.pipeline import export_module as export_module
    from onnxproof.replay import judge as judge
    from onnxproof.runs.run import export_many as export_many
    from onnxproof.runs.run import validate_many as validate_many
    from onnxproof.runs.task import Outcome as Outcome
    from onnxproof.runtime.loading import load as load
    from onnxproof.runtime.prediction import Prediction as Prediction
    from onnxproof.runtime.predictor import Predictor as Predictor
    from onnxproof.schemas import schema as schema
    from onnxproof.selftest import selftest as selftest
    from onnxproof.validate.bisect.result import Bisection as Bisection
    from onnxproof.validate.verdict import Check as Check
    from onnxproof.validate.verdict import Verdict as Verdict
    from onnxproof.validation import bisect as bisect
    from onnxproof.validation import validate as validate

__version__ = "0.1.0"

_HOMES = {
    "Bisection": "onnxproof.validate.bisect.result",
    "Bundle": "onnxproof.pipeline",
    "Check": "onnxproof.validate.verdict",
    "Draft": "onnxproof.finding.draft",
    "Job": "onnxproof.job",
    "Outcome": "onnxproof.runs.task",
    "Prediction": "onnxproof.runtime.prediction",
    "Predictor": "onnxproof.runtime.predictor",
    "Verdict": "onnxproof.validate.verdict",
    "Workers": "onnxproof.many.workers",
    "bench": "onnxproof.deploy.bench",
    "bisect": "onnxproof.validation",
    "check": "onnxproof.check",
    "check_module": "onnxproof.check_module",
    "compare": "onnxproof.comparison",
    "export": "onnxproof.pipeline",
    "export_many": "onnxproof.runs.run",
    "export_module": "onnxproof.pipeline",
    "init": "onnxproof.finding.draft",
    "judge": "onnxproof.replay",
    "kit": "onnxproof.kit",
    "load": "onnxproof.runtime.loading",
    "load_job": "onnxproof.job",
    "load_jobs": "onnxproof.job.matrix",
    "package": "onnxproof.deploy.package",
    "schema": "onnxproof.schemas",
    "selftest": "onnxproof.selftest",
    "validate": "onnxproof.validation",
    "validate_many": "onnxproof.runs.run",
}

__all__ = [*sorted(_HOMES), "runtime"]


class _Face(ModuleType):
    """The package as its users see it.

    ``export`` and ``validate`` are functions of the package and also folders in it. When Python first imports
    such a folder, it sets the package's attribute of that name to the module, which would hide the function.
    A property of the package's class prevents that.
    """

    def __getattr__(self, name: str) -> Any:
        if name == "runtime":
            return imported("onnxproof.runtime")
        raise AttributeError(f"module onnxproof has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


def _by_checkpoint(*arguments: Any, **options: Any) -> Any:
    """``validation.compare_by_checkpoint``. It imports torch, so only a comparison that needs it does."""
    return imported("onnxproof.validation").compare_by_checkpoint(*arguments, **options)


def _by_graphs(*arguments: Any, **options: Any) -> Any:
    """``compare_by_graphs``. It imports torch, so it is imported when a comparison needs it."""
    linked = imported("onnxproof.validate.pair.linked")
    return linked.compare_by_graphs(*arguments, **options)


_GIVEN: dict[str, dict[str, Any]] = {"compare": {"by_checkpoint": _by_checkpoint, "by_graphs": _by_graphs}}
"""Arguments that the package passes to its functions: only it may import lazily."""


def _lazy(name: str) -> property:
    def resolve(_package: ModuleType) -> Any:
        require(NEEDED_BY.get(name, ()), f"onnxproof.{name}")
        found = getattr(imported(_HOMES[name]), name)
        given = _GIVEN.get(name)
        return found if given is None else functools.update_wrapper(functools.partial(found, **given), found)

    def ignore_folder(_package: ModuleType, value: Any) -> None:
        if not isinstance(value, ModuleType):
            raise AttributeError(f"onnxproof.{name} cannot be set")

    return property(resolve, ignore_folder)


for _name in _HOMES:
    setattr(_Face, _name, _lazy(_name))
sys.modules[__name__].__class__ = _Face
