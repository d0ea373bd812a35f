"""`Trial`: one architecture that a controller suggested, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nas.evaluators.base import Metrics
from nas.executors.base import Failure
from nas.objective import Objective
from search_spaces import Architecture, Cost, Genotype


@dataclass(frozen=True)
class Trial:
    """One suggestion with its outcome: metrics and reward, or a failure, or neither as long as it is not done.

    Attributes:
        number: from 0, in the order of suggestion.
        genotype, architecture, cost: the network, its choices and its exact cost.
        costs: of the objective's targets, in their order.
        metrics: what the evaluator found; None where it failed.
        reward: of the objective; None where the evaluation failed.
        failure: why the evaluation failed; None where it did not.
        attempts: how often it was evaluated; 0 where the same network had been evaluated before in the run.
        seconds: the last attempt took.
    """

    number: int
    genotype: Genotype
    architecture: Architecture
    cost: Cost
    costs: tuple[float, ...]
    metrics: Metrics | None = None
    reward: float | None = None
    failure: Failure | None = None
    attempts: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether it has an outcome."""
        return self.metrics is not None or self.failure is not None


def best_trial(trials: Iterable[Trial | None], objective: Objective) -> Trial | None:
    """The trial of the highest merit (`Objective.merit`), the first of equals; None where none succeeded."""
    done = [trial for trial in trials if trial is not None and trial.reward is not None]
    return max(done, key=lambda trial: objective.merit(trial.reward, trial.costs), default=None)
