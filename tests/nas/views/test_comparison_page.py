from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest

from baselines import BaselineSpec, Provenance, load
from baselines.views.terminal import Table
from nas.evaluators.base import Evaluator, Metrics
from nas.evaluators.registry import load_evaluator
from nas.evidence import Comparison
from nas.views.comparison import data as comparison_data
from nas.views.comparison import text as comparison_view
from nas.views.comparison_page import comparison_page
from search_spaces import Architecture, StageSpace
from tests.pages import ReadPage, check_page


@pytest.fixture(scope="module")
def comparison(space: StageSpace) -> Comparison:
    smallest = BaselineSpec("smallest", space.template, Provenance("test"))
    return Comparison.of([smallest, load("efficientnet_b1"), load("efficientnet_b0")], load_evaluator("imagenet"))


@pytest.fixture(scope="module")
def read(comparison: Comparison) -> ReadPage:
    return check_page(comparison_page(comparison).html())


def words(read: ReadPage) -> str:
    return " ".join(read.text.split())


def test_every_word_of_the_terminal_is_on_the_page(comparison: Comparison, read: ReadPage) -> None:
    from rich.console import Console

    console = Console(width=400, record=True, file=io.StringIO())
    for part in comparison_view(comparison):
        if not isinstance(part, Table):
            console.print(part, markup=False)
    shown = words(read)
    for line in console.export_text().splitlines():
        assert line.strip() in shown
    for table in (part for part in comparison_view(comparison) if isinstance(part, Table)):
        assert read.table(table.title).rows == [[str(cell) for cell in cells] for cells, _ in table.rows]


def test_numbers_are_those_of_the_data(comparison: Comparison, read: ReadPage) -> None:
    data = comparison_data(comparison)
    table = read.table("Totals")
    totals = {name: list(cells) for name, *cells in zip(table.headers, *table.rows, strict=True)}
    assert totals["MACs"] == [f"{spec['macs']:,}" for spec in data["specs"]]
    assert totals["params"] == [f"{spec['params']:,}" for spec in data["specs"]]
    for spec, cell in zip(data["specs"], totals["predicted top-1"], strict=True):
        predicted = spec["predicted"]
        assert cell == ("-" if predicted is None else "{accuracy:.2f} ± {accuracy_std:.2f} %".format(
            **{name: 100 * value for name, value in predicted.items()}
        ))  # fmt: skip
    change = data["differences"][0]
    assert f"Predicted top-1 {100 * change['accuracy']:+.2f} points ± {100 * change['accuracy_std']:.2f}" in words(read)


def test_what_differs_from_the_reference_stands_out(comparison: Comparison) -> None:
    html = comparison_page(comparison).html()
    assert html.count("<strong>≠ ") == sum(str(cell).startswith("≠ ") for cell in structure_cells(comparison)) > 10


def structure_cells(comparison: Comparison) -> list[object]:
    tables = [part for part in comparison_view(comparison) if isinstance(part, Table)]
    return [cell for table in tables for cells, _ in table.rows for cell in cells]


def test_the_compared_networks_are_among_published_ones(comparison: Comparison, read: ReadPage) -> None:
    for start, metric in (("Published top-1 and params", "params"), ("Published top-1 and MACs", "macs")):
        rows = {row[0]: row for row in read.table(start).rows}
        assert rows["smallest"][1:3] == ["compared", "not comparable"]
        assert rows["efficientnet_b0"][1:3] == ["compared", "77.1"]
        assert rows["efficientnet_b1"][2] == "79.1"
        size = getattr(comparison.judged[0], metric)
        assert rows["smallest"][3] == (f"{size / 1e6:.4g}M" if metric == "params" else f"{size / 1e9:.4g}G")
    assert "cannot be compared with that of a full training" in words(read)


def test_where_all_accuracies_are_published_nothing_is_said_of_shortened_ones() -> None:
    comparison = Comparison.of([load("efficientnet_b1"), load("efficientnet_b0")], load_evaluator("imagenet"))
    assert "Triangles" not in words(check_page(comparison_page(comparison).html()))


class Stranger(Evaluator):
    name = "<script>alert(1)</script>"
    meaning = "<img src=x onerror=alert(1)>"

    def check(self, architecture: Architecture) -> None:
        raise ValueError("<b>no</b>")

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return []


def test_words_of_strangers_are_inert() -> None:
    b0 = load("efficientnet_b0")
    comparison = Comparison.of([replace(b0, name="mine"), b0], Stranger())
    shown = words(check_page(comparison_page(comparison).html()))
    assert "<script>alert(1)</script>" in shown
    assert "ValueError: <b>no</b>" in shown


def test_many_networks_have_a_short_title() -> None:
    b0 = load("efficientnet_b0")
    comparison = Comparison.of([*(replace(b0, name=f"mine-{n}") for n in range(7)), b0], load_evaluator("imagenet"))
    read = check_page(comparison_page(comparison).html())
    assert "7 networks beside efficientnet_b0" in read.text
    assert [row[0] for row in read.table("Totals").rows] == [*(f"mine-{n}" for n in range(7)), "efficientnet_b0"]
