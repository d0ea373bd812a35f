"""A `Rediscovery` as text, as data, and as a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted, interval_text, millions, points
from baselines.views.convert import page_parts
from baselines.views.page import Column, Key, Page, Plot, Section, Table, axis_title, log_axis, plot_lines
from baselines.views.terminal import Table as TerminalTable
from baselines.views.terminal import labelled
from nas.evaluators.registry import load_evaluator
from nas.studies.rediscovery import REFERENCES, Rediscovery, Summary

if TYPE_CHECKING:
    from rich.console import RenderableType

Floats = NDArray[np.float64]


def study_data(study: Rediscovery) -> dict[str, Any]:
    """A study as plain data, without the rewards after each evaluation."""
    data = asdict(study)
    for search in data["searches"]:
        del search["best_rewards"]
    meaning = load_evaluator(study.evaluator, study.space).meaning
    return {**data, "meaning": meaning, "references": list(REFERENCES)}


def study_view(study: Rediscovery) -> list[RenderableType]:
    """Two tables, and notes on how to read them."""
    to_pass = TerminalTable(
        f"Evaluations to pass B0's reward ({study.reference_reward:.5f})",
        [("controller", "left"), ("passed", "right"), ("median", "right"), ("95 %", "right"), ("quartiles", "right")],
    )
    columns = [("controller", "left"), ("dominates B0", "right"), ("beyond noise", "right")]
    columns += [
        (f"as {name.removeprefix('efficientnet_').removeprefix('mnasnet_').upper()}", "right") for name in REFERENCES
    ]
    nearness = TerminalTable(
        "The best network of each search (medians)", [*columns, ("accuracy", "right"), ("MACs", "right")]
    )
    for summary in study.summaries:
        to_pass.add_row(*_passing_cells(summary))
        shares = [
            f"{100 * mean:.0f} %" + (f" {interval_text((100 * ends[0], 100 * ends[1]), 0)}" if ends else "")
            for mean, ends, _ in summary.agreements
        ]
        nearness.add_row(
            summary.controller,
            _percent(summary.dominates),
            _percent(summary.dominates_beyond_noise),
            *shares,
            points(summary.accuracy),
            millions(summary.macs),
        )
    rank, first = study.reference_rank, study.summaries[0]
    chance = ", ".join(
        f"{100 * by_chance:.0f} % with {name}"
        for name, (_, _, by_chance) in zip(REFERENCES, first.agreements, strict=True)
    )
    above = (
        f"is above {rank.percentile:.2f} % {interval_text((rank.low, rank.high))} of {rank.members:,} random members."
    )
    notes = (
        f"Choices shared: mean over searches, with its 95 % interval; a random member shares {chance}.",
        (
            "Dominates: a network of the search is as accurate and as small as B0 and better in one. "
            "Beyond noise: its accuracy is higher by more than the σ of the difference."
        ),
        (
            f"{counted(first.seeds, 'seed')}, {counted(study.trials, 'evaluation')} each; "
            "soft reward accuracy · (MACs / 400M)^-0.07. "
            "Shares have 95 % Wilson intervals, medians 95 % intervals from order statistics."
        ),
        f"Accuracy: {load_evaluator(study.evaluator, study.space).meaning}.",
    )
    return [to_pass, nearness, labelled("B0", above), *notes]


def _passing_cells(summary: Summary) -> tuple[str, ...]:
    def text(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f}"

    ends = summary.evaluations_interval
    interval = f"[{', '.join(map(text, ends))}]" if ends else "-"
    quartiles = "–".join(map(text, summary.quartiles))
    return summary.controller, _percent(summary.passed), text(summary.evaluations), interval, quartiles


def _percent(share: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in share)
    return f"{mean:.0f} % {interval_text((low, high), 0)}"


def write_study_figure(study: Rediscovery, file: Path) -> None:
    """Write the study as a page: the best reward against evaluations, and the tables of the terminal.

    Raises:
        MnasError: plotly is missing, or the file already exists or cannot be written.
    """
    study_page(study).write(file)


def study_page(study: Rediscovery) -> Page:
    """The study as a page."""
    parts = list(page_parts(study_view(study)))
    seeds = study.summaries[0].seeds
    meaning = load_evaluator(study.evaluator, study.space).meaning
    figure = _figure(study)
    return Page(
        "How near searches come to EfficientNet-B0",
        f"{counted(len(study.summaries), 'controller')}, {counted(seeds, 'seed')} of each, "
        f"{study.trials:,} evaluations a search. "
        f"Accuracy: {meaning}.",
        (Section("How soon", (figure,)), Section("How near", tuple(parts))),
    )


def _figure(study: Rediscovery) -> Plot:
    """Best reward against evaluations: the median of each controller's seeds, between its quartiles."""
    x = np.arange(1, study.trials + 1)
    # Even steps on the logarithmic axis: a page does not need each of ten thousand evaluations.
    kept = np.unique(np.geomspace(1, study.trials, 300).round().astype(int)) - 1
    traces: list[dict[str, Any]] = []
    keys, rows, last = [], [], []
    for index, summary in enumerate(study.summaries, start=1):
        low, middle, high = _quartiles(study, summary.controller)
        colour = f"series-{(index - 1) % 8 + 1}"
        traces += _band(x[kept], low[kept], middle[kept], high[kept], f"var(--{colour})", summary.controller)
        keys.append(Key(summary.controller, colour, "━"))
        last.append((float(middle[-1]), summary.controller))
        for count in (
            round(study.trials * share) for share in (0.02, 0.05, 0.1, 0.2, 0.5, 1) if study.trials * share >= 1
        ):
            cells = (f"{of[count - 1]:.5f}" if np.isfinite(of[count - 1]) else "-" for of in (low, middle, high))
            rows.append((summary.controller, f"{count:,}", *cells))
    keys.append(Key(f"EfficientNet-B0, {study.reference_reward:.5f}", "other", "╌"))
    best, name = max(last)
    headers = ("lower quartile", "median", "upper quartile")
    columns = (Column("controller"), Column("evaluations", True), *(Column(header, True) for header in headers))
    span = [study.reference_reward - 0.02, max(search.reward for search in study.searches) + 0.002]
    dashed = {"dash": "dash", "width": 1.5, "color": "var(--other)"}
    level = {"type": "line", "xref": "x domain", "x0": 0, "x1": 1, "line": dashed}
    return Plot(
        "Best soft reward against evaluations: median of the searches, and between quartiles",
        f"A line for each of {len(study.summaries)} controllers. After {study.trials:,} evaluations {name} has the "
        f"highest median, {best:.5f}; EfficientNet-B0 has {study.reference_reward:.5f}.",
        Table("Best soft reward of the searches", columns, tuple(rows)),
        traces,
        {
            "height": 460,
            "margin": {"l": 68, "r": 14, "t": 12, "b": 46},
            "xaxis": log_axis(1, max(study.trials, 2), "evaluations"),
            "yaxis": {"range": span, "title": axis_title("soft reward"), "nticks": 8, "tickformat": ".3f"},
            "shapes": [{**level, "y0": study.reference_reward, "y1": study.reference_reward}],
        },
        keys=tuple(keys),
    )


