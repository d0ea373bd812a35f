"""Runs at a glance, as data, as rows of CSV and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from baselines.text import command, counted, millions, points
from baselines.views.terminal import Table, labelled, pointer
from nas.views import trials as trial_view
from nas.views.evaluators import evaluator_label, evaluator_name, meaning_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.runs import Run

_UNITS = {"search": "trial", "training": "epoch"}


def data(run: Run) -> dict[str, Any]:
    """Everything that is known about a run, as plain data."""
    return {
        **asdict(run),
        "folder": str(run.folder),
        "best": None if run.best is None else trial_view.data(run.best),
        "last_event": None if run.last_event is None else datetime.fromtimestamp(run.last_event, UTC).isoformat(),
    }


def row(run: Run) -> dict[str, Any]:
    """A run as a flat row: its settings of one value each, and its best trial without the choices."""
    found, settings = data(run), run.settings or {}
    best, accuracy = found.pop("best") or {}, found.pop("accuracy")
    names = ("space", "evaluator", "controller", "seed")
    of_best = ("number", "accuracy", "accuracy_std", "reward", "macs", "params")
    del found["settings"]
    return {
        **found,
        **{name: settings.get(name) for name in names},
        **{f"best_{name}": best.get(name) for name in of_best},
        "best_accuracy": accuracy,
    }


def text(runs: Sequence[Run]) -> list[RenderableType]:
    """A table of the runs, and what the accuracies in it mean."""
    columns = [("run", "left"), ("kind", "left"), ("state", "left"), ("done", "right"), ("evaluator", "left")]
    table = Table("Runs", [*columns, ("best", "right"), ("MACs", "right"), ("trial", "right"), ("last", "right")])
    for run in runs:
        best = run.best
        found = ("" if run.accuracy is None else points(run.accuracy), "", "")
        if best is not None and best.metrics is not None:
            found = (points(*best.metrics), "" if best.macs is None else millions(best.macs), str(best.number))
        last = "" if run.last_event is None else _time(run.last_event)
        evaluator = evaluator_label(evaluator_name(run.settings).partition("?")[0], 24)
        table.add_row(str(run.folder), run.kind, run.state, f"{run.done}/{run.wanted}", evaluator, *found, last)
    failed = [
        pointer(f"{counted(run.failed, 'trial')} failed:", command("trials", run.folder, "--failed"))
        if run.kind == "search"
        else labelled(f"{run.folder}:", f"{counted(run.failed, _UNITS.get(run.kind, 'job'))} failed")
        for run in runs
        if run.failed
    ]
    owners = [labelled(f"{run.folder}:", f"running as {run.owner}") for run in runs if run.owner]
    problems = [labelled(f"{run.folder}:", run.problem) for run in runs if run.problem]
    evaluators = dict.fromkeys(evaluator_name(run.settings) for run in runs if run.settings and run.kind == "search")
    meanings = [f"Accuracy of a search with {evaluator_label(name, 40)}: {meaning_of(name)}." for name in evaluators]
    if any(run.kind == "training" for run in runs):
        meanings.append("Accuracy of a training: top-1 on its validation part, the best of its epochs.")
    return [table, *meanings, *failed, *owners, *problems]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %H:%M")
