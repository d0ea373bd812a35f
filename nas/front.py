"""The Pareto front of a run, and its best network for another target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.costs.metrics import CostMetric, cost_function, cost_metric
from nas.evaluators.registry import load_evaluator, space_of
from nas.journal import Journal
from nas.objective import Objective, make_objective
from nas.search_loop import SearchSettings
from nas.trial import Trial, best_trial
from search_spaces import MnasError, Space, StageSpace

# Below this share of trials near a target, the run says little about that target.
NEAR_SHARE = 0.1


@dataclass(frozen=True)
class Front:
    """The Pareto front of a run, and its best trial for a target.

    Attributes:
        space: space of the run.
        metric: cost that accuracy is shown against.
        trials: trials of the front, cheapest first; their ``costs`` hold that one cost.
        done: number of successful trials of the run.
        meaning: meaning of the accuracies.
        settings: settings of the run.
        objective: objective at another target; None if none was given.
        best: best trial under that objective, with its reward and costs.
        near: number of successful trials whose costs are at most 10 % below their targets.
    """

    space: Space
    metric: CostMetric
    trials: tuple[Trial, ...]
    done: int
    meaning: str
    settings: SearchSettings
    objective: Objective | None = None
    best: Trial | None = None
    near: int = 0

    @property
    def sparse(self) -> bool:
        """Whether the run hardly sampled near the target, so that a search there is likely to find a better network."""
        return self.objective is not None and bool(self.objective.targets) and self.near < NEAR_SHARE * self.done


def usual_cost(space: Space, objective: Objective) -> str:
    """The cost to show if none is given: MACs, or the first of the targets or of the table's costs.

    Raises:
        MnasError: the space has no cost.
    """
    if isinstance(space, StageSpace):
        return "macs"
    names = [*(target.cost for target in objective.targets), *space.cost_names]
    if not names:
        raise MnasError(f"front: the space {space.name!r} has no cost, so there is no front; use mnas trials instead")
    return names[0]


def fronted(
    journal: Journal,
    cost: str | None = None,
    targets: Mapping[str, float] | None = None,
    objective: str = "hard",
    exponent: float | None = None,
) -> Front:
    """The front of a run for a cost, and the best of its trials at other targets.

    Args:
        journal: journal of the run.
        cost: cost to show against accuracy.
        targets: other targets by name of the cost; empty for the most accurate network, None for the front alone.
        objective: form of the reward at these targets.
        exponent: exponent of that form (default: the published one).

    Raises:
        MnasError: the cost is unknown, the targets and the form do not fit, or no trial succeeded.
    """
    other = None if targets is None else make_objective(objective, targets, exponent)
    settings = journal.settings
    space, trials = space_of(settings.space, settings.evaluator), list(journal.trials())
    metric = cost_metric(cost or usual_cost(space, settings.objective), space)
    front = tuple(pareto_front(space, trials, metric.name))
    if not front:
        raise MnasError(f"run: {journal.file.parent} has no successful trial; choose another run")
    done = sum(trial.metrics is not None for trial in trials)
    meaning = load_evaluator(settings.evaluator, settings.space).meaning
    found = Front(space, metric, front, done, meaning, settings)
    if other is None:
        return found
    return replace(found, objective=other, best=retargeted(space, trials, other), near=_near(space, trials, other))


def _near(space: Space, trials: Iterable[Trial], objective: Objective) -> int:
    done = with_costs(space, trials, [target.cost for target in objective.targets])
    ratios = [objective.ratios(trial.costs) for trial in done]
    return sum(all(0.9 <= ratio <= 1.0 for ratio in each) for each in ratios)


def with_costs(space: Space, trials: Iterable[Trial], names: Sequence[str]) -> list[Trial]:
    """The successful trials, with these costs instead of those of the run's own targets."""
    done = [trial for trial in trials if trial.metrics is not None]
    rows = space.indices([trial.genotype for trial in done])
    columns = [cost_function(name, space)(rows).tolist() for name in names]
    costs = zip(*columns, strict=True) if columns else [()] * len(done)
    return [replace(trial, costs=row) for trial, row in zip(done, costs, strict=True)]


def pareto_front(space: Space, trials: Iterable[Trial], cost: str) -> list[Trial]:
    """The trials that no other trial dominates (as good in accuracy and cost, and better in one); cheapest first.

    The first of equal trials is kept. Their ``costs`` hold the one cost.

    Raises:
        MnasError: the cost is unknown, or not predicted for this space.
    """
    done = with_costs(space, trials, [cost])
    values = np.array([trial.costs[0] for trial in done])
    values = -values if cost_metric(cost, space).higher_is_better else values
    accuracy = np.array([trial.metrics.accuracy for trial in done if trial.metrics])
    front, best = [], -np.inf
    for index in np.lexsort((np.arange(len(done)), -accuracy, values)).tolist():
        if accuracy[index] > best:
            front.append(done[index])
            best = accuracy[index]
    return front


def retargeted(space: Space, trials: Iterable[Trial], objective: Objective) -> Trial | None:
    """The best trial of a run under another objective, with that objective's reward and costs; nothing is evaluated."""
    done = with_costs(space, trials, [target.cost for target in objective.targets])
    judged = [
        replace(trial, reward=objective.reward(trial.metrics.accuracy, trial.costs)) for trial in done if trial.metrics
    ]
    return best_trial(judged, objective)
