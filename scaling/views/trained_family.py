"""A trained family as data, as text and as a page: the paper's Table 8 and Figure 1, on your own images."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, points
from baselines.views.convert import page_parts
from baselines.views.page import Page, Part, Section
from baselines.views.terminal import Table, labelled, pointer
from nas.views import trained_comparison as trained
from scaling.views.trained_figures import Trained, cost_figure, curve_figure, interval_figure, mean_curve

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.studies.contestants import Contestant
    from scaling.studies.family_training import TrainedFamily

MEANING = (
    "± is the spread over seeds. Differences are from the first member, on test, with 95 % intervals for other seeds "
    "and other images of the same kind, under this recipe."
)
_VERDICTS = {"better": "better", "worse": "worse", "tie": "a tie", "unknown": "one seed"}


def data(found: TrainedFamily) -> dict[str, Any]:
    """Everything about a trained family, as plain data."""
    return {
        **trained.data(found.comparison),
        "plan": asdict(found.plan),
        "baseline": found.baseline,
        "members": [asdict(member) for member in found.members],
        "curves": {name: [list(map(list, curve)) for curve in curves] for name, curves in found.curves.items()},
    }


def text(found: TrainedFamily) -> list[RenderableType]:
    """The members and comparators with costs and accuracies, and what the figures mean."""
    compared = found.comparison
    notes = [labelled("Note:", f"{note}.") for note in (*found.notes, *compared.notes)]
    return [
        _table(found),
        labelled("Trained", trained.how(compared.plan, compared.settings)),
        *notes,
        MEANING,
        pointer("Folder:", str(found.folder)),
    ]


def page(found: TrainedFamily) -> Page:
    """The page of a trained family."""
    nets = _nets(found)
    parts = list(page_parts(text(found)[:-1]))
    caption = "Mean top-1 on the test part, with 95 % intervals for other seeds"
    figures: list[Part] = [cost_figure(nets, "MACs"), cost_figure(nets, "params"), interval_figure(nets, caption)]
    sections = [Section("Members", tuple(parts)), Section("Accuracy and cost", tuple(figures))]
    if any(one.curve for one in nets):
        sections.append(Section("Learning curves", (curve_figure(nets),)))
    source = found.comparison.settings.data
    return Page(f"A family of {found.baseline}", f"Trained on {source}.", tuple(sections))


def _ordered(found: TrainedFamily) -> list[Contestant]:
    """Members in order, then comparators."""
    by_name = {one.name: one for one in found.comparison.contestants}
    names = [member.name for member in found.members]
    return [by_name[name] for name in [*names, *(name for name in by_name if name not in names)]]


def _nets(found: TrainedFamily) -> list[Trained]:
    labels = {member.name: member.label for member in found.members}
    return [
        Trained(
            one.name,
            labels.get(one.name, one.name.partition(":")[2] or one.name),
            tuple(one.accuracies),
            {"MACs": one.macs, "params": one.params},
            mean_curve(found.curves[one.name]),
        )
        for one in _ordered(found)
    ]


def _table(found: TrainedFamily) -> Table:
    columns = [("network", "left"), ("depth", "right"), ("width", "right"), ("px", "right"), ("MACs", "right")]
    columns += [("params", "right"), ("activations", "right"), ("epochs", "right"), ("val top-1", "right")]
    columns += [("test top-1", "right"), ("from the first", "right"), ("", "left")]
    members = {member.name: member for member in found.members}
    changes = {one.name: one for one in found.comparison.differences}
    table = Table(f"{found.baseline}: its family after training, {counted(found.plan.seeds, 'seed')}", columns)
    for one in _ordered(found):
        member, change = members.get(one.name), changes.get(one.name)
        difference, verdict = "", ""
        if change is not None:
            difference, verdict = f"{100 * change.mean:+.2f}", _VERDICTS[change.verdict]
            if change.interval is not None:
                low, high = (100 * end for end in change.interval)
                difference += f" ({low:+.2f} to {high:+.2f})"
        table.add_row(
            one.name if member is None else member.label,
            "–" if member is None else f"{member.depth:g}",
            "–" if member is None else f"{member.width:g}",
            str(one.resolution),
            millions(one.macs),
            millions(one.params),
            "–" if member is None else millions(member.activations),
            str(one.epochs),
            "–" if one.val_mean is None else points(one.val_mean, one.val_std),
            points(one.mean, one.std),
            difference,
            verdict,
        )
    return table
