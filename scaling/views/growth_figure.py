"""Activations against MACs for the networks of each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from baselines.text import millions
from baselines.views.page import Column, Key, Plot, Table, log_axis, plot_lines
from scaling.advice import HIGH, LOW, Curve

if TYPE_CHECKING:
    from scaling.explanation import Explanation

# Rules that are drawn; the others lie between them, and are in the table of numbers.
DRAWN = ("efficientnet", "d", "w", "r", "dwr", "fast", "lacs-gpu", "tinynet")
FIGURE_NOTE = (
    "The networks of the rules themselves, not of budgets: layers and channels are rounded, so lines have kinks. Where "
    "nothing was published, lines of published points continue with the shares of the last one."
)
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
_CHARACTERS = ("●", "■", "◆", "▲", "▼", "✚", "✖", "★")
_CAPTION = "Activations against MACs, for each rule"
_MARGIN = {"l": 58, "r": 14, "t": 12, "b": 46}


def activations_figure(found: Explanation) -> Plot:
    """A line for each rule from a quarter to 16 times the baseline's MACs, and the explained network."""
    own, chosen = found.own.cost, found.chosen.cost
    curves = [curve for name in DRAWN for curve in found.curves if curve.rule == name and curve.points]
    macs = [point[0] for curve in curves for point in curve.points] + [own.macs, chosen.macs]
    activations = [point[1] for curve in curves for point in curve.points] + [own.activations, chosen.activations]
    traces = [_trace(curve, place) for place, curve in enumerate(curves)]
    traces.append(_mark("baseline", own.macs, own.activations, "circle-open", "var(--text)"))
    traces.append(_mark(found.spec.name, chosen.macs, chosen.activations, "diamond-open", "var(--text)"))
    keys = [Key(curve.rule, f"series-{place + 1}", _CHARACTERS[place]) for place, curve in enumerate(curves)]
    layout = {
        "height": 420,
        "margin": _MARGIN,
        "xaxis": log_axis(min(macs) / 1e9 / 1.15, max(macs) / 1e9 * 1.15, "MACs, billions"),
        "yaxis": log_axis(min(activations) / 1e6 / 1.15, max(activations) / 1e6 * 1.15, "activations, millions"),
    }
    return Plot(
        caption=_CAPTION,
        summary=_summary(found, curves),
        table=_table(found),
        traces=traces,
        layout=layout,
        keys=(*keys, Key("baseline", "text", "○"), Key("this network", "text", "◇")),
    )


def _trace(curve: Curve, place: int) -> dict[str, Any]:
    colour = f"var(--series-{place + 1})"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [macs / 1e9 for macs, _ in curve.points],
        "y": [activations / 1e6 for _, activations in curve.points],
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": _SYMBOLS[place], "size": 7},
        "hovertext": [_hover(curve.rule, *point) for point in curve.points],
        "hoverinfo": "text",
    }


def _mark(name: str, macs: int, activations: int, symbol: str, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [macs / 1e9],
        "y": [activations / 1e6],
        "marker": {"color": colour, "symbol": symbol, "size": 14, "line": {"width": 2, "color": colour}},
        "hovertext": [_hover(name, macs, activations)],
        "hoverinfo": "text",
    }


def _hover(name: str, macs: int, activations: int) -> str:
    return plot_lines([name, f"{millions(macs)} MACs", f"{millions(activations)} activations"])


def _summary(found: Explanation, curves: list[Curve]) -> str:
    ends = {curve.rule: curve.points[-1] for curve in curves}
    texts = [f"{name} {millions(ends[name][1])} at {millions(ends[name][0])} MACs" for name in ends]
    return (
        f"Activations of {found.baseline.name} scaled by {len(curves)} rules, from {LOW:g} to {HIGH:g} times its MACs, "
        f"on logarithmic axes. The largest networks: {', '.join(texts)}."
    )


def _table(found: Explanation) -> Table:
    rows = tuple(
        (curve.rule, f"×{macs / found.own.cost.macs:.2f}", millions(macs), millions(activations))
        for curve in found.curves
        for macs, activations in curve.points
    )
    columns = (Column("rule"), Column("real growth", True), Column("MACs", True), Column("activations", True))
    return Table(_CAPTION, columns, rows)
