"""A `Comparison` as text and as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.spec import BaselineSpec, Figure
from baselines.text import interval_text, millions, points, signed
from baselines.views import spec as spec_view
from baselines.views.spec import convolution_text, stage_text
from baselines.views.terminal import Table, labelled, pointer
from search_spaces import Architecture, part_costs
from search_spaces.architecture import RECIPE_FIELDS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.evidence import Agreement, Comparison, Difference, Judged, Rank


def data(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    reference = comparison.reference.name
    return {
        "evaluator": {"name": comparison.evaluator.name, "meaning": comparison.evaluator.meaning},
        "objective": asdict(comparison.objective),
        "space": comparison.space.name if comparison.space else None,
        "reference": reference,
        "specs": [
            {
                **(spec_view.data(judged.spec) if judged.spec else _bare(judged)),
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
    figures = [asdict(figure) for figure in judged.figures]
    return {"name": judged.name, "macs": judged.macs, "params": judged.params, "figures": figures}


def text(comparison: Comparison) -> list[RenderableType]:
    """Totals, what the differences mean, and the structure."""
    lines: list[RenderableType] = [_totals_table(comparison)]
    for judged, change, shared in zip(comparison.judged, comparison.differences, comparison.agreements, strict=False):
        lines += _sentences(judged, change, shared, comparison)
    lines += [f"{judged.name}: not judged ({judged.refusal})" for judged in comparison.judged if judged.refusal]
    if comparison.how_to_measure:
        lines.append(pointer("Measure all:", comparison.how_to_measure))
    lines += notes(comparison)
    specs = [judged.spec for judged in comparison.judged if judged.spec is not None]
    return [*lines, "", _structure_table(specs)] if specs else lines


def notes(comparison: Comparison) -> Iterator[str]:
    """What the columns of the totals mean."""
    if any(judged.metrics for judged in comparison.judged):
        known = any(judged.metrics and judged.metrics.accuracy_std is not None for judged in comparison.judged)
        yield f"Accuracy: {comparison.evaluator.meaning}" + ("; ± is σ of one training." if known else ".")
        yield "Soft reward: accuracy · (MACs / 400M)^-0.07, as EfficientNet-B0 was searched with."
    if members := max((rank.members for rank in comparison.ranks if rank), default=0):
        yield (
            f"Among random members: share of {members:,} with a lower soft reward, with a 95 % interval for "
            "sampling alone; it does not include the error of the accuracies."
        )
    published = {judged.name: figure for judged in comparison.judged if (figure := _published_top1(judged))}
    for source in dict.fromkeys(figure.source for figure in published.values()):
        names = ", ".join(dict.fromkeys(name for name, figure in published.items() if figure.source == source))
        yield f"Published top-1 of {names}: {source}."


def _structure_table(specs: Sequence[BaselineSpec]) -> Table:
    from rich.text import Text

    costs = [dict(part_costs(spec.architecture)) for spec in specs]
    rows, marked = [], False
    for part, values, texts in _parts([spec.architecture for spec in specs]):
        row: list[str | Text] = [part]
        for value, text, cost in zip(values, texts, costs, strict=True):
            differs = value != values[-1]
            marked |= differs
            row.append(Text(f"≠ {text}", style="bold") if differs else text)
            row.append(millions(cost[part].macs) if part in cost else "")
        rows.append(row)
    columns = [("part", "left")]
    for spec in specs:
        columns += [(spec.name, "left"), ("MACs", "right")]
    table = Table(f"Structure (≠: differs from {specs[-1].name})" if marked else "Structure", columns, group=2)
    for row in rows:
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
    """A row for each network, without columns that are empty for all of them."""
    judged = comparison.judged
    published = [_published_top1(item) for item in judged]
    columns = {
        "MACs": [f"{item.macs:,}" for item in judged],
        "params": [f"{item.params:,}" for item in judged],
        f"{comparison.evaluator.kind} top-1": [points(*item.metrics) if item.metrics else "-" for item in judged],
        "published top-1": [f"{100 * figure.value:.1f} %" if figure else "-" for figure in published],
        "soft reward": ["-" if item.reward is None else f"{item.reward:.5f}" for item in judged],
        "among random members": list(map(_rank_cell, comparison.ranks)),
    }
    shown = {name: cells for name, cells in columns.items() if set(cells) != {"-"}}
    table = Table("Totals", [("network", "left"), *((name, "right") for name in shown)])
    for item, *cells in zip(judged, *shown.values(), strict=True):
        table.add_row(item.name, *cells)
    return table


def _published_top1(judged: Judged) -> Figure | None:
    return next((figure for figure in judged.figures if figure.metric == "top1"), None)


def _rank_cell(rank: Rank | None) -> str:
    if rank is None:
        return "-"
    if rank.percentile == 100:
        return f"above all {rank.members:,}"
    return f"above {rank.percentile:.2f} % {interval_text((rank.low, rank.high))}"


def _sentences(
    judged: Judged, change: Difference, shared: Agreement | None, comparison: Comparison
) -> list[RenderableType]:
    name, reference = judged.name, comparison.reference.name
    ratios = f"MACs ×{change.macs_ratio:.3f}, params ×{change.params_ratio:.3f}."
    lines: list[RenderableType] = [labelled(f"{name} against {reference}:", ratios)]
    if change.accuracy is not None:
        text = f"{comparison.evaluator.kind.capitalize()} top-1 {signed(100 * change.accuracy)} points"
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
