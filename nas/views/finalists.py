"""Finalists of a run as data and as text: its best networks, with their noise and their ties."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, points
from baselines.views.terminal import Table
from nas.views import trials as trial_view
from nas.views.front import freeze_hint

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.objective import Objective
    from nas.studies.finalists import Finalist, Finalists

MOST_FAILURES = 5


def data(found: Finalists) -> dict[str, Any]:
    """The finalists as plain data: their trials, and their repeated measurements."""
    return {
        "noisy": found.evaluator.noisy,
        "objective": asdict(found.objective),
        "finalists": [
            {
                **trial_view.data(finalist.trial),
                "accuracies": finalist.accuracies,
                "accuracy": finalist.accuracy,
                "std": finalist.std,
                "merit": finalist.merit,
                "tie": finalist.tie,
            }
            for finalist in found.finalists
        ],
        "failures": list(found.failures),
    }


def text(found: Finalists, *, allow_code: bool = False) -> list[RenderableType]:
    """A table of the finalists, best first, and what its figures mean."""
    finalists, objective, evaluator = found.finalists, found.objective, found.evaluator
    noisy = evaluator.noisy
    costs = ("MACs", "params") if finalists[0].trial.counts else tuple(target.cost for target in objective.targets)
    numbers = ("trial", *costs, "in the run", "measured again" if noisy else "accuracy")
    table = Table(f"Finalists ({objective.text()})", [*((name, "right") for name in numbers), ("", "left")])
    for finalist in finalists:
        trial = finalist.trial
        assert trial.metrics is not None
        table.add_row(
            str(trial.number),
            *(
                (millions(trial.counts.macs), millions(trial.counts.params))
                if trial.counts
                else (f"{cost:,.4g}" for cost in trial.costs)
            ),
            points(trial.metrics.accuracy),
            "not measured" if noisy and not finalist.accuracies else points(finalist.accuracy, finalist.std),
            _remark(finalist, found),
        )
    lines: list[RenderableType] = [table, f"Accuracy: {evaluator.meaning}."]
    if noisy:
        lines.append("Measured with seeds other than those of the run; ± is σ of the mean.")
    else:
        lines.append("The evaluator is not noisy, so nothing was measured again; ± is its σ.")
    if found.failures:
        lines.append(f"{counted(len(found.failures), 'measurement')} failed:")
        lines += [f"  {line}" for line in found.failures[:MOST_FAILURES]]
        if len(found.failures) > MOST_FAILURES:
            lines.append(f"  and {len(found.failures) - MOST_FAILURES} more (--json shows all)")
    by_target = " among networks that meet the target; the others follow" if _is_limited(objective) else ""
    lines.append(f"Ranked by accuracy minus one σ{by_target}.")
    if _is_limited(objective) and not objective.meets(finalists[0].trial.costs):
        lines.append("None of them meets the target; the nearest comes first.")
    if noisy and any(not finalist.accuracies for finalist in finalists):
        lines.append("A network that could not be measured again is ranked after those that could.")
    if ties := sum(finalist.tie for finalist in finalists):
        noun = "network differs" if ties == 1 else "networks differ"
        lines.append(f"{ties} {noun} from the first by less than the σ of the difference: the cheapest is as good.")
    return [*lines, *freeze_hint(found.folder, finalists[0].trial, allow_code=allow_code)]


def _is_limited(objective: Objective) -> bool:
    return objective.form == "hard" and bool(objective.targets)


def _remark(finalist: Finalist, found: Finalists) -> str:
    if finalist is found.finalists[0]:
        return "first"
    if _is_limited(found.objective) and not found.objective.meets(finalist.trial.costs):
        return "misses the target"
    return "a tie" if finalist.tie else ""
