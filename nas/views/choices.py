"""What a search found in a space without architectures: its choices, accuracy and costs, and its place in the table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.text import points
from baselines.views.terminal import Table
from nas.costs.metrics import cost_function, cost_metric
from nas.evaluators.table import TableEvaluator

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.evaluators.base import Evaluator
    from nas.objective import Objective
    from nas.trial import Trial
    from search_spaces import Space


@dataclass(frozen=True)
class Place:
    """Rank of a network among all networks of a table, in the order of `Objective.merit`.

    Attributes:
        rank: 1 for the best; the number of better networks plus 1.
        networks: number of networks in the table.
        lower: number of networks with a lower merit.
    """

    rank: int
    networks: int
    lower: int


def place_in_table(table: TableEvaluator, objective: Objective, trial: Trial) -> Place:
    """The place of a successful trial in the table that it was looked up in."""
    rows = table.rows
    accuracy = np.array([metrics.accuracy for metrics in table.evaluate(table.space.decode_indices(rows))])
    costs = [cost_function(target.cost, table.space)(rows) for target in objective.targets]
    merits = np.asarray(objective.merit(objective.reward(accuracy, costs), costs))
    own = objective.merit(trial.reward, trial.costs)
    tolerance = 1e-12  # rounding
    better, lower = int((merits > own + tolerance).sum()), int((merits < own - tolerance).sum())
    return Place(1 + better, len(rows), lower)


def data(space: Space, evaluator: Evaluator, objective: Objective, trial: Trial) -> dict[str, Any]:
    """A trial as plain data, with its place in the table."""
    assert trial.metrics is not None
    place = place_in_table(evaluator, objective, trial) if isinstance(evaluator, TableEvaluator) else None
    return {
        **trial.metrics._asdict(),
        "costs": _costs(space, trial),
        "genotype": trial.genotype,
        "digest": trial.digest,
        "place": None if place is None else asdict(place),
    }


def text(space: Space, evaluator: Evaluator, objective: Objective, trial: Trial) -> list[RenderableType]:
    """The choices, accuracy and costs as tables, and the place in the table."""
    assert trial.metrics is not None
    table = Table("Choices", [("choice", "left"), ("value", "left"), ("of", "left")])
    for choice in space.decisions:
        table.add_row(choice.label, str(trial.genotype[choice.label]), ", ".join(map(str, choice.values)))
    figures = Table("Accuracy and costs", [("figure", "left"), ("found", "right")])
    figures.add_row("accuracy", points(*trial.metrics))
    for name, cost in _costs(space, trial).items():
        unit = cost_metric(name, space).unit
        figures.add_row(name, f"{cost:,.6g}" if unit == name else f"{cost:,.6g} {unit}")
    lines: list[RenderableType] = [table, figures, f"Accuracy: {evaluator.meaning}."]
    if isinstance(evaluator, TableEvaluator):
        place = place_in_table(evaluator, objective, trial)
        share = math.floor(10_000 * place.lower / place.networks) / 100  # never 100 % by rounding
        among = f"{place.rank:,} of {place.networks:,} measured networks"
        lines.append(f"Rank: {among} under this objective; {share:.2f} % are worse.")
    return lines


def _costs(space: Space, trial: Trial) -> dict[str, float]:
    rows = space.indices([trial.genotype])
    return {name: float(space.cost(name, rows)[0]) for name in space.cost_names}
