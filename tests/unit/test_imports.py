"""A late import runs with the garbage collector at rest, and gives it back as it was."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from onnxproof.imports import imported


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
from onnxproof.imports import freeze_imports, function_caches, imported
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
