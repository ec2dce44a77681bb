"""A late import runs with the garbage collector at rest, and gives it back as it was; signals wait for it."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxproof.system import imports, signals
from onnxproof.system.imports import imported
from onnxproof.system.signals import Stopped, stopping_raises


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that records whether the collector is enabled while it is imported."""
    (tmp_path / "late_module.py").write_text("import gc\n\nCOLLECTED = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "late_module", raising=False)
    return "late_module"


def test_the_collector_rests_while_a_module_is_imported(module: str) -> None:
    assert gc.isenabled()
    assert imported(module).COLLECTED is False
    assert gc.isenabled()


def test_what_is_imported_counts_as_old(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left for the next collection of new objects, and nothing is frozen."""
    monkeypatch.setattr(imports, "_frozen", [])
    gc.unfreeze()  # what an earlier test froze
    made = imported(module)
    assert any(one is made for one in gc.get_objects(generation=2))
    assert not gc.get_freeze_count()


def test_what_the_program_froze_stays_frozen(module: str) -> None:
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        imported(module)
        assert gc.get_freeze_count() >= before > 0
    finally:
        gc.unfreeze()


def test_a_collector_that_was_off_stays_off(module: str) -> None:
    gc.disable()
    try:
        imported(module)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_is_enabled_again_after_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError):
        imported("onnxproof.no_such_module")
    assert gc.isenabled()


FREEZING = """
import fnmatch, gc
from onnxproof.system.imports import freeze_imports, function_caches, imported
imported("csv")
before = gc.get_freeze_count()
freeze_imports()
imported("colorsys")
print(before, gc.get_freeze_count() > 1000, gc.isenabled())
cache = fnmatch._compile_pattern
print(any(one is cache for one in gc.get_objects()), sum(one is cache for one in function_caches()))
"""


def test_a_process_that_runs_one_command_leaves_what_is_imported_out_of_collections() -> None:
    done = subprocess.run([sys.executable, "-c", FREEZING], capture_output=True, text=True, check=True)
    *frozen, listed, found = done.stdout.split()
    assert frozen == ["0", "True", "True"]
    assert (listed, found) == ("False", "1")  # the collector forgets a cache, function_caches does not


SIGNALLED = """
import os, signal
os.kill(os.getpid(), signal.{name})
DONE = True
"""


@pytest.mark.parametrize(("name", "error"), [("SIGTERM", Stopped), ("SIGINT", KeyboardInterrupt)])
def test_a_signal_waits_until_a_module_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[BaseException]
) -> None:
    """An exception in the import of a native module aborts the process, or looks like a broken package."""
    (tmp_path / f"asked_to_stop_{name}.py").write_text(SIGNALLED.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(error), stopping_raises():
            imported(f"asked_to_stop_{name}")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)  # after Stopped, the handlers stay
    assert sys.modules.pop(f"asked_to_stop_{name}").DONE


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
def test_a_block_inside_of_another_ends_the_process_at_a_second_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command runs inside of the program, and cleans up there."""
    ended: list[int] = []
    monkeypatch.setattr(signals, "ENDS_PROCESS", ended.append)
    try:
        with pytest.raises(Stopped) as later, stopping_raises():
            with pytest.raises(Stopped), stopping_raises():
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
            monkeypatch.setattr(signals, "SAME_REQUEST_S", -1.0)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert later.value.exit_code == 143
    finally:
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
    assert ended == [143]
