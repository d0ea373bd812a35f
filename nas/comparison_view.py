"""A `Comparison` as a person reads it and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.console import labelled, points, titled_table
from baselines.report import describe, operator
from nas.evidence import PUBLISHED_OBJECTIVE, Agreement, Comparison, Difference, Judged, Rank
from search_spaces import Stage

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Everything of a comparison as plain data."""
    reference = comparison.reference.spec.name
    return {
        "evaluator": {"name": comparison.evaluator.name, "meaning": comparison.evaluator.meaning},
        "objective": asdict(PUBLISHED_OBJECTIVE),
        "space": comparison.space.name if comparison.space else None,
        "reference": reference,
        "specs": [
            {
                **describe(judged.spec),
                "predicted": judged.metrics._asdict() if judged.metrics else None,
                "refusal": judged.refusal,
                "reward": judged.reward,
                "rank": asdict(rank) if rank else None,
            }
            for judged, rank in zip(comparison.judged, comparison.ranks, strict=True)
        ],
        "differences": [
            {
                "spec": judged.spec.name,
                "reference": reference,
                **asdict(change),
                "beyond_noise": change.beyond_noise,
                "agreement": asdict(shared) if shared else None,
            }
            for judged, change, shared in zip(
                comparison.judged, comparison.differences, comparison.agreements, strict=False
            )
        ],
    }


def comparison_view(comparison: Comparison) -> list[RenderableType]:
    """Tables and lines: structure, totals, and what the differences mean."""
    lines: list[RenderableType] = [_structure_table(comparison), _totals_table(comparison)]
    for judged, change, shared in zip(comparison.judged, comparison.differences, comparison.agreements, strict=False):
        lines += _sentences(judged, change, shared, comparison)
    lines += [f"{judged.spec.name}: no prediction ({judged.refusal})" for judged in comparison.judged if judged.refusal]
    if any(judged.metrics for judged in comparison.judged):
        lines.append(f"Accuracy: {comparison.evaluator.meaning}; ± is σ of one training.")
        lines.append("Soft reward: accuracy · (MACs / 400M)^-0.07, as EfficientNet-B0 was searched with.")
    return lines


def _structure_table(comparison: Comparison) -> Table:
    from rich.text import Text

    names = [judged.spec.name for judged in comparison.judged]
    table = titled_table("Structure", [("part", "left"), *((name, "left") for name in names)])
    nets = [judged.spec.architecture for judged in comparison.judged]
    rows = [("input", [f"{net.resolution} px" for net in nets])]
    rows.append(("stem", [f"{net.stem.out_channels} ch" for net in nets]))
    for index in range(max(len(net.stages) for net in nets)):
        cells = [_stage_cell(net.stages[index]) if index < len(net.stages) else "-" for net in nets]
        rows.append((f"stages.{index}", cells))
    rows.append(("head", [f"{net.head.out_channels} ch, {net.num_classes} classes" for net in nets]))
    for part, cells in rows:
        table.add_row(part, *(Text(cell) if cell == cells[-1] else Text(f"{cell} ≠", style="bold") for cell in cells))
    return table


def _stage_cell(stage: Stage) -> str:
    return f"{operator(stage)}, {stage.out_channels} ch, ×{stage.num_layers}"


def _totals_table(comparison: Comparison) -> Table:
    names = [judged.spec.name for judged in comparison.judged]
    table = titled_table("Totals", [("", "left"), *((name, "right") for name in names)])
    judged = comparison.judged
    table.add_row("MACs", *(f"{item.macs:,}" for item in judged))
    table.add_row("params", *(f"{item.params:,}" for item in judged))
    table.add_row("predicted top-1", *(points(*item.metrics) if item.metrics else "-" for item in judged))
    table.add_row("soft reward", *("-" if item.reward is None else f"{item.reward:.5f}" for item in judged))
    table.add_row("among random members", *map(_rank_cell, comparison.ranks))
    return table


def _rank_cell(rank: Rank | None) -> str:
    if rank is None:
        return "-"
    if rank.percentile == 100:
        return f"above all {rank.members:,}"
    return f"above {rank.percentile:.2f} % ({rank.low:.2f}–{rank.high:.2f})"


def _sentences(
    judged: Judged, change: Difference, shared: Agreement | None, comparison: Comparison
) -> list[RenderableType]:
    name, reference = judged.spec.name, comparison.reference
    ratios = f"MACs ×{change.macs_ratio:.3f}, params ×{change.params_ratio:.3f}."
    lines: list[RenderableType] = [labelled(f"{name} against {reference.spec.name}:", ratios)]
    if change.accuracy is not None:
        text = f"Predicted top-1 {100 * change.accuracy:+.2f} points"
        if change.accuracy_std is not None:
            verdict = "larger than its σ" if change.beyond_noise else "inside its σ: a tie"
            text += f" ± {100 * change.accuracy_std:.2f}, {verdict}"
        lines.append(f"{text}.")
    if shared is not None and comparison.space is not None:
        lines.append(
            f"Shares {shared.shared} of {shared.choices} choices of the space {comparison.space.name}; "
            f"a random member shares {shared.chance:.1f}."
        )
    return lines
