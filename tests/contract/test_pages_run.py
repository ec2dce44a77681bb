"""What the docs say is run: each page from its first block to its last."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from clients import WEB, need
from once import Once
from page_runs import SMALL, run_page
from pages import PAGES, ROOT, RUN, blocks_of


def to_run(page: Path) -> int:
    """How many blocks of a page are to be run."""
    return sum(
        block.marks.keys().isdisjoint(SMALL.left_out) and (block.language in RUN or "output" in block.marks)
        for block in blocks_of(page)
    )


LONG = {
    "docs/tutorials/detr.md": (
        "tests/parity/test_hugging_face.py::test_a_detector_finds_what_transformers_finds",
        "tests/parity/test_hugging_face.py::test_a_saved_model_is_exported_proved_and_predicted",
    ),
    "docs/tutorials/ultralytics.md": (
        "tests/parity/test_ultralytics.py::test_a_detector_finds_what_ultralytics_finds",
        "tests/parity/test_check_ultralytics.py::test_a_healthy_file_passes",
    ),
}
"""Pages that train for a minute, and the tests by which CI exports such checkpoints."""


IN_NODE = ("docs/tutorials/int8.md",)
"""Pages that run ONNX Runtime Web."""


def row_of(page: Path) -> Any:
    name = str(page.relative_to(ROOT))
    return pytest.param(page, id=name, marks=pytest.mark.long(*LONG[name]) if name in LONG else ())


ROWS = [row_of(page) for page in PAGES if to_run(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", ROWS)
def test_a_page_does_what_it_says(page: Path, once: Once) -> None:
    if str(page.relative_to(ROOT)) in IN_NODE:
        need("node", {"Node": shutil.which("node"), "onnxruntime-web": WEB.is_dir()})
    assert run_page(page, once) == to_run(page)
