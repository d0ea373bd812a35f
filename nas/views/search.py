"""The result of a search, as data and as text: the network found beside published B0, and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import command, counted
from baselines.views import spec as spec_view
from baselines.views.terminal import labelled, pointer
from nas.costs.metrics import cost_metric
from nas.evaluators.table import TableEvaluator
from nas.objective import Objective, cost_text
from nas.views import choices as choices_view
from nas.views import comparison as comparison_view
from search_spaces.plugins import OBJECT, code_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.found import Found


def data(found: Found) -> dict[str, Any]:
    """Settings, counts and the best trial; its spec and comparison with B0, or its choices and place in a table."""
    best = found.best
    run = {"out": str(found.folder), "settings": found.settings.as_dict(), "trials": found.done, "failed": found.failed}
    run["changes"] = [asdict(change) for change in found.changes]
    run["known"] = [known.summary() for known in found.known]
    trial = {"trial": best.number, "reward": best.reward}
    if found.spec is None:
        choices = choices_view.data(found.space, found.evaluator, found.settings.objective, best)
        columns = found.evaluator.columns if isinstance(found.evaluator, TableEvaluator) else None
        return {**run, "best": {**trial, **choices}, "assumed": None if columns is None else asdict(columns)}
    spec = {"genotype": best.genotype, **spec_view.data(found.spec)}
    return {**run, "best": {**trial, **spec}, "comparison": comparison_view.data(found.compare())}


def text(found: Found) -> list[RenderableType]:
    """The network found and its costs, its comparison with B0 or its place in a table, and the next commands."""
    folder = found.folder
    lines = [*_found_lines(found), ""]
    if found.spec is None:
        lines += choices_view.text(found.space, found.evaluator, found.settings.objective, found.best)
        if isinstance(found.evaluator, TableEvaluator) and found.evaluator.columns is not None:
            lines.append(labelled("Assumed:", f"{found.evaluator.columns.text()}."))
        if not found.settings.objective.targets and (names := found.space.cost_names):
            lines.append(labelled("Target:", f"none; use --target COST=VALUE for {' or '.join(names)}."))
        cost = next((target.cost for target in found.settings.objective.targets), None)
        cost = cost or next(iter(found.space.cost_names), None)
        following = [pointer("Next:", _front(found, cost))] if cost else []
    else:
        lines += comparison_view.text(found.compare())
        following = [pointer("Next:", _freeze(found))]
        if not _has_objects(found):
            report = command("report", folder, "--html", "report.html", *code_options(found.settings.names))
            following.append(pointer("Report:", report))
    watch = pointer("Watch:", f"tensorboard --logdir {shlex.quote(str(folder))}")
    return [*lines, pointer("Run:", str(found.folder)), *following, watch]


def _found_lines(found: Found) -> Iterator[RenderableType]:
    """The network found, its costs beside their targets, and the number of failed trials."""
    best, objective = found.best, found.settings.objective
    yield labelled("Found", f"in trial {best.number} of {found.done:,}: reward {best.reward:.5f} ({objective.text()})")
    for target, cost in zip(objective.targets, best.costs, strict=True):
        yield cost_text(cost_metric(target.cost, found.space), target, cost)
    if not objective.meets(best.costs):
        yield missed_text(objective)
    yield from (labelled("Note:", f"{change}.") for change in (*found.known, *found.changes))
    if found.failed:
        failed = f"{found.failed} of {counted(found.done, 'trial')} failed"
        yield pointer(f"{failed}:", command("trials", found.folder, "--failed"))


def _has_objects(found: Found) -> bool:
    """Whether the run was started with Python objects, which commands do not have, since they are other processes."""
    return any(name.startswith(OBJECT) for name in found.settings.names)


def _front(found: Found, cost: str) -> str:
    """How to show the front; in Python if the run was started with objects."""
    if _has_objects(found):
        return f"found.front({cost!r})"
    return command("front", found.folder, "--cost", cost, *code_options(found.settings.names))


def _freeze(found: Found) -> str:
    """How to freeze the network; in Python if the run was started with objects."""
    if _has_objects(found):
        return 'found.freeze("NAME")'
    return command("freeze", found.folder, "--name", "NAME", *code_options(found.settings.names))


def missed_text(objective: Objective) -> str:
    """What it means that the best network is over a target."""
    if objective.form == "hard":
        return "No trial meets the target. More trials may, unless no network of this space meets all targets."
    return "The best network is over its target, which this form of the objective permits."
