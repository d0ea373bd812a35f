"""The explanation as text, page and data: one set of figures, whole at every width."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from baselines import load
from baselines.text import millions
from baselines.views.terminal import Table
from scaling import budget as budgets
from scaling.explanation import Explanation, explain
from scaling.rules import RULES
from scaling.views import explanation as view
from scaling.views.growth_figure import DRAWN
from search_spaces import Architecture, architecture_cost
from tests.baselines.views.test_terminal import text_at
from tests.pages import ReadPage, check_page

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "b3": ("efficientnet_b0", {"preset": "b3"}),
    "own": ("mobilenet_v2", {"width": 1.1, "depth": 1.2, "resolution": 260}),
    "fast": ("mnasnet_a1", {"rule": "fast", "factor": 3}),
    "activations": ("efficientnet_b0", {"target": "activations=2x"}),
    "small": ("efficientnet_b0", {"rule": "tinynet", "target": "macs=60M"}),
    "keep": ("efficientnet_b0", {"width": 1.2, "depth": 1.4, "keep": ("ends", "head")}),
    "lite": ("efficientnet_lite0", {"phi": 1}),
}
SECTIONS = ("The rule ", "What rounding does", "Which resolutions are cheap", "What does not scale", "Who recommends ")


@cache
def explained(case: str) -> Explanation:
    network, options = CASES[case]
    return explain(network, **options)


@cache
def read(case: str) -> ReadPage:
    return check_page(view.page(explained(case)).html())


def tables(case: str) -> list[Table]:
    return [part for part in view.text(explained(case)) if isinstance(part, Table)]


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("case", CASES)
def test_every_number_is_whole_and_no_line_too_wide(case: str, width: int) -> None:
    text = text_at(width, view.text(explained(case)))
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    shown = re.split(r"\s{2,}|\n", text)
    for table in tables(case):
        for cells, _ in table.rows:
            for (_, justify), cell in zip(table.columns, cells, strict=True):
                assert cell.plain in shown or justify == "left" or not cell.plain, f"{cell.plain} is broken"
    assert all(re.search(rf"^{section}", text, re.MULTILINE) for section in SECTIONS)
    assert "\n\n\n" not in text


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_the_text_with_a_figure(case: str) -> None:
    page = read(case)
    shown = words(page.text)
    for part in view.text(explained(case)):
        if isinstance(part, Table):
            rows = page.table(part.title).rows
            assert rows == [[cell.plain for cell in cells] for cells, _ in part.rows]
        else:
            assert words(str(part)) in shown
    assert len(page.plots) == 1
    assert explained(case).spec.name in page.text


def test_the_figure_has_the_costs_of_the_networks() -> None:
    found, (plot,) = explained("fast"), read("fast").plots
    *lines, baseline, network = plot["data"]
    curves = {curve.rule: curve.points for curve in found.curves}
    assert len(lines) == len(DRAWN)
    for name, line in zip(DRAWN, lines, strict=True):
        points = [(round(x * 1e9), round(y * 1e6)) for x, y in zip(line["x"], line["y"], strict=True)]
        assert points == list(curves[name])
    for mark, cost in ((baseline, load("mnasnet_a1").architecture), (network, found.spec.architecture)):
        known = architecture_cost(cost)
        assert (mark["x"], mark["y"]) == ([known.macs / 1e9], [known.activations / 1e6])
    assert set(DRAWN) <= set(RULES)
    numbers = read("fast").table("Activations against MACs")
    assert {row[0] for row in numbers.rows} == set(RULES)


@pytest.mark.parametrize("case", CASES)
def test_data_are_plain_and_equal_the_explanation(case: str) -> None:
    found = explained(case)
    data = json.loads(json.dumps(view.data(found), allow_nan=False))
    cost = architecture_cost(found.spec.architecture)
    assert [data["network"][name] for name in ("macs", "params", "activations")] == [
        cost.macs,
        cost.params,
        cost.activations,
    ]
    assert data["network"]["digest"] == found.spec.digest
    assert data["baseline"]["digest"] == load(CASES[case][0]).digest
    assert [row["phi"] for row in data["released"]] == [row.phi._asdict() for row in found.released]
    assert [row["real"] for row in data["released"]] == [row.real for row in found.released]
    assert [row["new_layers"] for row in data["rounding"]["parts"][1:-1]] == [
        stage.num_layers for stage in found.spec.architecture.stages
    ]
    assert {row["side"]: row["macs"] for row in data["resolutions"]["near"]} == {
        side.side: side.macs for side in found.sides
    }
    assert sum(part["after"]["macs"] for part in data["parts"]) == cost.macs
    for row, one in zip(data["rules"], found.advice, strict=True):
        assert row["rule"] == one.rule.name
        assert row.get("macs") == (one.sized.cost.macs if one.sized else None)
        assert bool(row["problem"]) == (one.sized is None)


def rows(case: str, title: str) -> list[list[str]]:
    return read(case).table(title).rows


def test_a_released_network_stands_there_once() -> None:
    assert [row[0] for row in rows("b3", "Coefficients")] == [f"b{number}" for number in range(1, 8)]
    assert "<strong>b3</strong>" in view.page(explained("b3")).html()
    assert [row[0] for row in rows("own", "Coefficients")][-1] == "w1.1d1.2r260"
    assert ["b3", "×3.62", "×4.74", "1.827G", "12.2M"] in [row[:5] for row in rows("b3", "Nominal")]


def test_sentences_say_what_the_tables_do() -> None:
    text = words(read("own").text)
    assert "17 blocks times 1.2 would be 20.4; the network has 24. Any depth above 1 makes 2 layers of 1" in text
    assert "expansion (1 in 1 stage, 6 in 6), squeeze-excite (none) and strides (1 in 3 stages, 2 in 4)" in text
    assert "(128 64 32 16 8 become 129 65 33 17 9)" in text
    assert "squeeze-excite (none in 4 stages, 0.25 in 3)" in words(read("fast").text)
    # 14 · 1.4 = 19.6, and two stages of one layer.
    kept = words(read("keep").text)
    assert "14 blocks times 1.4 and 2 that are kept would be 21.6; the network has 24." in kept
    assert "This network also keeps: ends, head." in kept


def test_rules_are_sorted_by_what_differs() -> None:
    by_activations = [one for one in explained("b3").advice if one.sized]
    by_activations.sort(key=lambda one: one.sized.cost.activations if one.sized else 0)
    shown = [row[0].removesuffix(" *") for row in rows("b3", "Rules, the fewest activations first")]
    assert shown == [one.rule.name for one in by_activations]
    text, least = words(read("b3").text), by_activations[0]
    assert least.sized is not None
    assert f"Here {least.rule.name} has the fewest, {millions(least.sized.cost.activations)};" in text
    assert rows("activations", "Rules, the fewest MACs first")
    assert "All have about the same number here; MACs range from" in words(read("activations").text)
    # Rules whose networks cost the same have no winner.
    text = view._fewest_text(explained("b3"), [least, least], "activations")
    assert f"All have about the same number here, {millions(least.sized.cost.activations)}." in text


def test_what_was_published_and_what_was_not() -> None:
    text = words(read("small").text)
    assert "d: macs=60M is out of reach of the rule d" in text
    assert "tinynet between tinynet_d and tinynet_c" in text
    assert "efficientnet *" in {row[0] for row in rows("small", "Rules")}
    assert "d" not in {row[0] for row in rows("small", "Rules")}


def test_a_latency_says_what_the_rules_are_compared_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(network: Architecture) -> float:
        return 1e-10 * architecture_cost(network).macs

    monkeypatch.setattr(budgets, "measured_latency", seconds)
    found = explain("efficientnet_b0", target="latency=2x")
    text = words(text_at(120, view.text(found)))
    assert "The rules are compared at this network's MACs: latency=2x would have to be measured many times" in text
    assert check_page(view.page(found).html()).plots


def test_ranges() -> None:
    assert view.ranges([252, 253, 254, 288]) == ["252–254", "288"]
    assert view.ranges([]) == []
