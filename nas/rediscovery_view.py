"""A rediscovery `Study` as a person reads it, as data, and as a plot."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.console import labelled, millions, points, titled_table
from baselines.files import write_new_text
from nas.evaluators.registry import load_evaluator
from nas.rediscovery import REFERENCES, Study, Summary
from search_spaces import MnasError

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#6c3483", "#34495e", "#117a65", "#943126")


def study_data(study: Study) -> dict[str, Any]:
    """Everything of a study as plain data, but for the rewards after each evaluation."""
    data = asdict(study)
    for search in data["searches"]:
        del search["best_rewards"]
    meaning = load_evaluator(study.evaluator, study.space).meaning
    return {**data, "meaning": meaning, "references": list(REFERENCES)}


def study_view(study: Study) -> list[RenderableType]:
    """Two tables, and what they do not say."""
    to_pass = titled_table(
        f"Evaluations to pass B0's reward ({study.reference_reward:.5f})",
        [("controller", "left"), ("passed", "right"), ("median", "right"), ("95 %", "right"), ("quartiles", "right")],
    )
    columns = [("controller", "left"), ("dominates B0", "right"), ("beyond noise", "right")]
    columns += [
        (f"as {name.removeprefix('efficientnet_').removeprefix('mnasnet_').upper()}", "right") for name in REFERENCES
    ]
    nearness = titled_table(
        "The best network of each search (medians)", [*columns, ("accuracy", "right"), ("MACs", "right")]
    )
    for summary in study.summaries:
        to_pass.add_row(*_passing_cells(summary))
        shares = [
            f"{100 * mean:.0f} %" + (f" ({100 * ends[0]:.0f}–{100 * ends[1]:.0f})" if ends else "")
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
    above = f"is above {rank.percentile:.2f} % ({rank.low:.2f}–{rank.high:.2f}) of {rank.members:,} random members."
    notes = (
        f"Choices shared: mean over searches, with its 95 % interval; a random member shares {chance}.",
        (
            "Dominates: a network of the search is as accurate and as small as B0 and better in one. "
            "Beyond noise: its accuracy is higher by more than the σ of the difference."
        ),
        (
            f"{first.seeds} seeds, {study.trials} evaluations each; soft reward accuracy · (MACs / 400M)^-0.07. "
            "Shares have their Wilson interval of 95 %, medians theirs by order statistics."
        ),
        f"Accuracy: {load_evaluator(study.evaluator, study.space).meaning}.",
    )
    return [to_pass, nearness, labelled("B0", above), *notes]


def _passing_cells(summary: Summary) -> tuple[str, ...]:
    def text(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f}"

    ends = summary.evaluations_interval
    interval = "–".join(map(text, ends)) if ends else "-"
    quartiles = "–".join(map(text, summary.quartiles))
    return summary.controller, _percent(summary.passed), text(summary.evaluations), interval, quartiles


def _percent(share: tuple[float, float, float]) -> str:
    mean, low, high = (100 * value for value in share)
    return f"{mean:.0f} % ({low:.0f}–{high:.0f})"


def write_study_figure(study: Study, file: Path) -> None:
    """Draw the best reward against evaluations, median and quartiles of each controller, as one HTML file.

    Raises:
        MnasError: plotly is missing, or the file is there already or cannot be written.
    """
    try:
        from plotly.graph_objects import Figure, Scatter
    except ImportError:
        raise MnasError("html: plotly is not installed; pip install 'mnas[html]'") from None

    figure = Figure()
    shade: dict[str, Any] = {"fill": "toself", "opacity": 0.15, "line": {"width": 0}, "showlegend": False}
    for index, summary in enumerate(study.summaries):
        curves = [search.best_rewards for search in study.searches if search.controller == summary.controller]
        # A search that ended early, because its space was used up, keeps what it had.
        rewards = np.array([(*curve, *[curve[-1]] * (study.trials - len(curve))) for curve in curves])
        low, middle, high = np.nanquantile(rewards, (0.25, 0.5, 0.75), axis=0)
        x, colour = np.arange(1, study.trials + 1), _COLOURS[index % len(_COLOURS)]
        band = {"x": np.concatenate([x, x[::-1]]), "y": np.concatenate([high, low[::-1]])}
        figure.add_trace(Scatter(**band, **shade, fillcolor=colour))
        figure.add_trace(Scatter(x=x, y=middle, name=summary.controller, line={"color": colour, "width": 2}))
    figure.add_hline(
        y=study.reference_reward,
        line={"dash": "dot", "color": "#7f8c8d"},
        annotation_text="EfficientNet-B0",
        annotation_position="top left",
    )
    seeds = study.summaries[0].seeds
    meaning = load_evaluator(study.evaluator, study.space).meaning
    title = f"Best soft reward against evaluations: median and quartiles of {seeds} seeds<br><sub>{meaning}</sub>"
    figure.update_layout(title={"text": title, "font": {"size": 15}}, template="plotly_white", height=600)
    span = (study.reference_reward - 0.02, max(search.reward for search in study.searches) + 0.002)
    figure.update_yaxes(title_text="accuracy · (MACs / 400M)^-0.07", range=span)
    figure.update_xaxes(type="log", title_text="evaluations")
    write_new_text(file, figure.to_html(include_plotlyjs=True, full_html=True), field="html")
