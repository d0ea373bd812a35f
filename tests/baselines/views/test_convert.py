from __future__ import annotations

import pytest

from baselines.views.convert import page_parts
from baselines.views.page import Cell, Column, Prose, Table
from baselines.views.terminal import Table as TerminalTable
from baselines.views.terminal import labelled


def test_tables_and_lines_of_the_terminal() -> None:
    from rich.text import Text

    table = TerminalTable("Title", [("name", "left"), ("n", "right")])
    table.add_row("[a]", Text("1 ≠", style="bold"))
    table.add_row("total", "2", style="bold")
    found = list(page_parts([table, labelled("b0:", "is small."), "[plain] text"]))
    rows = (("[a]", Cell("1 ≠")), ("total", "2"))
    assert found == [
        Table("Title", (Column("name"), Column("n", True)), rows, total=True),
        Prose("is small.", "b0:"),
        Prose("[plain] text"),
    ]


def test_what_has_no_form_is_a_fault() -> None:
    from rich.panel import Panel

    with pytest.raises(TypeError, match="a Panel has no form on a page"):
        list(page_parts([Panel("a")]))
