"""`Page`: one self-contained HTML file of text, tables and figures. All HTML of the project is made here.

A page needs no network, no mouse and no colour vision: the plotting library is embedded, every figure has a description
in words and a table of its numbers, and the page follows the reader's choice of light or dark. Texts may come from
strangers (names of runs, files and evaluators), so all of them are escaped, and the page's own policy
(Content-Security-Policy) allows only the two scripts written here to run, and nothing to be fetched.

    Page("Two networks", "Side by side", (Section("Cost", (Prose("Exact."), table)),)).write(Path("page.html"))
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from baselines.files import write_new_text
from search_spaces.errors import MnasError, one_line

MISSING = "html: plotly is not installed; install it with: pip install plotly"
# A figure narrower than this, in pixels, uses its narrow layout; page.js reads the value.
NARROW_BELOW = 560
# Widths that a figure can have on a page: on a phone of 320 px, and in the widest column (page.css).
NARROWEST, WIDEST = 272, 960
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
FONT_SIZE = 13
_HERE = Path(__file__).parent
_AXIS = {
    "gridcolor": "var(--grid)",
    "linecolor": "var(--border)",
    "tickcolor": "var(--border)",
    "ticks": "outside",
    "zeroline": False,
    # Dragging a finger scrolls the page instead of zooming into the figure.
    "fixedrange": True,
    "automargin": False,
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table that stands out, such as a part that differs from the reference."""

    text: str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        header: name of the column.
        numeric: whether it is aligned to the right, in digits of equal width.
    """

    header: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table. The first cell of each row is the row's header.

    Attributes:
        caption: content of the table, in one line.
        columns: columns, in order.
        rows: rows with one cell per column.
        total: whether the last row is a total.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    total: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.caption}: a row has {len(row)} cells for {len(self.columns)} columns")


@dataclass(frozen=True)
class Prose:
    """A paragraph.

    Attributes:
        text: text of the paragraph.
        label: words in bold at its start; empty for none.
        quiet: whether it is a note, in smaller letters.
    """

    text: str
    label: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Fact:
    """A value with its name, such as ``MACs``, ``199.3M`` and ``99.7 % of the target``."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Values with their names.

    Attributes:
        items: facts, in order.
        large: whether they are shown large, as the answer of the page.
    """

    items: tuple[Fact, ...]
    large: bool = False


@dataclass(frozen=True)
class Code:
    """A command, or several lines, to be copied.

    Attributes:
        text: text to copy, exactly.
        label: description of the command.
    """

    text: str
    label: str


@dataclass(frozen=True)
class Key:
    """An entry of a figure's legend.

    Attributes:
        label: name of what is drawn.
        colour: name of a colour of page.css, such as ``find``.
        symbol: a character that looks like the mark.
    """

    label: str
    colour: str
    symbol: str = "●"


@dataclass(frozen=True)
class Plot:
    """A figure of plotly with its description and its numbers.

    Colours in traces and layouts are those of page.css, as ``var(--find)``: they change with light and dark. Texts from
    strangers go through `plot_text`.

    Attributes:
        caption: content of the figure, in one line.
        summary: description of the figure in a sentence or two, for those who cannot see it.
        table: numbers of the figure.
        traces, layout: traces and layout of plotly, as plain data.
        narrow: entries of the layout that differ on a narrow screen.
        keys: entries of the legend.
    """

    caption: str
    summary: str
    table: Table
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    narrow: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """The figure as page.js draws it: traces, layout and narrow layout, with shared settings."""
        whole = {
            "font": {"family": FONT, "size": FONT_SIZE, "color": "var(--text)"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "hoverlabel": {
                "bgcolor": "var(--surface)",
                "bordercolor": "var(--border)",
                "font": {"family": FONT, "size": FONT_SIZE, "color": "var(--text)"},
                "align": "left",
            },
            "hovermode": "closest",
            "dragmode": False,
            "showlegend": False,
            **_with_axes(self.layout),
        }
        return {"data": [dict(trace) for trace in self.traces], "layout": whole, "narrow": _with_axes(self.narrow)}


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        caption: content of the picture, in one line; also its description for those who cannot see it.
        png: the picture, in PNG.
    """

    caption: str
    png: bytes


