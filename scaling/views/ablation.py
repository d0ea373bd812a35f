"""An ablation of scaling rules as data, as text and as a page."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, points, with_interval
from baselines.views.convert import page_parts
from baselines.views.page import Page, Picture, Section
from baselines.views.terminal import Table, labelled, pointer
from nas.views import trained_comparison as trained
from nas.views.trained_figures import nets_of, sections
from scaling.lattice import Growth

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scaling.studies.ablation import Ablation

_MEANING = {"best": "best", "tie": "a tie", "worse": "worse", "unknown": "one seed"}


def data(found: Ablation) -> dict[str, Any]:
    """Everything about an ablation, as plain data."""
    return {
        **trained.data(found.comparison),
        "plan": asdict(found.plan),
        "answer": found.answer,
        "ties": list(found.ties),
        "detectable": found.detectable,
        "variants": [asdict(variant) for variant in found.variants],
        "standings": [asdict(one) for one in found.standings],
    }


def text(found: Ablation) -> list[RenderableType]:
    """The answer, the variants, their accuracies, and how far each is from the best."""
    return [
        labelled("Is compound scaling better here?", found.answer),
        _variants(found),
        _accuracies(found),
        *_notes(found),
        pointer("Folder:", str(found.folder)),
    ]


def _variants(found: Ablation) -> Table:
    """What each rule made of the baseline."""
    columns = [("rule", "left"), ("depth", "right"), ("width", "right"), ("px", "right")]
    columns += [("MACs", "right"), ("params", "right"), ("activations", "right")]
    columns += [("grows MACs by d·w·r", "right"), ("shares, %", "right"), ("rule's shares, %", "right")]
    table = Table(f"{found.baseline.name}, scaled to {_budget(found)}", columns)
    for one in found.variants:
        counts = (millions(one.macs), millions(one.params), millions(one.activations))
        growth = " · ".join(f"{value:.2f}" for value in one.growth)
        shares = (_shares(Growth(*one.growth)), _shares(Growth(*one.ideal)))
        table.add_row(
            found.label(one.name), f"{one.depth:g}", f"{one.width:g}", str(one.resolution), *counts, growth, *shares
        )
    base = found.baseline
    counts = (millions(base.macs), millions(base.params), millions(found.activations))
    table.add_row("baseline", "1", "1", str(base.resolution), *counts, "", "", "")
    return table


def _accuracies(found: Ablation) -> Table:
    """Accuracies, and the difference of each variant from the best and from the baseline."""
    columns = [("rule", "left"), ("val top-1", "right"), ("test top-1", "right")]
    columns += [("from the best", "right"), ("", "left"), ("from the baseline", "right")]
    table = Table(f"Top-1 after the same training, {counted(found.plan.seeds, 'seed')}", columns)
    trained_by_name = {one.name: one for one in found.comparison.contestants}
    from_base = {one.name: one for one in found.comparison.differences}
    for stand in found.standings:
        one = trained_by_name[stand.name]
        base = from_base[stand.name]
        table.add_row(
            found.variant(stand.name).rule,
            "–" if one.val_mean is None else points(one.val_mean, one.val_std),
            points(one.mean, one.std),
            with_interval(stand.difference, stand.interval),
            _MEANING[stand.verdict],
            with_interval(base.mean, base.interval),
        )
    one = found.baseline
    val = "–" if one.val_mean is None else points(one.val_mean, one.val_std)
    table.add_row("baseline", val, points(one.mean, one.std), "", "", "")
    return table


def _notes(found: Ablation) -> list[RenderableType]:
    """How it was trained, what could have been detected, and what is unfair."""
    compared = found.comparison
    notes: list[RenderableType] = [labelled("Trained", trained.how(compared.plan, compared.settings))]
    if found.detectable is not None:
        notes.append(
            labelled(
                "Smallest difference that this can tell from chance:",
                f"about {100 * found.detectable:.2f} points between two variants, every second time.",
            )
        )
    departing = [one for one in found.variants if one.departure > 0.1]
    if departing:
        names = ", ".join(f"{one.rule} {one.departure:.2f}" for one in departing)
        notes.append(
            labelled(
                "Note:",
                f"layers, channels and pixels move in steps, so at equal cost some variants depart from their rule's "
                f"shares (in log MACs: {names}).",
            )
        )
    if found.plan.regularise == "published":
        drop = found.variants[0].dropout
        notes.append(
            labelled(
                "Note:",
                f"variants have a dropout of {drop:g}, as published for this growth from B0; the baseline its own.",
            )
        )
    notes += [labelled("Note:", f"{note}.") for note in (*found.notes, *compared.notes)]
    notes.append(
        "Intervals are at 95 %, for other seeds and other images of the same kind, under this recipe; those from the "
        "best hold for all variants at once."
    )
    return notes


def page(found: Ablation) -> Page:
    """The page of an ablation."""
    answer, *rest = page_parts(text(found)[:-1])
    base, variants = found.baseline, found.variants
    costs = {
        "MACs": {one.name: one.macs for one in variants} | {base.name: base.macs},
        "activations": {one.name: one.activations for one in variants} | {base.name: found.activations},
    }
    labels = {one.name: one.rule for one in variants} | {base.name: "baseline"}
    nets = nets_of(found.comparison, costs, labels)
    parts = [Section("Answer", (answer, *rest)), *sections(nets, list(costs))]
    maps = found.folder / found.maps
    if maps.is_file():
        about = "Class activation maps of the baseline and all variants (seed 0), as in the paper's Figure 7"
        parts.append(Section("Where the networks look", (Picture(about, maps.read_bytes()),)))
    source = found.comparison.settings.data
    return Page(f"Scaling {found.baseline.name}: {_budget(found)}", f"Trained on {source}.", tuple(parts))


def _budget(found: Ablation) -> str:
    equal = found.plan.equal
    return found.plan.target + (f", equal {equal}" if equal and not found.plan.target.startswith(equal) else "")


def _shares(growth: Growth) -> str:
    shares = growth.shares()
    return "–" if shares is None else " / ".join(f"{round(100 * share)}" for share in shares)
