"""The unit tests need no torch; test_no_torch.py looks at what importing them takes."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _imports_no_torch() -> Iterator[None]:
    """Fails the test that brings torch in; says nothing where other tests have brought it before."""
    before = "torch" in sys.modules
    yield
    assert before or "torch" not in sys.modules, "this test imported torch: move it out of tests/unit"
