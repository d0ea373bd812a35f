"""Figures of networks that were trained side by side: accuracies with intervals, against cost, and over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.statistics import half_of_student
from baselines.text import interval_text, millions, points
from baselines.views.page import Column, Key, Plot, Section, Table, axis_title, log_axis, plot_lines, plot_text

if TYPE_CHECKING:
    from nas.studies.trained_comparison import TrainedComparison

_MARGIN = {"l": 64, "r": 14, "t": 12, "b": 46}
_HEIGHT = 360
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
_CHARACTERS = ("●", "■", "◆", "▲", "▼", "✚", "✖", "★")


@dataclass(frozen=True)
class Trained:
    """A network of a figure.

    Attributes:
        name: name.
        label: short name for the figure.
        accuracies: top-1 of each seed, fractions.
        costs: costs by the title of their axis, such as ``MACs``.
        curve: mean accuracy on the validation part after each epoch: (epoch, top-1).
    """

    name: str
    label: str
    accuracies: tuple[float, ...]
    costs: Mapping[str, float]
    curve: tuple[tuple[int, float], ...] = ()

    @property
    def mean(self) -> float:
        """Mean of the accuracies in percent."""
        return 100 * float(np.mean(self.accuracies))

    @property
    def half(self) -> float:
        """Half of the 95 % interval of the mean for other seeds, in percent; 0 for a single seed, which has none."""
        return 100 * half_of_student(np.array(self.accuracies)) if len(self.accuracies) > 1 else 0.0

    @property
    def interval(self) -> str:
        """That interval as text, in percent, within 0 to 100; a dash for a single seed."""
        if len(self.accuracies) < 2:
            return "–"
        return interval_text((max(self.mean - self.half, 0.0), min(self.mean + self.half, 100.0)))


def mean_curve(curves: Sequence[Sequence[tuple[int, float]]]) -> tuple[tuple[int, float], ...]:
    """Mean over seeds of accuracies after each epoch, for the epochs that all of them have."""
    by_epoch: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, accuracy in curve:
            by_epoch.setdefault(epoch, []).append(accuracy)
    return tuple((epoch, float(np.mean(v))) for epoch, v in sorted(by_epoch.items()) if len(v) == len(curves))


def nets_of(
    compared: TrainedComparison, costs: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]
) -> list[Trained]:
    """The networks of a trained comparison for the figures.

    Args:
        compared: the comparison.
        costs: costs by their names and the names of the networks.
        labels: short names by the names of the networks; their own where there is none.
    """
    return [
        Trained(
            one.name,
            labels.get(one.name, one.name.partition(":")[2] or one.name),
            tuple(one.accuracies),
            {cost: values[one.name] for cost, values in costs.items()},
            mean_curve(compared.curves[one.name]),
        )
        for one in compared.contestants
    ]


def sections(nets: Sequence[Trained], costs: Sequence[str]) -> list[Section]:
    """The figures of a page: accuracies with intervals and against costs, and learning curves where there are any."""
    caption = "Mean top-1 on the test part, with 95 % intervals for other seeds"
    figures = (interval_figure(nets, caption), *(cost_figure(nets, cost) for cost in costs))
    found = [Section("Accuracy and cost", figures)]
    if any(one.curve for one in nets):
        found.append(Section("Learning curves", (curve_figure(nets),)))
    return found


def interval_figure(nets: Sequence[Trained], caption: str) -> Plot:
    """Mean top-1 of every network with its 95 % interval for other seeds, one below the other, the best on top."""
    ranked = sorted(nets, key=lambda one: one.mean)
    low, high = _padded([one.mean - one.half for one in ranked], [one.mean + one.half for one in ranked])
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [round(one.mean, 3) for one in ranked],
        "y": list(range(len(ranked))),
        "error_x": {"type": "data", "array": [round(one.half, 3) for one in ranked], "color": "var(--trial)"},
        "marker": {"color": "var(--find)", "size": 9},
        "hovertext": [_hover(one) for one in ranked],
        "hoverinfo": "text",
    }
    left = 24 + 7 * min(24, max(len(one.label) for one in ranked))
    layout = {
        "height": 90 + 28 * len(ranked),
        "margin": {**_MARGIN, "l": left},
        "xaxis": {"range": [low, high], "title": axis_title("top-1, %")},
        "yaxis": {
            "tickvals": list(range(len(ranked))),
            "ticktext": [plot_text(one.label, 24) for one in ranked],
            "range": [-0.6, len(ranked) - 0.4],
            "ticks": "",
        },
    }
    rows = tuple((one.name, f"{one.mean:.2f}", one.interval) for one in reversed(ranked))
    table = Table(caption, (Column("network"), Column("top-1, %", True), Column("95 % interval", True)), rows)
    best = ranked[-1]
    summary = f"Mean accuracies with intervals; the highest is {best.name} with {best.mean:.2f} %."
    return Plot(caption, summary, table, [trace], layout)


def cost_figure(nets: Sequence[Trained], cost: str) -> Plot:
    """Mean top-1 against a cost, on a logarithmic axis; a symbol and a colour for each network."""
    values = [one.costs[cost] for one in nets]
    unit, size = ("millions", 1e6) if max(values) >= 1e6 else ("thousands", 1e3)
    low, high = _padded([one.mean - one.half for one in nets], [one.mean + one.half for one in nets])
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [one.costs[cost] / size],
            "y": [round(one.mean, 3)],
            "error_y": {"type": "data", "array": [round(one.half, 3)], "color": "var(--trial)"},
            "marker": {"color": _colour(place), "symbol": _SYMBOLS[place % len(_SYMBOLS)], "size": 10},
            "hovertext": [_hover(one, cost)],
            "hoverinfo": "text",
        }
        for place, one in enumerate(nets)
    ]
    layout = {
        "height": _HEIGHT,
        "margin": _MARGIN,
        "xaxis": _cost_axis([value / size for value in values], f"{cost}, {unit}"),
        "yaxis": {"range": [low, high], "title": axis_title("top-1, %")},
    }
    caption = f"Accuracy against {cost}"
    rows = tuple((one.name, millions(one.costs[cost]), f"{one.mean:.2f}", one.interval) for one in nets)
    columns = (Column("network"), Column(cost, True), Column("top-1, %", True), Column("95 % interval", True))
    ends = f"from {millions(min(values))} to {millions(max(values))}"
    summary = f"Mean accuracies of {len(nets)} networks against their {cost}, {ends}."
    return Plot(caption, summary, Table(caption, columns, rows), traces, layout, keys=_keys(nets))


def curve_figure(nets: Sequence[Trained]) -> Plot:
    """Mean accuracy on the validation part after each epoch."""
    drawn = [one for one in nets if one.curve]
    epochs = sorted({epoch for one in drawn for epoch, _ in one.curve})
    values = [100 * value for one in drawn for _, value in one.curve]
    low, high = _padded(values, values)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": [epoch for epoch, _ in one.curve],
            "y": [round(100 * value, 3) for _, value in one.curve],
            "line": {"color": _colour(place), "width": 2},
            "marker": {"symbol": _SYMBOLS[place % len(_SYMBOLS)], "size": 7},
            "name": plot_text(one.label),
            "hoverinfo": "x+y+name",
        }
        for place, one in enumerate(drawn)
    ]
    layout = {
        "height": _HEIGHT,
        "margin": _MARGIN,
        "xaxis": {"title": axis_title("epoch"), "tick0": epochs[0], "dtick": 1 + (epochs[-1] - epochs[0]) // 10},
        "yaxis": {"range": [low, high], "title": axis_title("validation top-1, %")},
    }
    cells = [
        [f"{100 * dict(one.curve)[epoch]:.1f}" if epoch in dict(one.curve) else "–" for epoch in epochs]
        for one in drawn
    ]
    columns = (Column("network"), *(Column(f"epoch {epoch}", True) for epoch in epochs))
    caption = "Learning curves: validation part, means over seeds"
    rows = tuple((one.name, *row) for one, row in zip(drawn, cells, strict=True))
    summary = f"Validation accuracy of {len(drawn)} networks after each of {len(epochs)} epochs."
    return Plot(caption, summary, Table(caption, columns, rows), traces, layout, keys=_keys(drawn))


def _cost_axis(values: Sequence[float], title: str) -> dict[str, Any]:
    """A logarithmic axis if the values differ much, else a linear one, which has more labels."""
    low, high = min(values), max(values)
    if high > 5 * low:
        return log_axis(low / 1.15, high * 1.15, title)
    return {"range": [low - 0.08 * high, 1.08 * high], "title": axis_title(title)}


def _keys(nets: Sequence[Trained]) -> tuple[Key, ...]:
    return tuple(
        Key(one.label, f"series-{place % 8 + 1}", _CHARACTERS[place % len(_CHARACTERS)])
        for place, one in enumerate(nets)
    )


def _colour(place: int) -> str:
    return f"var(--series-{place % 8 + 1})"


def _hover(one: Trained, cost: str | None = None) -> str:
    lines = [one.name, points(one.mean / 100)]
    if len(one.accuracies) > 1:
        lines.append(f"{one.interval} (95 %, other seeds)")
    return plot_lines(lines if cost is None else [*lines, f"{millions(one.costs[cost])} {cost}"])


def _padded(low: Sequence[float], high: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of per cents that holds all values, with some room where there is any."""
    span = max(max(high) - min(low), 0.5)
    return max(min(low) - 0.06 * span, 0.0), min(max(high) + 0.06 * span, 100.0)
