"""Output of all commands: tables and text for people, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from baselines.notices import clean_console, has_terminal, notices, say
from baselines.text import FORMULA, seconds_text
from search_spaces.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table as RichTable
    from rich.text import Text


# Time between two lines of progress where there is no terminal.
LINE_SECONDS = 10.0


def print_json(document: Any) -> None:
    """Print one JSON document on stdout. Raises `ValueError` for nan and infinity."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def console() -> Console:
    """A console on stdout for text that people read; 118 columns wide if stdout is not a terminal."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return clean_console(highlight=False, width=None if known else 118)


def show(*parts: RenderableType) -> None:
    """Print tables and text. A plain string is printed as it is; brackets are not markup."""
    from rich.text import Text

    output = console()
    for part in parts:
        _print(output, part)
        if not isinstance(part, str | Text):
            output.print()


def _print(output: Console, part: RenderableType) -> None:
    from rich.text import Text

    # `Console.print` joins texts into a new one, which loses how they wrap.
    wrap: dict[str, Any] = {"no_wrap": part.no_wrap, "overflow": part.overflow} if isinstance(part, Text) else {}
    output.print(part, markup=False, emoji=False, crop=False, **wrap)


def labelled(label: str, text: str) -> Text:
    """A line that starts with a label in bold."""
    from rich.text import Text

    return Text.assemble((printable(label), "bold"), f" {printable(text)}")


def pointer(label: str, text: str) -> Text:
    """As `labelled`, for a path or a command: never wrapped, so that it can be copied."""
    line = labelled(label, text)
    line.no_wrap, line.overflow = True, "ignore"
    return line


# A column of text is not made narrower than this; the table continues below instead.
_TEXT_WIDTH = 24
# Space between two columns in the style of the project's tables, and before a row below its first cell.
_GAP = 2
_INDENT = 2


class Table:
    """A table in the project's style that fits any terminal: texts wrap, and numbers stay whole.

    If the columns do not fit side by side, the first cell of each row gets a line of its own. If that is not enough,
    the table continues below with the rest of the columns, beside the first again.

    Args:
        title: line above the table.
        columns: pairs of header and justification (left, right); a left column is text, which may wrap.
        group: number of columns that stay together, after the first.
    """

    def __init__(self, title: str, columns: Sequence[tuple[str, str]], group: int = 1) -> None:
        self.title = title
        self.columns = list(columns)
        self.rows: list[tuple[list[Text], str | None]] = []
        self._group = group
        self._sections: set[int] = set()

    def add_row(self, *cells: str | Text, style: str | None = None) -> None:
        """Add a row with a cell for each column."""
        from rich.text import Text

        assert len(cells) == len(self.columns)
        self.rows.append(([Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells], style))

    def add_section(self) -> None:
        """Draw a line below the last row."""
        self._sections.add(len(self.rows) - 1)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width = options.max_width
        if self.title:
            yield Text(self.title, style="bold")
        parts = self._parts(width)
        if len(parts) > 1 and self._fits(range(1, len(self.columns)), width - _INDENT) and self._least(0) > width // 3:
            yield from self._headed(width)
            return
        for place, columns in enumerate(parts):
            if place:
                yield ""
            yield self._part(columns, width)

    def _parts(self, width: int) -> list[list[int]]:
        """Columns of each part of the table, by number: as many as fit, beside the first."""
        numbers = range(1, len(self.columns))
        parts = [[0]]
        for group in (numbers[start : start + self._group] for start in range(0, len(numbers), self._group)):
            if len(parts[-1]) == 1 or self._fits([*parts[-1], *group], width):
                parts[-1] += group
            else:
                parts.append([0, *group])
        return parts

    def _headed(self, width: int) -> RenderResult:
        """The table with the first cell of each row, which is wide, on a line of its own."""
        from rich.padding import Padding
        from rich.text import Text

        others = range(1, len(self.columns))
        yield Text(self.columns[0][0])
        yield Padding(self._part(others, width - _INDENT, []), (0, 0, 0, _INDENT))
        for number, (cells, _) in enumerate(self.rows):
            table = self._part(others, width - _INDENT, [number])
            table.show_header = False
            heading = cells[0].copy()
            heading.no_wrap, heading.overflow = True, "ignore"
            yield heading
            yield Padding(table, (0, 0, 0, _INDENT))

    def _fits(self, columns: Sequence[int], width: int) -> bool:
        return sum(self._least(column) + _GAP for column in columns) - _GAP <= width

    def _least(self, column: int) -> int:
        """Minimum width of a column: numbers stay whole, texts and headers may wrap."""
        header, justify = self.columns[column]
        words = max(map(len, header.split()), default=0)
        least = self._widest(column)
        if justify == "left" and column:  # a text of two lines, or more where it is long
            longest = max((len(word) for cells, _ in self.rows for word in cells[column].plain.split()), default=0)
            least = min(least, _TEXT_WIDTH, max(longest, least // 2 + 2))
        return max(words, least, 1)

    def _widest(self, column: int) -> int:
        return max((cells[column].cell_len for cells, _ in self.rows), default=0)

    def _widths(self, columns: Sequence[int], width: int) -> list[int]:
        """Widths of columns: all get the minimum, and those that need more share the rest."""
        widths = [self._least(column) for column in columns]
        left = width - sum(widths) - _GAP * (len(columns) - 1)
        if left < 0:  # in such a narrow terminal, the first column breaks
            widths[0] = max(8, widths[0] + left)
        wanted = [max(len(self.columns[column][0]), self._widest(column)) for column in columns]
        while left > 0 and widths != wanted:
            for place, most in enumerate(wanted):
                if left > 0 and widths[place] < most:
                    widths[place] += 1
                    left -= 1
        return widths

    def _part(self, columns: Sequence[int], width: int, rows: Sequence[int] | None = None) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
        for column, wide in zip(columns, self._widths(columns, width), strict=True):
            header, justify = self.columns[column]
            table.add_column(header, justify=justify, width=wide, overflow="fold")  # type: ignore[arg-type]
        for number in range(len(self.rows)) if rows is None else rows:
            cells, style = self.rows[number]
            table.add_row(*(cells[column] for column in columns), style=style, end_section=number in self._sections)
        return table


class Advance(Protocol):
    """What is called after each step: with the number of steps, and of all steps if that was unknown before."""

    def __call__(self, steps: int = 1, total: int | None = None) -> None: ...


@contextmanager
def progress_bar(total: int | None, what: str) -> Iterator[Advance]:
    """Show a bar on stderr with the time left; if stderr is not a terminal, print a line now and then.

    Yields:
        The function to call after each step.
    """
    from rich.progress import Progress

    if not has_terminal():
        yield _Lines(total, what).advance
        return
    with Progress(console=notices(), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(steps: int = 1, total: int | None = None) -> None:
            bar.update(task, advance=steps, total=total)

        yield advance


class _Lines:
    """Progress in lines, no more often than every `LINE_SECONDS`."""

    def __init__(self, total: int | None, what: str) -> None:
        self._total, self._what = total, what
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, steps: int = 1, total: int | None = None) -> None:
        self._done += steps
        self._total = self._total if total is None else total
        now = time.monotonic()
        if self._total is not None and now - self._last >= LINE_SECONDS:
            left = (now - self._start) / self._done * (self._total - self._done)
            say(f"mnas: {self._done:,} of {self._total:,} {self._what}, {seconds_text(left)} left")
            self._last = now


def as_html(*parts: RenderableType) -> str:
    """The output of `show` as HTML, for a notebook."""
    output = clean_console(record=True, width=118, file=io.StringIO(), highlight=False)
    for part in parts:
        _print(output, part)
    style = "font-family:monospace;line-height:1.2;overflow-x:auto"
    return output.export_html(inline_styles=True, code_format=f'<pre style="{style}"><code>{{code}}</code></pre>')


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], stream: TextIO | None = None) -> None:
    """Write rows as CSV with a header, on stdout unless a stream is given.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, by which spreadsheets know a text, and
    control characters become spaces. `nas.evaluators.table_file` reads the texts as they were.
    """
    writer = csv.writer(stream or sys.stdout, lineterminator="\n")
    writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr what is being done; with the elapsed time if stderr is a terminal."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    if not has_terminal():
        say(f"mnas: {what}")
        yield
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()]
    with Progress(*columns, console=notices(), transient=True) as bar:
        bar.add_task(what, total=None)
        yield