Part = Prose | Facts | Table | Plot | Code | Picture


@dataclass(frozen=True)
class Section:
    """A part of a page that the navigation links to."""

    heading: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: title of the page and of its window.
        subtitle: line below the title.
        sections: sections, in order.
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def html(self) -> str:
        """The page. Raises `MnasError` if it has figures and plotly is not installed."""
        has_plots = any(isinstance(part, Plot) for section in self.sections for part in section.parts)
        scripts = [*((_plotly(),) if has_plots else ()), _file("page.js")]
        links = "".join(
            f'<li><a href="#s{number}">{_text(section.heading)}</a></li>'
            for number, section in enumerate(self.sections, start=1)
        )
        body = "".join(_section_html(section, number) for number, section in enumerate(self.sections, start=1))
        return (
            f'<!DOCTYPE html>\n<html lang="en" data-narrow-below="{NARROW_BELOW}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{_text(self.title)}</title>\n<style>\n{_file('page.css')}</style>\n</head>\n<body>\n"
            '<a class="skip" href="#main">Skip to the content</a>\n'
            f"<header><h1>{_text(self.title)}</h1><p>{_text(self.subtitle)}</p></header>\n"
            f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main id="main">\n{body}</main>\n'
            + "".join(f"<script>{script}</script>\n" for script in scripts)
            + "</body>\n</html>\n"
        )

    def write(self, file: Path, field: str = "html") -> None:
        """Write the page as a new file.

        Args:
            file: path of the new file.
            field: name of the argument that gave ``file``, for messages.

        Raises:
            MnasError: plotly is not installed, or the file already exists or cannot be written.
        """
        write_new_text(file, self.html(), field=field)


def plot_text(text: str, limit: int = 60) -> str:
    """A text for a label of plotly, which interprets some HTML in labels: one line of at most ``limit`` characters."""
    return escape(one_line(text, limit), quote=False)


def plot_lines(lines: Sequence[str]) -> str:
    """Lines of the text that plotly shows at a point."""
    return "<br>".join(plot_text(line, 100) for line in lines)


def log_ticks(low: float, high: float) -> list[float]:
    """Values between two positive ones at which a logarithmic axis is labelled: 1, 2 or 5 times a power of ten."""
    powers = [10.0**power for power in range(-12, 19)]
    return [float(f"{first * power:.6g}") for power in powers for first in (1, 2, 5) if low <= first * power <= high]


def log_axis(low: float, high: float, title: str) -> dict[str, Any]:
    """A logarithmic axis from one positive value to another, labelled 5, 10, 20, 50, 100."""
    ticks = log_ticks(low, high)
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
        "title": axis_title(title),
    }


def axis_title(text: str) -> dict[str, Any]:
    """The title of an axis."""
    return {"text": text, "standoff": 6, "font": {"size": FONT_SIZE, "color": "var(--muted)"}}


def _with_axes(layout: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {**_AXIS, **value} if re.fullmatch(r"[xy]axis\d*", name) else value for name, value in layout.items()}


def _section_html(section: Section, number: int) -> str:
    parts = "".join(_part_html(part, f"s{number}p{place}") for place, part in enumerate(section.parts, start=1))
    heading = f'<h2 id="h{number}">{_text(section.heading)}</h2>'
    return f'<section id="s{number}" aria-labelledby="h{number}">\n{heading}\n{parts}</section>\n'


