"""The figures of a search: best so far, accuracy against a cost, and what choices are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.text import millions, points, signed, signed_millions
from baselines.views.labels import SIDES, Point, place_labels
from baselines.views.page import (
    NARROW_BELOW,
    NARROWEST,
    WIDEST,
    Cell,
    Column,
    Key,
    Plot,
    Table,
    axis_title,
    log_axis,
    plot_lines,
    plot_text,
)
from nas.costs.metrics import COSTS
from nas.trial import Trial
from nas.views.effects import Effect, Effects

if TYPE_CHECKING:
    from nas.views.report import Front, Report

# Maximum number of points in a figure (of more, an even selection is drawn), and of rows in its table.
MAX_POINTS, MAX_ROWS = 2_000, 200
_SIZE = 12
_HEIGHT = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 46
_WIDTHS = tuple(width - _LEFT - _RIGHT for width in (NARROWEST, NARROW_BELOW, WIDEST))
_MARGIN = {"l": _LEFT, "r": _RIGHT, "t": _TOP, "b": _BOTTOM}
_DASH = {"dash": "dash", "width": 1.5}


def thinned(items: Sequence[Any], limit: int = MAX_POINTS) -> list[Any]:
    """At most ``limit`` of the items, evenly chosen, in order."""
    if len(items) <= limit:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, limit).round().astype(int).tolist()]


def _shown_note(shown: int, count: int) -> str:
    return "" if shown == count else f" {shown:,} of {count:,} trials are drawn, evenly chosen."


def _caption_note(shown: int, count: int) -> str:
    return "" if shown == count else f" ({shown:,} of {count:,} trials, evenly chosen)"


def _hover(trial: Trial) -> str:
    assert trial.metrics is not None
    return plot_lines([f"trial {trial.number}", points(*trial.metrics), f"{millions(trial.cost.macs)} MACs"])


def _dots(trials: Sequence[Trial], x: Sequence[float], **marker: Any) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(x),
        "y": [_percent(trial) for trial in trials],
        "hovertext": [_hover(trial) for trial in trials],
        "hoverinfo": "text",
        "marker": {"color": "var(--trial)", "size": 5, "opacity": 0.75, **marker},
    }


def _percent(trial: Trial) -> float:
    assert trial.metrics is not None
    return round(100 * trial.metrics.accuracy, 4)


# --- best so far ------------------------------------------------------------------------------------------------------


def progress_figure(report: Report) -> Plot:
    """Accuracy of the best so far against trials, with all trials behind it and failures marked below."""
    done = len(report.trials)
    numbered = [(position, trial) for position, trial in enumerate(report.trials, start=1) if trial.metrics]
    drawn = thinned(numbered)
    failed = [position for position, trial in enumerate(report.trials, start=1) if trial.failure]
    steps = report.improvements
    values = [_percent(trial) for _, trial in numbered] + ([100 * report.reference[0]] if report.reference else [])
    low, high = _padded(min(values), max(values), below=0.12 if failed else 0.06)
    floor = low + 0.03 * (high - low)
    line_x = [position for position, _ in steps] + [done]
    line_y = [_percent(trial) for _, trial in steps] + [_percent(steps[-1][1])]
    kind = report.evaluator.kind
    traces = [
        _dots([trial for _, trial in drawn], [position for position, _ in drawn]),
        {
            "type": "scatter",
            "mode": "lines",
            "x": line_x,
            "y": line_y,
            "line": {"shape": "hv", "color": "var(--find)", "width": 2.5},
            "hoverinfo": "skip",
        },
        _dots(
            [trial for _, trial in steps], [position for position, _ in steps], color="var(--find)", size=8, opacity=1
        ),
    ]
    keys = [Key("best so far", "find", "━"), Key("each trial", "trial")]
    layout: dict[str, Any] = {
        "height": _HEIGHT,
        "margin": _MARGIN,
        "xaxis": {"range": [0, done * 1.02 + 1], "title": axis_title("trials done"), "tickformat": ",d"},
        "yaxis": {"range": [low, high], "title": axis_title(f"{kind} top-1, %"), "nticks": 8},
    }
    if done < 12:
        layout["xaxis"]["dtick"] = 1
    if failed:
        marks = thinned(failed)
        text = [plot_lines([f"{position} done", "failed"]) for position in marks]
        marker = {
            "color": "var(--other)",
            "size": 7,
            "symbol": "x-thin",
            "line": {"width": 1.5, "color": "var(--other)"},
        }
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": marks,
                "y": [floor] * len(marks),
                "marker": marker,
                "hovertext": text,
                "hoverinfo": "text",
            }
        )
        keys.append(Key(f"failed ({len(failed):,})", "other", "✕"))
    if report.reference:
        layout["shapes"] = [_level("y", 100 * report.reference[0], "reference")]
        keys.append(Key(f"EfficientNet-B0, {points(*report.reference)}", "reference", "╌"))
    first, last = steps[0], steps[-1]
    assert last[1].metrics is not None
    summary = (
        f"The best so far by the objective rises from {_percent(first[1]):.2f} % after {first[0]} trial"
        f"{'s' if first[0] > 1 else ''} to {_percent(last[1]):.2f} % at {millions(last[1].cost.macs)} MACs after "
        f"{last[0]:,}, of {done:,} trials.{f' {len(failed):,} failed.' if failed else ''}"
        f"{_shown_note(len(drawn), len(numbered))}"
    )
    return Plot(
        f"Accuracy of the best so far against trials{_caption_note(len(drawn), len(numbered))}",
        summary,
        _steps_table(report),
        traces,
        layout,
        keys=tuple(keys),
    )


def _padded(low: float, high: float, below: float = 0.06, above: float = 0.06) -> tuple[float, float]:
    span = (high - low) or 1.0
    return low - below * span, high + above * span


def _level(axis: str, value: float, colour: str) -> dict[str, Any]:
    """A dashed line across the figure at a value of one axis."""
    other = "x" if axis == "y" else "y"
    return {
        "type": "line",
        f"{axis}0": value,
        f"{axis}1": value,
        f"{other}ref": f"{other} domain",
        f"{other}0": 0,
        f"{other}1": 1,
        "line": {**_DASH, "color": f"var(--{colour})"},
    }


def _steps_table(report: Report) -> Table:
    rows = [
        (
            f"{position:,}",
            str(trial.number),
            f"{_percent(trial):.2f}",
            f"{trial.cost.macs:,}",
            "-" if trial.reward is None else f"{trial.reward:.5f}",
        )
        for position, trial in report.improvements
    ]
    columns = ("trials done", "trial", "top-1, %", "MACs", "reward")
    return Table("Each trial that was the best so far", tuple(Column(name, True) for name in columns), tuple(rows))


# --- accuracy against a cost ------------------------------------------------------------------------------------------


def front_figure(report: Report, front: Front) -> Plot:
    """Accuracy against one cost: all trials, the Pareto front, the best trial, B0 and the target."""
    metric = COSTS[front.cost]
    costs = {trial.number: cost for trial, cost in zip(report.trials, _costs(report, front), strict=True)}
    done = [trial for trial in report.trials if trial.metrics is not None]
    drawn = thinned(done)
    reference = report.reference if front.reference is not None else None
    everything = [costs[trial.number] for trial in done] + ([front.reference] if reference and front.reference else [])
    everything += [front.target] if front.target else []
    unit, suffix = _unit(max(everything), metric.unit)
    accuracies = [_percent(trial) for trial in done] + ([100 * reference[0]] if reference else [])
    axis, across = _cost_axis(min(everything) / unit, max(everything) / unit, suffix)
    low, high = _padded(min(accuracies), max(accuracies), above=0.1)
    best_x, front_x = costs[report.best.number] / unit, [trial.costs[0] / unit for trial in front.trials]
    find = {"color": "var(--find)", "size": 14, "symbol": "diamond", "opacity": 1}
    edge = {"line": {"width": 1.5, "color": "var(--back)"}}
    ends = list(front.trials)
    traces = [
        _dots(drawn, [costs[trial.number] / unit for trial in drawn]),
        {
            **_dots(ends, front_x, color="var(--front)", size=7, opacity=1),
            "mode": "lines+markers",
            "line": {"shape": "hv", "color": "var(--front)", "width": 2},
        },
    ]
    keys = [Key("found", "find", "◆"), Key("Pareto front", "front"), Key("each trial", "trial")]
    if reference and front.reference is not None:
        lines = plot_lines(["EfficientNet-B0", points(*reference), f"{front.reference / unit:,.4g} {suffix}"])
        square = {"color": "var(--reference)", "size": 12, "symbol": "square", **edge}
        point = {"x": [front.reference / unit], "y": [100 * reference[0]], "hovertext": [lines], "hoverinfo": "text"}
        traces.append({"type": "scatter", "mode": "markers", "marker": square, **point})
        keys.insert(1, Key("EfficientNet-B0", "reference", "■"))
    traces.append(_dots([report.best], [best_x], **find, **edge))
    layout: dict[str, Any] = {
        "height": _HEIGHT,
        "margin": _MARGIN,
        "xaxis": axis,
        "yaxis": {"range": [low, high], "title": axis_title(f"{report.evaluator.kind} top-1, %"), "nticks": 8},
    }
    marks = [(best_x, _percent(report.best), "found", "find")]
    if reference and front.reference is not None:
        marks.append((front.reference / unit, 100 * reference[0], "B0", "reference"))
    layout["annotations"] = _labels(
        marks, axis, across, (low, high), list(zip(front_x, map(_percent, ends), strict=True))
    )
    if front.target is not None:
        layout["shapes"] = [_level("x", front.target / unit, "muted")]
        keys.append(Key(f"target {front.target / unit:,.6g} {suffix}", "muted", "╎"))
    what = metric.name if metric.predicted else metric.unit
    return Plot(
        f"Accuracy against {what}{_caption_note(len(drawn), len(done))}",
        _front_summary(report, front, unit, suffix) + _shown_note(len(drawn), len(done)),
        _front_table(report, front, costs),
        traces,
        layout,
        keys=tuple(keys),
    )


def _costs(report: Report, front: Front) -> list[float]:
    """The cost of each trial."""
    names = [target.cost for target in report.settings.objective.targets]
    if front.cost in names:
        place = names.index(front.cost)
        return [float(trial.costs[place]) for trial in report.trials]
    return [float(trial.cost.macs) for trial in report.trials]


def _unit(largest: float, name: str) -> tuple[float, str]:
    """Size and name of the unit in which a cost is drawn."""
    if name not in ("MACs", "parameters"):
        return 1.0, name
    return (1e9, f"billion {name}") if largest >= 2e9 else (1e6, f"million {name}")


def _cost_axis(low: float, high: float, title: str) -> tuple[dict[str, Any], Any]:
    """The axis, and a function from a value to its position from 0 to 1; logarithmic if values differ widely."""
    if high / low > 6:
        low, high = low / 1.1, high * 1.1
        return log_axis(low, high, title), lambda value: math.log(value / low) / math.log(high / low)
    low, high = _padded(low, high, 0.04, 0.04)
    axis = {"range": [low, high], "title": axis_title(title), "nticks": 7, "tickformat": ",~g"}
    return axis, lambda value: (value - low) / (high - low)


def _labels(
    marks: Sequence[tuple[float, float, str, str]],
    axis: dict[str, Any],
    across: Any,
    ends: tuple[float, float],
    line: Sequence[tuple[float, float]],
) -> list[dict[str, Any]]:
    height = _HEIGHT - _TOP - _BOTTOM
    low, high = ends

    def down(percent: float) -> float:
        return height * (high - percent) / (high - low)

    places = [Point(across(x), down(y), text, 7.0) for x, y, text, _ in marks]
    corners: list[tuple[float, float]] = []
    for x, y in line:  # the front is drawn in steps
        corners += [(across(x), corners[-1][1])] if corners else []
        corners.append((across(x), down(y)))
    # Trials lie below the front: labels above it are the easiest to read.
    above = sorted(SIDES, key=lambda side: side.dy)
    found = place_labels(places, _WIDTHS, height, _SIZE, corners, above)
    return [
        label.annotation(
            places[label.point],
            math.log10(marks[label.point][0]) if axis.get("type") == "log" else marks[label.point][0],
            marks[label.point][1],
            _SIZE,
            font={"size": _SIZE, "color": f"var(--{marks[label.point][3]})"},
            bgcolor="var(--back)",
            opacity=0.9,
        )
        for label in found
    ]


def _front_summary(report: Report, front: Front, unit: float, suffix: str) -> str:
    ends = (front.trials[0], front.trials[-1])
    first, last = (f"{_percent(trial):.2f} % at {trial.costs[0] / unit:,.4g}" for trial in ends)
    best = report.best
    text = (
        f"Scatter of {report.done - report.failed:,} trials. The Pareto front has {len(front.trials)} of "
        f"them, from {first} to {last} {suffix}. The network found, trial {best.number}, is at {_percent(best):.2f} %."
    )
    if report.reference is None:
        text += " The accuracy of EfficientNet-B0 is not known here, so it is not drawn."
    elif front.reference is None:
        text += " The cost of EfficientNet-B0 is not known here, so it is not drawn."
    else:
        text += f" EfficientNet-B0 is at {points(*report.reference)} and {front.reference / unit:,.4g} {suffix}."
    return text


def _front_table(report: Report, front: Front, costs: dict[int, float]) -> Table:
    """The best trial, B0, the front and, as far as there is room, the other trials, best first."""
    objective = report.settings.objective
    on_front = {trial.number for trial in front.trials}
    done = [trial for trial in report.trials if trial.metrics is not None]
    done.sort(key=lambda trial: -objective.merit(trial.reward, trial.costs))
    others = [trial for trial in done if trial.number not in on_front and trial is not report.best]
    room = max(MAX_ROWS - len(front.trials), 0)
    rows: list[tuple[str | Cell, ...]] = [_front_row(report.best, "found", costs)]
    if report.reference is not None and front.reference is not None:
        rows.append(("EfficientNet-B0", "reference", points(*report.reference), f"{front.reference:,.6g}"))
    rows += [_front_row(trial, "on the front", costs) for trial in front.trials if trial.number != report.best.number]
    rows += [_front_row(trial, "", costs) for trial in others[:room]]
    unit = COSTS[front.cost].unit
    columns = (
        Column("trial"),
        Column("what it is"),
        Column(f"{report.evaluator.kind} top-1", True),
        Column(unit, True),
    )
    kept = "" if len(others) <= room else f"; the best {room:,} of {len(others):,} others"
    return Table(f"The network found, B0, the Pareto front and other trials{kept}", columns, tuple(rows))


def _front_row(trial: Trial, what: str, costs: dict[int, float]) -> tuple[str | Cell, ...]:
    assert trial.metrics is not None
    cost = costs[trial.number]
    text = f"{cost:,.0f}" if cost >= 1e6 else f"{cost:,.6g}"
    return f"{trial.number}", what, points(*trial.metrics), text


# --- what choices are worth -------------------------------------------------------------------------------------------


def effects_figure(effects: Effects, table: Table) -> Plot:
    """A row for each choice, with its values placed by their effects; the choices that matter most are at the top."""
    labels = effects.labels
    rows = {label: len(labels) - place for place, label in enumerate(labels)}
    known = [item for item in effects.items if item.accuracy is not None]
    values = [100 * (item.accuracy or 0) for item in known]
    ends = _padded(min(values), max(values), 0.16, 0.16)
    bars: dict[str, list[float | None]] = {"x": [], "y": []}
    for label in labels:
        of_label = [100 * item.accuracy for item in effects.of(label) if item.accuracy is not None]
        bars["x"] += [min(of_label), max(of_label), None]
        bars["y"] += [rows[label], rows[label], None]

    def dots(found: bool, **marker: Any) -> dict[str, Any]:
        items = [item for item in known if item.found is found]
        return {
            "type": "scatter",
            "mode": "markers",
            "x": [100 * (item.accuracy or 0) for item in items],
            "y": [rows[item.label] for item in items],
            "error_x": {
                "type": "data",
                "array": [100 * (item.std or 0) for item in items],
                "color": "var(--trial)",
                "thickness": 1,
                "width": 0,
            },
            "hovertext": [_effect_hover(item) for item in items],
            "hoverinfo": "text",
            "marker": {**marker, "opacity": [0.4 if item.few else 1.0 for item in items]},
        }

    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            **bars,
            "hoverinfo": "skip",
            "line": {"color": "var(--border)", "width": 4},
        },
        dots(False, color="var(--back)", size=9, line={"width": 2, "color": "var(--other)"}),
        dots(True, color="var(--find)", size=11, symbol="diamond"),
    ]
    layout = _effects_layout(effects, rows, ends, left=max(len(label) for label in labels))
    top, item = labels[0], effects.of(labels[0])
    best, worst = (
        pick((one for one in item if one.accuracy is not None), key=lambda one: one.accuracy or 0)
        for pick in (max, min)
    )
    summary = (
        f"For each of {len(labels)} choices, what its values are worth in points of accuracy. What matters most is "
        f"{top}: {best.value} is worth {signed(100 * (best.accuracy or 0))} and {worst.value} "
        f"{signed(100 * (worst.accuracy or 0))} points. All numbers are in the table below."
    )
    keys = [Key("value of the found network", "find", "◆"), Key("other values", "other", "○")]
    if any(item.few for item in known):
        keys.append(Key("pale: few networks have it", "trial", "○"))
    caption = (
        "Worth of each value, in points of accuracy; lines are standard errors, labels the lowest and highest value"
    )
    return Plot(caption, summary, table, traces, layout, keys=tuple(keys))


def _effect_hover(item: Effect) -> str:
    lines = [
        f"{item.label} = {item.value}",
        f"{signed(100 * (item.accuracy or 0))} ± {100 * (item.std or 0):.2f} points",
    ]
    return plot_lines([*lines, f"{signed_millions(item.macs or 0)} MACs", f"{item.networks} networks"])


def _effects_layout(effects: Effects, rows: dict[str, int], ends: tuple[float, float], left: int) -> dict[str, Any]:
    annotations = []
    for label, row in rows.items():
        of_label = sorted(
            (item for item in effects.of(label) if item.accuracy is not None), key=lambda item: item.accuracy or 0
        )
        for item, anchor, shift, sign in ((of_label[0], "right", -9, -1), (of_label[-1], "left", 9, 1)):
            if len(of_label) == 1 and anchor == "right":
                continue
            reach = 100 * ((item.accuracy or 0) + sign * (item.std or 0))
            annotations.append(
                {
                    "x": reach,
                    "y": row,
                    "text": plot_text(str(item.value), 12),
                    "showarrow": False,
                    "xanchor": anchor,
                    "yanchor": "middle",
                    "xshift": shift,
                    "borderpad": 0,
                    "font": {"size": 11, "color": "var(--find)" if item.found else "var(--muted)"},
                }
            )
    return {
        "height": 24 * len(rows) + 66,
        "margin": {"l": min(8 * left + 14, 150), "r": 14, "t": 8, "b": 46},
        "xaxis": {"range": list(ends), "title": axis_title("points of accuracy"), "nticks": 7, "tickformat": "+"},
        "yaxis": {
            "range": [0.3, len(rows) + 0.7],
            "tickvals": list(rows.values()),
            "ticktext": [plot_text(label, 20) for label in rows],
            "ticks": "",
            "tickfont": {"size": 11},
        },
        "annotations": annotations,
        "shapes": [_level("x", 0.0, "muted")],
    }
