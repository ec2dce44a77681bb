"""The pages of the documentation as blocks of code: what each is, and what the page says of it.

A comment before a block, in the Markdown, says what the fence cannot:

``<!-- file: NAME -->``        the block is the file NAME; later blocks may read it
``<!-- output -->``            the block is what the block before it printed
``<!-- exits: N -->``          the last command of the block ends with this exit code, not with 0
``<!-- not run: REASON -->``   the block cannot be run here
``<!-- at length: REASON -->`` the tests do not run the block, benchmarks/shown.py does
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import DirectiveInHTMLCommentLexer, FencedCodeBlockLexer

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "reference.md"
"""Made from the code by benchmarks/reference.py; tests/contract/test_reference.py looks at it."""

PAGES = tuple(
    page
    for page in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    )
    if page != GENERATED and "node_modules" not in page.parts
)

SHOWN = ("text", "xml", "yaml")
"""Languages of blocks that are looked at and not run. The workflows in YAML are those of test_ci.py."""
RUN = ("bash", "console", "python", "toml")
MARKS = ("not run", "at length", "file", "output", "exits")

PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A fenced block of ``page``, whose opening fence is on line ``line``, and the comments before it."""

    page: Path
    line: int
    language: str
    source: str
    marks: Mapping[str, str]
    example: Example

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _ignored(_: Example) -> None:
    """Blocks are run by page_runs.py, with what their page has made so far."""


def _fences(document: Document) -> Iterable[Region]:
    for region in FencedCodeBlockLexer(r"[^\n]*")(document):
        region.parsed = region.lexemes["source"]
        region.evaluator = _ignored
        yield region


def _comments(document: Document) -> Iterable[Region]:
    for region in DirectiveInHTMLCommentLexer("|".join(MARKS), r"[^\n]*?")(document):
        region.evaluator = _ignored
        yield region


_READER = Sybil(parsers=[_fences, _comments])


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page in their order. A comment with no block after it raises ValueError."""
    marks: dict[str, str] = {}
    for example in _READER.parse(page).examples():
        lexemes = example.region.lexemes
        if lexemes.get("language") == "{toctree}":  # what the site's navigation is made of
            continue
        if "directive" in lexemes:
            marks[lexemes["directive"]] = (lexemes["arguments"] or "").strip()
        else:
            yield Block(page, example.line, lexemes["language"], str(example.parsed), marks, example)
            marks = {}
    if marks:
        raise ValueError(f"{page}: no block after {marks}")


@dataclass(frozen=True)
class Command:
    """A line for the shell, and what the page says that it prints: empty if it does not say."""

    line: str
    printed: str = ""

    @property
    def words(self) -> list[str]:
        """The words without the comment; ["onnxproof", "export", ...]."""
        return shlex.split(self.line, comments=True)

    @property
    def is_plain(self) -> bool:
        """Whether no shell is needed: no pipe, redirection, list, pattern or variable outside of quotes."""
        bare = re.sub(r"'[^']*'|\"[^\"$`]*\"", "", self.line.partition(" #")[0])
        return not re.search(r"[|<>;&*?$`\[\n]|^\w+=", bare)


def commands_of(block: Block) -> list[Command]:
    """The commands of a block of bash, or of a console with their output."""
    if block.language == "bash":
        return [Command(line) for line in _whole(block.source.splitlines())]
    told: list[Command] = []
    for part in re.split(rf"^{re.escape(PROMPT)}", block.source, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        (line,) = _whole(lines[: _extent(lines)])
        told.append(Command(line, "\n".join(lines[_extent(lines) :])))
    return told


def _whole(lines: list[str]) -> list[str]:
    """Commands, each in one string: a line that ends in a backslash or within quotes goes on in the next."""
    found = []
    while lines:
        extent = _extent(lines)
        command = "\n".join(lines[:extent]).replace("\\\n", " ").strip()
        if command and not command.startswith("#"):
            found.append(command)
        lines = lines[extent:]
    return found


def _extent(lines: list[str]) -> int:
    """How many lines the command on the first one takes."""
    for count in range(1, len(lines) + 1):
        text = "\n".join(lines[:count])
        try:
            shlex.split(text, comments=True)
        except ValueError:
            continue
        if not text.endswith("\\"):
            return count
    raise ValueError(f"a command has no end: {lines[0]!r}")


ANYTHING = "…"
_SAME = (
    (r"\.\.\.", ANYTHING),
    (r"\b[0-9a-f]{12}\b", "HASH"),
    (r"\d+x\d+x\d+-\w+|\S+\.png", "CASE"),
    (r"[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", "0"),
    (r"\(\w+ 0(?: \w+)?\)", "(FIELD)"),
    (r"─+", "─"),
    (r"\s+", " "),
)
"""What may differ from run to run, and what stands for it: numbers, hashes, cases, fields, white space."""


def missing(told: str, printed: str) -> list[str]:
    """The lines of ``told`` that ``printed`` does not hold; numbers and the like do not count.

    ``…`` and ``...`` stand for anything.
    """
    whole = _plain(printed)
    return [line for line in told.splitlines() if not _pattern(line).search(whole)]


def _plain(text: str) -> str:
    for pattern, stands in _SAME:
        text = re.sub(pattern, stands, text)
    return text.strip()


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*?".join(re.escape(part) for part in _plain(line).split(ANYTHING)))
