"""A trained comparison as data and as text: top-1 of each network, and what the differences mean."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, points, signed
from baselines.views.convert import page_parts
from baselines.views.page import Page, Section
from baselines.views.terminal import Table, labelled, pointer
from nas.views.trained_figures import nets_of, sections

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from baselines.training.settings import TrainingSettings
    from nas.studies.contestants import Contestant, PairedDifference
    from nas.studies.trained_comparison import Plan, TrainedComparison

_VERDICTS = {"better": "it is better", "worse": "it is worse", "tie": "a tie"}


def data(compared: TrainedComparison) -> dict[str, Any]:
    """Everything about a trained comparison, as plain data."""
    settings = compared.settings
    return {
        "out": str(compared.folder),
        **asdict(compared.plan),
        "recipe": asdict(settings.recipe),
        "data": {
            "source": settings.data,
            "fingerprint": settings.fingerprint,
            "sides": settings.sides or None,
            "fit": settings.fit,
        },
        "networks": [
            {
                "name": one.name,
                "resolution": one.resolution,
                "macs": one.macs,
                "params": one.params,
                "epochs": one.epochs,
                "top1": one.accuracies,
                "mean": one.mean,
                "std": one.std,
                "val_top1": one.val_accuracies,
                "val_mean": one.val_mean,
                "val_std": one.val_std,
            }
            for one in compared.contestants
        ],
        "differences": [{**asdict(one), "verdict": one.verdict} for one in compared.differences],
        "notes": list(compared.notes),
        "curves": {name: [list(map(list, curve)) for curve in curves] for name, curves in compared.curves.items()},
    }


def text(compared: TrainedComparison) -> list[RenderableType]:
    """A table of the networks, a sentence for each difference, and what the figures mean."""
    found, plan, folder = compared.contestants, compared.plan, compared.folder
    return [
        labelled("Trained", how(plan, compared.settings)),
        _table(found),
        *(_sentence(one, plan) for one in compared.differences),
        *(labelled("Note:", f"{note}.") for note in compared.notes),
        f"Top-1 on {counted(found[-1].hits.shape[1], 'test image')}, which no training saw"
        + ("." if all(one.std is None for one in found) else "; ± is the spread over seeds."),
        "The interval is for other seeds and other images of the same kind, under this recipe.",
        pointer("Folder:", str(folder)),
        pointer("Watch:", f"tensorboard --logdir {shlex.quote(str(folder))}"),
    ]


def page(compared: TrainedComparison) -> Page:
    """The page of a trained comparison."""
    found = compared.contestants
    costs = {
        "MACs": {one.name: one.macs for one in found},
        "params": {one.name: one.params for one in found},
    }
    parts = tuple(page_parts(text(compared)[:-2]))
    nets = nets_of(compared, costs, {})
    title, about = f"{counted(len(found) - 1, 'network')} beside {found[-1].name}", compared.settings.data
    return Page(title, f"Trained on {about}.", (Section("Answer", parts), *sections(nets, list(costs))))


def how(plan: Plan, settings: TrainingSettings) -> str:
    """How all networks were trained, and on what."""
    recipe = settings.recipe
    equal = "epochs by MACs" if plan.equal == "macs" else counted(recipe.epochs, "epoch")
    parts = f" in {settings.micro_batches} parts" if settings.micro_batches > 1 else ""
    seeds = f"seeds 0 to {plan.seeds - 1}" if plan.seeds > 1 else "seed 0"
    return f"on {settings.data}: {equal}, {recipe.batch} images in a step{parts}, {seeds}"


def _table(found: Sequence[Contestant]) -> Table:
    columns = [("network", "left"), ("px", "right"), ("MACs", "right"), ("params", "right"), ("epochs", "right")]
    columns += [("total MACs", "right"), ("val top-1", "right"), ("test top-1", "right")]
    spent = found[-1].macs * found[-1].epochs
    table = Table("Top-1 on the validation and the test part", [*columns, ("test of each seed, %", "left")])
    for one in found:
        each = ", ".join(f"{100 * value:.2f}" for value in one.accuracies)
        counts = (str(one.resolution), millions(one.macs), millions(one.params), str(one.epochs))
        total = f"×{one.macs * one.epochs / spent:.2f}"
        val = "–" if one.val_mean is None else points(one.val_mean, one.val_std)
        table.add_row(one.name, *counts, total, val, points(one.mean, one.std), each)
    return table


def _sentence(difference: PairedDifference, plan: Plan) -> Text:
    """A difference, its interval and what it means, as a sentence."""
    side = "above" if difference.mean >= 0 else "below"
    size = f"{100 * abs(difference.mean):.2f} points {side} {difference.reference}"
    if difference.interval is None:
        return labelled(f"{difference.name}:", f"{size} with one seed; use --seeds 3 or more to tell it from chance")
    ends = ", ".join(signed(100 * end) for end in difference.interval)
    pairs = f"{plan.seeds} pairs with equal seeds"
    meaning = _VERDICTS[difference.verdict]
    return labelled(f"{difference.name}:", f"{size} (95 % interval [{ends}], {pairs}); {meaning}")
