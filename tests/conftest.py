"""What is made once for all tests: one export of the bundled demo."""

import atexit
import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from once import Once

from onnxproof.system import imports

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"

# The other cores have the other workers' tests, and threads that wait give theirs to them. What a test starts
# inherits both. To be set before torch is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The imports of all tests make a million objects that stay: looking for cycles among them takes a quarter of
# the time of the collection.
gc.disable()


def leave(worker: int | None) -> None:
    """At the end, leave a worker before all objects are freed, which takes 5 s. Others free them.

    Libraries report what is frozen then as leaks. What else is done at the end was registered later, and is
    done before.
    """
    if os.getpid() == worker:
        os._exit(0)
    gc.unfreeze()


atexit.register(leave, os.getpid() if "PYTEST_XDIST_WORKER" in os.environ else None)

# A crowded machine is slow, and that is no fault of the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
# Of what any input may show, the short run looks at a quarter of the inputs, the longer ones at all.
settings.register_profile("short", settings.get_profile("tests"), max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    """Draw fewer examples in the short run. The tests read the number when they are imported."""
    if config.getoption("markexpr") == "not slow":
        settings.load_profile("short")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow what is long, and what comes after the first row of a test that is marked ``first_case``."""
    seen = set()
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("first_case") is not None:
            test = item.nodeid.partition("[")[0]
            if test in seen:
                item.add_marker(pytest.mark.slow)
            seen.add(test)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish() -> None:
    """Let the cycle collector work again, and leave out what was imported.

    Full collections would go through its million objects, as would each look for functions with a cache.
    """
    imports._frozen_caches.extend(imports.function_caches())
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Makes a folder once in this run, whichever worker asks first."""
    base = tmp_path_factory.getbasetemp()
    return Once((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once")


@pytest.fixture(scope="session")
def demo_job(once: Once) -> Path:
    """A copy of the demo's job, its paths absolute, its pictures no larger than predict makes them."""

    def make(folder: Path) -> None:
        text = (CONFIGS / "digits-yolox.toml").read_text(encoding="utf-8")
        text = text.replace("../examples", str(ROOT / "examples"))
        text = text.replace("64..640", "64..320").replace("1..8", "1..3")
        text = text.replace("[validate]\n", '[validate]\neffort = "quick"\nthreads = 1\n')
        (folder / "digits-yolox.toml").write_text(text, encoding="utf-8")

    return once("the demo's job", make) / "digits-yolox.toml"


@pytest.fixture(scope="session")
def demo_bundle(demo_job: Path, once: Once) -> Path:
    """The demo's bundle, exported and proved once for all tests; not to be written to."""
    from exports import bundle_of

    bundle = bundle_of(once, demo_job)
    assert bundle.verdict is not None
    assert bundle.verdict.passed, bundle.verdict.checks
    return bundle.path
