"""Tables and lines that a terminal shows, as parts of a page, so that text in both is written once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from baselines.views.page import Cell, Column, Part, Prose, Table
from baselines.views.terminal import Table as TerminalTable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text


def page_parts(renderables: Iterable[RenderableType]) -> Iterator[Part]:
    """A part for each renderable: a table, a text of rich (bold words at its start are the label), or a string.

    Raises:
        TypeError: a renderable is something else.
    """
    from rich.text import Text

    for renderable in renderables:
        if isinstance(renderable, TerminalTable):
            yield _table(renderable)
        elif isinstance(renderable, Text):
            label = next((str(renderable[: span.end]) for span in renderable.spans if span.start == 0), "")
            yield Prose(renderable.plain[len(label) :].strip(), label)
        elif isinstance(renderable, str):
            yield Prose(renderable)
        else:
            raise TypeError(f"a {type(renderable).__name__} has no form on a page")


def _table(table: TerminalTable) -> Table:
    columns = tuple(Column(header, justify == "right") for header, justify in table.columns)
    rows = tuple(tuple(_cell(cell) for cell in cells) for cells, _ in table.rows)
    total = bool(table.rows) and table.rows[-1][1] == "bold"
    return Table(table.title, columns, rows, total)


def _cell(cell: Text) -> str | Cell:
    return Cell(cell.plain) if "bold" in str(cell.style) else cell.plain
