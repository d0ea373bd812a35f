"""What a finished run holds besides its best: the Pareto front, and the best for another target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nas.costs.metrics import cost_function, cost_metric
from nas.objective import Objective
from nas.trial import Trial, best_trial
from search_spaces import SearchSpace


def with_costs(space: SearchSpace, trials: Iterable[Trial], names: Sequence[str]) -> list[Trial]:
    """The successful trials, with these costs instead of those of the run's own targets."""
    done = [trial for trial in trials if trial.metrics is not None]
    rows = space.indices([trial.genotype for trial in done])
    columns = [cost_function(name, space)(rows).tolist() for name in names]
    return [replace(trial, costs=costs) for trial, costs in zip(done, zip(*columns, strict=True), strict=True)]


def pareto_front(space: SearchSpace, trials: Iterable[Trial], cost: str) -> list[Trial]:
    """The trials that no other is at least as good as in accuracy and cost, and better in one; cheapest first.

    Of equal ones, the first. Their ``costs`` hold the one cost.

    Raises:
        MnasError: the cost is unknown, or not predicted for this space.
    """
    done = with_costs(space, trials, [cost])
    values = np.array([trial.costs[0] for trial in done])
    values = -values if cost_metric(cost).higher_is_better else values
    accuracy = np.array([trial.metrics.accuracy for trial in done if trial.metrics])
    front, best = [], -np.inf
    for index in np.lexsort((np.arange(len(done)), -accuracy, values)).tolist():
        if accuracy[index] > best:
            front.append(done[index])
            best = accuracy[index]
    return front


def retargeted(space: SearchSpace, trials: Iterable[Trial], objective: Objective) -> Trial | None:
    """The best trial of a run under another objective, with that objective's reward and costs; nothing is evaluated."""
    done = with_costs(space, trials, [target.cost for target in objective.targets])
    judged = [
        replace(trial, reward=objective.reward(trial.metrics.accuracy, trial.costs)) for trial in done if trial.metrics
    ]
    return best_trial(judged, objective)
