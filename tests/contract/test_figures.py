"""The figures of the docs draw what the pages show."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from programs import program

FIGURES = Path(__file__).parents[2] / "benchmarks" / "figures.py"
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"


@pytest.fixture(scope="module")
def figures() -> Any:
    """benchmarks/figures.py as a module."""
    pytest.importorskip("matplotlib")
    return program(FIGURES)


def test_the_drawn_noise_is_that_of_the_pages(figures: Any) -> None:
    drawn = ElementTree.parse(figures.FOLDER / "noise.svg").find(f".//{DESCRIPTION}")
    assert drawn is not None
    assert drawn.text == figures.told(figures.points()), "draw it again: python benchmarks/figures.py"


def test_a_page_without_the_verdict_is_refused(figures: Any) -> None:
    with pytest.raises(ValueError, match=r"docs/ci.md shows no line function"):
        figures.shown("ci.md", "another.toml")
