"""Many verdicts in one table for the terminal, and as Markdown."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from onnxproof.text import one_line
from onnxproof.validate.report.entries import HEADINGS, Entry, cell_text, matrices, row_of, told
from onnxproof.validate.report.grid import Grid
from onnxproof.validate.report.markdown import escaped, not_passed_parts, table
from onnxproof.validate.report.words import headline
from onnxproof.validate.verdict import link_texts

STYLES = {"pass": "green", "fail": "bold red", "error": "bold yellow"}


def many_table(entries: Sequence[Entry]) -> RenderableType:
    """A row for each job, the matrices, and how many of what."""
    rows = tuple(tuple(Text(one_line(cell), style=_style(one)) for cell in row_of(one)) for one in entries)
    parts: list[RenderableType] = [Grid(told(entries), HEADINGS, rows, named_last=True)]
    for found in matrices(entries):
        cells = tuple(
            (
                Text(one_line(name)),
                *(Text(cell_text(one), style="" if one is None else _style(one)) for one in row),
            )
            for name, row in found.rows
        )
        parts.append(Grid(one_line(found.source), (found.corner, *found.columns), cells))
    return Group(*parts)


def _style(entry: Entry) -> str:
    if entry.verdict is None:
        return "" if entry.good else "dim" if entry.state == "not run" else "bold yellow"
    return STYLES[entry.verdict.status]


def markdown_of_many(entries: Sequence[Entry]) -> str:
    """The table and the matrices; below, the links and the failed checks of each job that did not pass."""
    return "\n\n".join((f"# {escaped(told(entries))}", *_parts(entries))) + "\n"


def _parts(entries: Sequence[Entry]) -> Iterator[str]:
    yield table(HEADINGS, map(row_of, entries))
    for found in matrices(entries):
        yield f"## {escaped(found.source)}"
        rows = [(name, *map(cell_text, row)) for name, row in found.rows]
        yield table([escaped(text) for text in (found.corner, *found.columns)], rows)
    for one in entries:
        if one.good or one.state == "not run":
            continue
        yield f"## {escaped(one.subject.name)}: {escaped(cell_text(one))}"
        if one.verdict is None:
            yield escaped(one.error)
            continue
        yield escaped(headline(one.verdict))
        links = [(link.link, link.status, text) for link, text in link_texts(one.verdict)]
        if links:
            yield table(("link", "status", "what was found"), links)
        yield from not_passed_parts(one.verdict, "###")
    if entries and entries[0].subject.command:
        yield f"```\n{one_line(entries[0].subject.command).replace('```', '')}\n```"