def _quartiles(study: Rediscovery, controller: str) -> tuple[Floats, Floats, Floats]:
    """Lower quartile, median and upper quartile of the best rewards of a controller's searches: shapes (trials,)."""
    curves = [search.best_rewards for search in study.searches if search.controller == controller]
    # A search that ended early, because its space was exhausted, keeps its last value.
    rewards = np.array([(*curve, *[curve[-1]] * (study.trials - len(curve))) for curve in curves])
    low, middle, high = np.nanquantile(rewards, (0.25, 0.5, 0.75), axis=0)
    return low, middle, high


def _band(x: Any, low: Floats, middle: Floats, high: Floats, colour: str, name: str) -> list[dict[str, Any]]:
    """Traces of a line and the area between its quartiles; positions without a value are left out."""
    known = np.isfinite(middle)
    x, low, middle, high = x[known], low[known], middle[known], high[known]
    area = {"x": np.concatenate([x, x[::-1]]).tolist(), "y": np.concatenate([high, low[::-1]]).round(6).tolist()}
    texts = [(name, f"{count:,} evaluations", f"{value:.5f}") for count, value in zip(x, middle, strict=True)]
    line = {"x": x.tolist(), "y": middle.round(6).tolist(), "line": {"color": colour, "width": 2.5}, "mode": "lines"}
    shade = {"fill": "toself", "fillcolor": colour, "opacity": 0.15, "line": {"width": 0}, "hoverinfo": "skip"}
    return [
        {"type": "scatter", "mode": "lines", **area, **shade},
        {"type": "scatter", **line, "hovertext": list(map(plot_lines, texts)), "hoverinfo": "text"},
    ]
