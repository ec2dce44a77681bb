"""The pytest plugin, which pytest loads wherever onnxproof is installed.

So this module imports nothing beyond pytest and modules as light as the face of the package. What collects
job files and what judges a file is imported when a run asks for it.

PYTEST_DONT_REWRITE: there are no assertions here, and a process may import this before pytest loads it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from onnxproof.errors import MissingPackageError
from onnxproof.system.extras import require_extra
from onnxproof.system.imports import imported

if TYPE_CHECKING:
    from onnxproof import Verdict


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    group = parser.getgroup("onnxproof", "onnxproof: exports and their proof")
    group.addoption(
        "--onnxproof",
        action="store_true",
        dest="onnxproof_jobs",
        help="Collect job files (.toml): export each, prove the file, and report each check as a test.",
    )
    group.addoption(
        "--onnxproof-out",
        metavar="DIR",
        dest="onnxproof_out",
        help="Keep the bundles, in DIR/<job name>. Without it they are removed after their verdict.",
    )
    group.addoption(
        "--onnxproof-baseline",
        metavar="DIR",
        dest="onnxproof_baseline",
        help="Hold each job to DIR/<job name>/parity.json, if that is there: what got worse fails.",
    )
    group.addoption(
        "--onnxproof-set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        dest="onnxproof_overrides",
        help='Replace a value of each job, such as "validate.effort=quick".',
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load what collects job files, if the run asks for it."""
    if config.getoption("onnxproof_jobs"):
        try:
            require_extra("export", "--onnxproof")
        except MissingPackageError as error:
            raise pytest.UsageError(str(error)) from error
        imported("onnxproof.testing.collected").join(config)


@pytest.fixture
def onnx_parity() -> Callable[..., "Verdict"]:
    """A function that fails the test unless an ONNX file decides as its model does.

    ``onnx_parity(model, "model.onnx", dims={"batch": "1..4"}, task="detection")`` takes a module, and the
    options of ``onnxproof.check_module``. In place of the module it takes the path of a job, of a bundle or
    of a checkpoint, and the options of ``onnxproof.validate`` or ``onnxproof.check``. It returns the verdict.
    """

    def parity(model: Any, onnx: Any = None, **options: Any) -> "Verdict":
        __tracebackhide__ = True
        verdict, failure = imported("onnxproof.testing.parity").judged(model, onnx, options)
        if failure is not None:
            pytest.fail(failure)
        found: Verdict = verdict
        return found

    return parity
