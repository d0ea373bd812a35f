"""A run's Pareto front as data and as text, with its best network for another target."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import COUNTS, command, counted, millions, points
from baselines.views.terminal import Table, pointer
from nas.costs.metrics import cost_metric
from nas.objective import cost_text
from nas.views import trials as trial_view
from nas.views.reproduce import search_command
from search_spaces import StageSpace

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from nas.front import Front
    from nas.trial import Trial


def data(found: Front) -> dict[str, Any]:
    """The front and the best trial for the target, as plain data."""
    result: dict[str, Any] = {
        "cost": asdict(found.metric),
        "front": [trial_view.data(trial) for trial in found.trials],
    }
    if found.objective and found.best:
        objective = {"objective": asdict(found.objective), "trials_near": found.near}
        result["retargeted"] = {**objective, **trial_view.data(found.best)}
    return result


def text(found: Front, folder: Path, *, allow_code: bool = False) -> list[RenderableType]:
    """The front as a table; the best trial for the target, and whether a search there would do better."""
    cost_header = found.metric.unit if isinstance(found.space, StageSpace) else found.metric.name
    columns = [("trial", "right"), (cost_header, "right"), ("accuracy", "right")]
    table = Table(f"Pareto front of {counted(found.done, 'trial')}", columns)
    for trial in found.trials:
        assert trial.metrics is not None
        large = found.metric.name in COUNTS or trial.costs[0] >= 1e6
        cost = millions(trial.costs[0]) if large else f"{trial.costs[0]:,.4g}"
        table.add_row(str(trial.number), cost, points(*trial.metrics))
    lines: list[RenderableType] = [table, f"Accuracy: {found.meaning}."]
    objective, best = found.objective, found.best
    if objective is None or best is None or best.metrics is None:
        return lines
    costs = zip(objective.targets, best.costs, strict=True)
    where = "".join(f", {cost_text(cost_metric(target.cost, found.space), target, cost)}" for target, cost in costs)
    met = "" if objective.form != "hard" or objective.meets(best.costs) else " No trial meets the target."
    lines.append(f"Best ({objective.text()}): trial {best.number}, {points(*best.metrics)}{where}.{met}")
    if found.sparse:
        trials = f"{found.near:,} of {counted(found.done, 'trial')} {'lies' if found.near == 1 else 'lie'}"
        lines.append(
            f"Only {trials} within 10 % below the target, so a search there is likely to find a better network."
        )
        known = [] if objective.form == "calibrated" else [str(folder)]
        lines.append(pointer("Search:", search_command(found.settings, objective, sources=known)))
    return [*lines, *freeze_hint(folder, best, allow_code=allow_code)]


def freeze_hint(folder: Path, trial: Trial, *, allow_code: bool) -> list[RenderableType]:
    """The command that freezes a trial; none for a network without an architecture."""
    if trial.counts is None:
        return []
    code = ["--allow-code"] if allow_code else []
    return [pointer("Next:", command("freeze", folder, "--trial", trial.number, "--name", "NAME", *code))]
