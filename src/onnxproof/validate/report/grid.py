"""A table that breaks no word: in columns where they fit, else one row below the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

GAP = 2
"""Blanks between two columns."""

INDENT = "  "


@dataclass(frozen=True, slots=True)
class Grid:
    """A title, headings, rows of one cell a heading, and a line below.

    The first column holds names, and the last where ``named_last``; the others hold figures. ``least`` are
    the columns' smallest widths, so that two tables of the same fields line up. On a terminal the headings
    are underlined; in a file or a pipe the table has no lines, and no colours.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    named_last: bool = False
    least: tuple[int, ...] = ()
    below: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(self.title)
        yield Text()
        widths = self._widths(options.max_width)
        if widths is None:
            yield from self._stacked()
        else:
            yield self._table(widths, lines=console.is_terminal)
        yield Text()
        if self.below:
            yield Text(self.below)

    def _columns(self) -> Iterator[tuple[str, ...]]:
        for position, heading in enumerate(self.headings):
            yield heading, *(row[position].plain for row in self.rows)

    def _widths(self, available: int) -> tuple[int, ...] | None:
        """Each column's width. None where the longest words do not fit beside each other.

        A column is made narrower only as far as its longest word: the figures first, the widest before the
        others, then the last column, then the first.
        """
        cells = list(self._columns())
        widths = [max(map(len, column)) for column in cells]
        words = [max(len(word) for cell in column for word in (cell.split() or [""])) for column in cells]
        last = len(cells) - 1
        for position, least in enumerate(self.least):
            widths[position] = max(widths[position], least)
        for position in (*sorted(range(1, last), key=lambda at: -widths[at]), last, 0):
            surplus = sum(widths) + GAP * last - available
            if surplus > 0:
                widths[position] = max(words[position], widths[position] - surplus)
        return tuple(widths) if sum(widths) + GAP * last <= available else None

    def _table(self, widths: tuple[int, ...], *, lines: bool) -> Table:
        # The box's own divider is one of the blanks between two columns.
        padding = (0, GAP - 1, 0, 0) if lines else (0, GAP, 0, 0)
        table = Table(
            box=box.SIMPLE_HEAD if lines else None, show_edge=False, pad_edge=False, padding=padding
        )
        last = len(widths) - 1
        for position, (heading, width) in enumerate(zip(self.headings, widths, strict=True)):
            named = position == 0 or (position == last and self.named_last)
            table.add_column(heading, justify="left" if named else "right", width=width, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def _stacked(self) -> Iterator[Text]:
        width = max(map(len, self.headings[1:]))
        for name, *figures in self.rows:
            yield name
            for heading, figure in zip(self.headings[1:], figures, strict=True):
                if figure.plain:
                    yield Text.assemble(f"{INDENT}{heading:<{width}}{' ' * GAP}", figure)
