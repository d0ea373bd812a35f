"""A trained family as data, as text and as a page: the paper's Table 8 and Figure 1, on your own images."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, points, with_interval
from baselines.views.convert import page_parts
from baselines.views.page import Page, Section
from baselines.views.terminal import Table, labelled, pointer
from nas.views import trained_comparison as trained
from nas.views.trained_figures import nets_of, sections
from scaling.views.family import MEMORY, members_table

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
    }


def text(found: TrainedFamily) -> list[RenderableType]:
    """The members and comparators with costs and accuracies, and what the figures mean."""
    compared = found.comparison
    notes = [labelled("Note:", f"{note}.") for note in (*found.notes, *compared.notes)]
    return [
        members_table(found.baseline, found.members),
        _table(found),
        labelled("Trained", trained.how(compared.plan, compared.settings)),
        *notes,
        MEANING,
        MEMORY,
        pointer("Folder:", str(found.folder)),
    ]


def page(found: TrainedFamily) -> Page:
    """The page of a trained family."""
    ordered = _ordered(found)
    costs = {"MACs": {one.name: one.macs for one in ordered}, "params": {one.name: one.params for one in ordered}}
    labels = {member.name: member.label for member in found.members}
    nets = nets_of(replace(found.comparison, contestants=tuple(ordered)), costs, labels)
    members = Section("Members", tuple(page_parts(text(found)[:-1])))
    source = found.comparison.settings.data
    return Page(f"A family of {found.baseline}", f"Trained on {source}.", (members, *sections(nets, list(costs))))


def _ordered(found: TrainedFamily) -> list[Contestant]:
    """Members in order, then comparators."""
    by_name = {one.name: one for one in found.comparison.contestants}
    names = [member.name for member in found.members]
    return [by_name[name] for name in [*names, *(name for name in by_name if name not in names)]]


def _table(found: TrainedFamily) -> Table:
    columns = [("network", "left"), ("px", "right"), ("MACs", "right"), ("params", "right"), ("epochs", "right")]
    columns += [("val top-1", "right"), ("test top-1", "right"), ("from the first", "right"), ("", "left")]
    labels = {member.name: member.label for member in found.members}
    changes = {one.name: one for one in found.comparison.differences}
    table = Table(f"Top-1 after the same training, {counted(found.plan.seeds, 'seed')}", columns)
    for one in _ordered(found):
        change = changes.get(one.name)
        table.add_row(
            labels.get(one.name, one.name),
            str(one.resolution),
            millions(one.macs),
            millions(one.params),
            str(one.epochs),
            "–" if one.val_mean is None else points(one.val_mean, one.val_std),
            points(one.mean, one.std),
            "" if change is None else with_interval(change.mean, change.interval),
            "" if change is None else _VERDICTS[change.verdict],
        )
    return table
