from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest

from baselines.comparators import PUBLISHED_POINTS, Mark
from baselines.views.labels import text_width
from baselines.views.page import Page, Plot, Section
from baselines.views.published import published_figure, published_row
from tests.pages import check_page

MARKS = (
    Mark("b200", 4_038_122, 199_343_456),
    Mark("b205", 4_100_000, 205_343_456),
    Mark("efficientnet_b0", 5_288_548, 385_814_752, 0.771),
    Mark("torchvision:resnet50", 25_557_032, 4_089_184_256, 0.76),
)
# Widths of a figure: narrow ones on phones, wide ones above the threshold of page.js.
WIDTHS = [("narrow", 288), ("narrow", 368), ("narrow", 500), ("layout", 600), ("layout", 760), ("layout", 960)]


@pytest.fixture(scope="module", params=["params", "macs"])
def plot(request: pytest.FixtureRequest) -> Plot:
    return published_figure(MARKS)[("params", "macs").index(request.param)]


def layout_of(plot: Plot, which: str) -> dict[str, Any]:
    data = plot.as_data()
    return {**data["layout"], **(data["narrow"] if which == "narrow" else {})}


def label_boxes(layout: dict[str, Any], width: int) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each label in pixels of the figure, recomputed from plotly's own terms."""
    margin, x_axis = layout["margin"], layout["xaxis"]
    across = width - margin["l"] - margin["r"]
    inside = layout["height"] - margin["t"] - margin["b"]
    found = {}
    for label in layout["annotations"]:
        if label.get("xref") == "paper":
            x = margin["l"] + across * label["x"]
        else:
            low, high = x_axis["range"]
            x = margin["l"] + across * (label["x"] - low) / (high - low)
        y_axis = layout["yaxis2" if label.get("yref") == "y2" else "yaxis"]
        (low, high), (bottom, top) = y_axis["range"], y_axis["domain"]
        y = margin["t"] + inside * (1 - (bottom + (top - bottom) * (label["y"] - low) / (high - low)))
        x, y = x + label.get("xshift", 0), y - label.get("yshift", 0)
        size = label["font"]["size"]
        reach, height = text_width(label["text"], size), 1.2 * size
        left = x - reach * {"left": 0, "center": 0.5, "right": 1}[label["xanchor"]]
        head = y - height * {"top": 0, "middle": 0.5, "bottom": 1}[label["yanchor"]]
        found[label["text"]] = (left, head, left + reach, head + height)
    return found


@pytest.mark.parametrize(("which", "width"), WIDTHS)
def test_labels_neither_overlap_nor_leave_the_figure(plot: Plot, which: str, width: int) -> None:
    layout = layout_of(plot, which)
    boxes = label_boxes(layout, width)
    assert len(boxes) >= 12
    for left, top, right, bottom in boxes.values():
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= layout["height"] - layout["margin"]["b"] + 1
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, (one, other)
    # What is compared is always named.
    assert {mark.name for mark in MARKS} <= boxes.keys()


def test_ticks_rise_and_read_as_numbers(plot: Plot) -> None:
    for which in ("layout", "narrow"):
        axis = layout_of(plot, which)["xaxis"]
        assert axis["type"] == "log"
        ticks = [float(text) for text in axis["ticktext"]]
        assert ticks == sorted(set(ticks)) == axis["tickvals"]
        assert {"5", "10", "20", "50"} <= set(axis["ticktext"])


def test_every_published_network_is_drawn_where_the_paper_has_it() -> None:
    params, macs = published_figure(())
    drawn = {
        text.split("<br>")[0]: (x, y)
        for trace in params.traces
        for text, x, y in zip(trace["hovertext"], trace["x"], trace["y"], strict=True)
    }
    # arXiv 1905.11946v5, Table 2
    assert drawn["ResNet-50"] == (26, 76.0)
    assert drawn["AmoebaNet-C"] == (155, 83.5)
    assert drawn["EfficientNet-B0"] == (pytest.approx(5.3), pytest.approx(77.1))
    assert drawn["EfficientNet-B7"] == (pytest.approx(66), pytest.approx(84.3))
    assert len(drawn) == len(PUBLISHED_POINTS) + 8
    # The table prints no MACs for GPipe.
    assert "GPipe" not in {row[0] for row in macs.table.rows}
    assert "GPipe" in {row[0] for row in params.table.rows}


def test_a_network_without_a_published_accuracy_lies_on_the_strip(plot: Plot) -> None:
    strip = [trace for trace in plot.traces if trace.get("yaxis") == "y2"]
    assert [text.split("<br>")[0] for trace in strip for text in trace["hovertext"]] == ["b200", "b205"]
    assert all("not comparable" in text for trace in strip for text in trace["hovertext"])
    above = [text for trace in plot.traces if trace not in strip for text in trace["hovertext"]]
    assert not any(text.startswith("b20") for text in above)
    # No line goes through the figure for them.
    assert {shape["type"] for shape in plot.layout["shapes"]} == {"rect"}
    domains = [plot.layout[axis]["domain"] for axis in ("yaxis2", "yaxis")]
    assert domains[0][1] < domains[1][0]
    rows = {row[0]: row for row in plot.table.rows}
    assert rows["b200"][2] == "not comparable"
    assert rows["torchvision:resnet50"][2] == "76.0"


def test_without_such_networks_there_is_no_strip() -> None:
    for plot in published_figure(MARKS[2:]):
        assert "yaxis2" not in plot.layout
        assert not any(trace.get("yaxis") for trace in plot.traces)


def test_lower_accuracies_and_other_sizes_are_not_cut_off() -> None:
    small = Mark("mobilenet_v2", 2_000_000, 60_000_000, 0.65)
    for plot in published_figure([small]):
        assert plot.layout["yaxis"]["range"][0] < 65
        low = 10 ** plot.layout["xaxis"]["range"][0]
        assert low < min(x for trace in plot.traces for x in trace["x"])


def test_many_compared_networks_still_fit() -> None:
    marks = [Mark(f"network-number-{place}", 4_000_000 + place, 200_000_000 + place) for place in range(9)]
    for plot in published_figure(marks):
        for which, width in WIDTHS:
            boxes = label_boxes(layout_of(plot, which), width)
            for a, b in combinations(boxes.values(), 2):
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert sum(name.startswith("network-number") for name in boxes) == 9


def test_networks_of_torchvision_have_their_row_of_the_paper() -> None:
    row = published_row("torchvision:resnet50")
    assert row is not None
    assert (row.name, row.top1) == ("ResNet-50", 0.76)
    assert published_row("torchvision:alexnet") is None
    assert published_row("b200") is None


def test_names_of_strangers_are_inert() -> None:
    marks = [Mark("<img src=x onerror=alert(1)>", 5_000_000, 400_000_000), Mark("<b>x</b>", 5_000_000, 4e8, 0.8)]
    read = check_page(Page("a", "b", (Section("c", tuple(published_figure(marks))),)).html())
    labels = [label["text"] for plot in read.plots for label in plot["layout"]["annotations"]]
    assert any(re.match("&lt;img src=x", label) for label in labels)
