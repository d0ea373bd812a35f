"""`Trial`: one architecture that a controller suggested, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from nas.evaluators.base import Metrics
from search_spaces import Architecture, Cost, Genotype


@dataclass(frozen=True)
class Trial:
    """One suggestion with its outcome: either metrics and reward, or an error.

    Attributes:
        number: from 0, in the order of suggestion.
        genotype, architecture, cost: the network, its choices and its exact cost.
        metrics: what the evaluator found; None where it failed.
        reward: of the objective; None where the evaluation failed.
        error: why the evaluation failed; None where it did not.
        seconds: the evaluation took; 0 where the same network had been evaluated before in the run.
    """

    number: int
    genotype: Genotype
    architecture: Architecture
    cost: Cost
    metrics: Metrics | None
    reward: float | None
    error: str | None
    seconds: float


def better(best: Trial | None, trial: Trial) -> Trial | None:
    """Whichever succeeded with the higher reward; the first of equals, None where neither succeeded."""
    if trial.reward is None or (best is not None and best.reward is not None and trial.reward <= best.reward):
        return best
    return trial


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """The trial of the highest reward, the earliest of equals; None where none succeeded."""
    return reduce(better, trials, None)
