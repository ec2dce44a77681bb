"""The notebook runs from its first cell to its last, on fewer sizes, and is kept without outputs."""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
NOTEBOOK = DIGITS / "from-checkpoint-to-picture.ipynb"
FEWER = (("64..160 step 32", "64"), ("scene-0[1-3]", "scene-01"))
"""What the cells say, and what is run in its place."""


def code_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_compiles_and_holds_no_outputs() -> None:
    cells = code_cells()
    assert len(cells) == 5
    for cell in cells:
        ast.parse("".join(cell["source"]))
    assert [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("yolox", "images"):
        (tmp_path / name).symlink_to(DIGITS / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    sources = ["".join(cell["source"]) for cell in code_cells()]
    for said, less in FEWER:
        assert said in sources[0]
        sources[0] = sources[0].replace(said, less)
    drafted, exported, predicted, (_, drawn), damaged = [run(source, names) for source in sources]
    assert 'family = "yolox"' in drafted[0]
    assert "verdict: pass" in exported[0]
    assert "detection" in predicted[0]
    assert drawn.size == (256, 256)
    assert "verdict: fail" in damaged[0]


def run(source: str, names: dict[str, Any]) -> tuple[str, Any]:
    """What a cell prints, and the value of its last line, which a notebook shows."""
    module = ast.parse(source)
    last = module.body[-1]
    printed, shown = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(module.body[:-1], []), "cell", "exec"), names)
        if isinstance(last, ast.Expr):
            shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), names)
    return printed.getvalue(), shown