def _part_html(part: Part, name: str) -> str:
    match part:
        case Prose():
            label = f"<strong>{_text(part.label)}</strong> " if part.label else ""
            kind = ' class="quiet"' if part.quiet else ""
            return f"<p{kind}>{label}{_text(part.text)}</p>\n"
        case Facts():
            items = "".join(
                f"<div><dt>{_text(fact.label)}</dt><dd>{_text(fact.value)}"
                + (f" <small>{_text(fact.note)}</small>" if fact.note else "")
                + "</dd></div>"
                for fact in part.items
            )
            return f'<dl class="{"large" if part.large else "plain"}">{items}</dl>\n'
        case Code():
            return (
                f'<div class="code"><p id="{name}">{_text(part.label)}</p>'
                f'<pre aria-labelledby="{name}" tabindex="0"><code>{_text(part.text, lines=True)}</code></pre></div>\n'
            )
        case Picture():
            content = base64.b64encode(part.png).decode()
            return (
                f"<figure><figcaption>{_text(part.caption)}</figcaption>\n"
                f'<div class="frame" tabindex="0"><img class="picture" src="data:image/png;base64,{content}" '
                f'alt="{_text(part.caption)}"></div></figure>\n'
            )
        case Table():
            return _table_html(part)
        case Plot():
            return _plot_html(part, name)


def _table_html(table: Table) -> str:
    classes = [_class(column, [row[place] for row in table.rows]) for place, column in enumerate(table.columns)]
    head = "".join(
        f'<th scope="col"{kind}>{_text(column.header)}</th>'
        for column, kind in zip(table.columns, classes, strict=True)
    )
    rows = []
    for place, row in enumerate(table.rows, start=1):
        cells = []
        for position, (cell, kind) in enumerate(zip(row, classes, strict=True)):
            text = f"<strong>{_text(cell.text)}</strong>" if isinstance(cell, Cell) else _text(cell)
            cells.append(f'<th scope="row"{kind}>{text}</th>' if position == 0 else f"<td{kind}>{text}</td>")
        total = ' class="total"' if table.total and place == len(table.rows) else ""
        rows.append(f"<tr{total}>{''.join(cells)}</tr>\n")
    # A table that is wider than the screen scrolls in a region of its own, which the keyboard can reach.
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{_text(table.caption)}"><table>'
        f"<caption><span>{_text(table.caption)}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>"
        "</table></div>\n"
    )


def _class(column: Column, cells: Sequence[str | Cell]) -> str:
    """Numbers are aligned; a column of sentences is not squeezed to one word per line."""
    texts = [cell.text if isinstance(cell, Cell) else cell for cell in cells]
    is_long = max(map(len, texts), default=0) > 24
    return ' class="n"' if column.numeric else ' class="long"' if is_long else ""


def _plot_html(plot: Plot, name: str) -> str:
    keys = "".join(
        f'<li><span class="symbol" style="color: var(--{re.sub("[^a-z0-9-]", "", key.colour)})" aria-hidden="true">'
        f"{_text(key.symbol)}</span> {_text(key.label)}</li>"
        for key in plot.keys
    )
    data = json.dumps(plot.as_data(), allow_nan=False, separators=(",", ":"))
    for character in "<>&":  # the data must neither end the tag nor be read as one
        data = data.replace(character, f"\\u{ord(character):04x}")
    height = int(plot.layout["height"])
    return (
        f"<figure><figcaption>{_text(plot.caption)}</figcaption>\n"
        + (f'<ul class="keys">{keys}</ul>\n' if keys else "")
        + f'<div class="plot" id="{name}" role="img" aria-label="{_text(plot.summary)}" '
        f'style="min-height: {height}px"></div>\n'
        f'<script type="application/json" data-plot="{name}">{data}</script>\n'
        "<noscript><p>Scripts are turned off, so the figure is not drawn; its numbers are below.</p></noscript>\n"
        f"<details><summary>Numbers of this figure</summary>\n{_table_html(plot.table)}</details></figure>\n"
    )


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is fetched, and only these scripts run: a script smuggled in by a name has another hash."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise MnasError(MISSING) from None
    # Nothing in it may end the script's tag; in a string of JavaScript, <\/ is </.
    return re.sub("</(?=script)", r"<\\/", str(get_plotlyjs()), flags=re.IGNORECASE)


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _text(text: str, *, lines: bool = False) -> str:
    """A text escaped for HTML; control characters and the like become spaces."""
    kept = "".join(letter if letter.isprintable() or (lines and letter == "\n") else " " for letter in text)
    return escape(kept)
