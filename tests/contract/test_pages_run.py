"""What the docs say is run: each page from its first block to its last."""

from pathlib import Path

import pytest
from once import Once
from page_runs import run_page
from pages import PAGES, ROOT, RUN, blocks_of


def to_run(page: Path) -> int:
    """How many blocks of a page are to be run."""
    return sum(
        "not run" not in block.marks and (block.language in RUN or "output" in block.marks)
        for block in blocks_of(page)
    )


RUN_PAGES = [page for page in PAGES if to_run(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_says(page: Path, once: Once) -> None:
    assert run_page(page, once) == to_run(page)
