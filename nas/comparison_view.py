"""A `Comparison` as a person reads it and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.console import labelled, millions, points, titled_table
from baselines.report import convolution_text, describe, stage_text
from baselines.spec import BaselineSpec
from nas.evidence import PUBLISHED_OBJECTIVE, Agreement, Comparison, Difference, Judged, Rank
from search_spaces import Architecture, part_costs
from search_spaces.architecture import RECIPE_FIELDS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """Everything of a comparison as plain data."""
    reference = comparison.reference.name
    return {
        "evaluator": {"name": comparison.evaluator.name, "meaning": comparison.evaluator.meaning},
        "objective": asdict(PUBLISHED_OBJECTIVE),
        "space": comparison.space.name if comparison.space else None,
        "reference": reference,
        "specs": [
            {
                **(describe(judged.spec) if judged.spec else _bare(judged)),
                "predicted": judged.metrics._asdict() if judged.metrics else None,
                "refusal": judged.refusal,
                "reward": judged.reward,
                "rank": asdict(rank) if rank else None,
            }
            for judged, rank in zip(comparison.judged, comparison.ranks, strict=True)
        ],
        "differences": [
            {
                "spec": judged.name,
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


def _bare(judged: Judged) -> dict[str, Any]:
    return {"name": judged.name, "macs": judged.macs, "params": judged.params}


def comparison_view(comparison: Comparison) -> list[RenderableType]:
    """Tables and lines: structure, totals, and what the differences mean."""
    specs = [judged.spec for judged in comparison.judged if judged.spec is not None]
    lines: list[RenderableType] = [_structure_table(specs)] if specs else []
    lines.append(_totals_table(comparison))
    for judged, change, shared in zip(comparison.judged, comparison.differences, comparison.agreements, strict=False):
        lines += _sentences(judged, change, shared, comparison)
    lines += [f"{judged.name}: not judged ({judged.refusal})" for judged in comparison.judged if judged.refusal]
    if any(judged.metrics for judged in comparison.judged):
        known = any(judged.metrics and judged.metrics.accuracy_std is not None for judged in comparison.judged)
        lines.append(f"Accuracy: {comparison.evaluator.meaning}" + ("; ± is σ of one training." if known else "."))
        lines.append("Soft reward: accuracy · (MACs / 400M)^-0.07, as EfficientNet-B0 was searched with.")
    if members := max((rank.members for rank in comparison.ranks if rank), default=0):
        lines.append(
            f"Among random members: share of {members:,} with a lower soft reward, with the 95 % interval of "
            "sampling alone; the error of the accuracies is not in it."
        )
    return lines


def _structure_table(specs: Sequence[BaselineSpec]) -> Table:
    from rich.text import Text

    columns = [("part", "left")]
    for spec in specs:
        columns += [(spec.name, "left"), ("MACs", "right")]
    table = titled_table("Structure (≠: differs from the last one)", columns)
    costs = [dict(part_costs(spec.architecture)) for spec in specs]
    for part, values, texts in _parts([spec.architecture for spec in specs]):
        row: list[RenderableType] = [part]
        for value, text, cost in zip(values, texts, costs, strict=True):
            row.append(Text(text) if value == values[-1] else Text(f"{text} ≠", style="bold"))
            row.append(millions(cost[part].macs) if part in cost else "")
        table.add_row(*row)
    return table


def _parts(nets: list[Architecture]) -> Iterator[tuple[str, list[object], list[str]]]:
    """Name, values that must be equal, and texts of each part of some networks."""
    inputs = [(net.resolution, net.activation, net.padding) for net in nets]
    texts = [
        f"{side} px, {activation}" + (", SAME" if padding == "same" else "") for side, activation, padding in inputs
    ]
    yield "input", [*inputs], texts
    yield "stem", [net.stem for net in nets], [convolution_text(net.stem) for net in nets]
    for index in range(max(len(net.stages) for net in nets)):
        stages = [net.stages[index] if index < len(net.stages) else None for net in nets]
        yield f"stages.{index}", [*stages], ["-" if stage is None else stage_text(stage) for stage in stages]
    yield "head", [net.head for net in nets], [convolution_text(net.head) for net in nets]
    yield "classifier", [net.num_classes for net in nets], [f"{net.num_classes} classes" for net in nets]
    recipes = [tuple(getattr(net, name) for name in RECIPE_FIELDS) for net in nets]
    if len(set(recipes)) > 1:
        names = ("dropout", "drop-connect", "BN momentum", "BN ε")
        texts = [
            ", ".join(f"{name} {value:g}" for name, value in zip(names, recipe, strict=True)) for recipe in recipes
        ]
        yield "training", [*recipes], texts


def _totals_table(comparison: Comparison) -> Table:
    names = [judged.name for judged in comparison.judged]
    table = titled_table("Totals", [("", "left"), *((name, "right") for name in names)])
    judged = comparison.judged
    for column in table.columns:
        column.no_wrap = False
    table.add_row("MACs", *(f"{item.macs:,}" for item in judged))
    table.add_row("params", *(f"{item.params:,}" for item in judged))
    table.add_row(
        f"{comparison.evaluator.kind} top-1", *(points(*item.metrics) if item.metrics else "-" for item in judged)
    )
    if any(published := [_published_top1(item) for item in judged]):
        table.add_row("published top-1", *(f"{100 * value:.1f} %" if value else "-" for value in published))
    table.add_row("soft reward", *("-" if item.reward is None else f"{item.reward:.5f}" for item in judged))
    table.add_row("among random members", *map(_rank_cell, comparison.ranks))
    return table


def _published_top1(judged: Judged) -> float | None:
    figures = judged.spec.figures if judged.spec else ()
    return next((f.value for f in figures if (f.metric, f.kind) == ("top1", "published")), None)


def _rank_cell(rank: Rank | None) -> str:
    if rank is None:
        return "-"
    if rank.percentile == 100:
        return f"above all {rank.members:,}"
    return f"above {rank.percentile:.2f} % ({rank.low:.2f}–{rank.high:.2f})"


def _sentences(
    judged: Judged, change: Difference, shared: Agreement | None, comparison: Comparison
) -> list[RenderableType]:
    name, reference = judged.name, comparison.reference.name
    ratios = f"MACs ×{change.macs_ratio:.3f}, params ×{change.params_ratio:.3f}."
    lines: list[RenderableType] = [labelled(f"{name} against {reference}:", ratios)]
    if change.accuracy is not None:
        text = f"{comparison.evaluator.kind.capitalize()} top-1 {100 * change.accuracy:+.2f} points"
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
