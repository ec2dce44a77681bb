"""Each block of code in the README and the docs can be read.

Python compiles, jobs are of the schema, commands and their options exist. test_pages_run.py runs the blocks.
"""

import ast
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
from pages import PAGES, ROOT, RUN, SHOWN, Block, Command, blocks_of, commands_of, missing
from programs import program

import onnxproof
from onnxproof import errors
from onnxproof.cli import COMMANDS, app
from onnxproof.job import Job

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
PLUGIN = (ROOT / "src" / "onnxproof" / "testing" / "plugin.py").read_text(encoding="utf-8")
OTHERS = (
    *("find", "cat", "cp", "echo", "git", "grep", "wc", "jupyter", "dask", "source", "yolo"),
    *("npm", "node", "g++", "./client", "openssl"),
)
"""Commands that are not ours and that pages use."""

NOT_RUN = {
    "README.md": 4,
    "docs/baseline.md": 1,
    "docs/bench.md": 1,
    "docs/checkpoints.md": 1,
    "docs/dataset.md": 1,
    "docs/errors.md": 1,
    "docs/runtimes.md": 1,
    "docs/job.md": 1,
    "docs/kit.md": 3,
    "docs/many-jobs.md": 1,
    "docs/many-pictures.md": 2,
    "docs/precision.md": 1,
    "docs/pytest.md": 2,
    "docs/start.md": 1,
    "docs/transformers.md": 2,
    "examples/digits/README.md": 1,
}
"""How many blocks of a page are marked as not run. A page that is not here has none."""
AT_LENGTH = {
    "docs/baseline.md": 1,
    "docs/bisect.md": 1,
    "docs/check.md": 2,
    "docs/ci.md": 2,
    "docs/kit.md": 1,
    "docs/runtimes.md": 2,
    "docs/verdict.md": 3,
    "docs/tutorials/yolox.md": 2,
}
"""The same of those that benchmarks/shown.py runs, and the tests do not."""


def tasks() -> Any:
    """dev.py's tasks."""
    return program(ROOT / "dev.py").TASKS


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def of(*languages: str) -> pytest.MarkDecorator:
    chosen = [block for block in BLOCKS if block.language in languages]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=lambda block: block.place)


def test_each_block_names_its_language() -> None:
    assert len(BLOCKS) > 80
    assert [block.place for block in BLOCKS if block.language not in (*SHOWN, *RUN)] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_a_page_begins_with_what_its_reader_can_do_after_it(page: Path) -> None:
    title, first, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert title.startswith("# ")
    assert "After th" in first, first


@of("python")
def test_python_compiles(block: Block) -> None:
    ast.parse(block.source, block.place)


@of("toml")
def test_a_job_is_of_the_schema(block: Block) -> None:
    document = tomllib.loads(block.source)
    assert document
    if "project" in document:
        return
    if "name" in document and not {"extends", "matrix"} & document.keys():
        Job.from_document(document, folder=ROOT / "configs", source=block.place)
    else:  # some tables of a job
        schema: Any = onnxproof.schema("job")
        jsonschema.validate(document, {key: value for key, value in schema.items() if key != "anyOf"})


@of("bash", "console")
def test_commands_exist_and_have_the_options(block: Block) -> None:
    commands = commands_of(block)
    assert commands
    for command in commands:
        _look(command)


def _look(command: Command) -> None:
    words = [word for word in command.words if word]
    while "=" in words[0] and words[0].partition("=")[0].isupper():
        words = words[1:]
    if words[0] == "python3" and words[1] == "dev.py":
        assert words[2] in tasks()
        if words[2] == "run":
            _look(Command(command.line.partition(" dev.py run ")[2]))
    elif words[0] in ("python", "python3"):
        assert words[1] in ("-c", "-m") or (ROOT / words[1]).is_file(), command.line
    elif words[0] == "onnxproof":
        known = flags_of(words[1]) if words[1] in COMMANDS else {"--help", "--version"}
        given = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
        assert given <= known, f"{command.line}: no option {given - known}"
    elif words[0] == "pip":
        named = [word.partition("[")[2].rstrip("]").split(",") for word in words if "[" in word]
        assert {extra for extras in named for extra in extras} <= EXTRAS
    elif words[0] == "pytest":
        ours = [word for word in words if word.startswith("--onnxproof")]
        assert all(f'"{word}"' in PLUGIN for word in ours), command.line
    else:
        assert words[0] in OTHERS, command.line


def flags_of(command: str) -> set[str]:
    found = app.get_command(click.Context(app), command)
    assert found is not None
    return {flag for option in found.params for flag in (*option.opts, *option.secondary_opts)} | {"--help"}


def test_what_is_not_run_is_counted_and_says_why() -> None:
    for mark, wanted in (("not run", NOT_RUN), ("at length", AT_LENGTH)):
        left_out = [block for block in BLOCKS if mark in block.marks]
        assert [block.place for block in left_out if len(block.marks[mark].split()) < 4] == []
        assert Counter(str(block.page.relative_to(ROOT)) for block in left_out) == wanted


@pytest.mark.parametrize(
    ("told", "printed", "lacks"),
    [
        pytest.param("a  1.5e-03 x …", "a 2 x and more", [], id="numbers and the rest of a line"),
        pytest.param("file 6f19eb640a99", "file 0a0a0a0a0a0a", [], id="a hash"),
        pytest.param("error in 1x64x96-noise", "error in scene-03.png", [], id="the name of a case"),
        pytest.param("verdict: pass", "verdict: fail", ["verdict: pass"], id="a word"),
        pytest.param("to 4e-09 (box 1e-15 px)", "to 1e-09 (logit 2e-15)", [], id="a field without a unit"),
        pytest.param("one\ntwo", "one", ["two"], id="a line"),
    ],
)
def test_what_a_page_shows_is_looked_for(told: str, printed: str, lacks: list[str]) -> None:
    assert missing(told, printed) == lacks


def test_a_mark_without_a_block_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- not run: it needs another machine -->\n\nNothing follows.\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match="no block after"):
        list(blocks_of(page))


def test_the_page_on_errors_names_every_type() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    said = text.partition("## `--json`")[2].partition("\n## ")[0]
    kinds = [
        name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)
    ]
    assert len(kinds) > 8
    lacking = [name for name in kinds if name != "OnnxproofError" and f"`{name}`" not in said]
    assert lacking == []
