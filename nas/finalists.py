"""The best trials of a run compared once more, with their noise.

The best of many noisy measurements is partly luck, so where the evaluator has noise, the finalists are measured again
with other seeds, and the measurement that made them finalists does not count. Where it has none, its σ stands for what
it does not know. Finalists are ranked by the merit of accuracy less one σ of it; one whose accuracy differs from the
first's by no more than the σ of that difference is a tie with it, and the cheaper of two ties is as good a choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nas.evaluators.base import Evaluator, Metrics
from nas.objective import Objective
from nas.trial import Trial


@dataclass(frozen=True)
class Finalist:
    """One of the best trials of a run.

    Attributes:
        trial: as it was in the run.
        accuracies: measured again; empty where there was nothing to measure. Such a network of a noisy evaluator comes
            after the others, since luck may have made it a finalist.
        accuracy: their mean; that of the run where there are none.
        std: σ of ``accuracy``; None where nothing is known of it.
        merit: of the accuracy less its σ, as `Objective.merit`.
        tie: whether it is a tie with the first.
    """

    trial: Trial
    accuracies: tuple[float, ...]
    accuracy: float
    std: float | None
    merit: float
    tie: bool


def judge_finalists(
    trials: Iterable[Trial], objective: Objective, evaluator: Evaluator, top: int = 10, repeats: int = 5
) -> list[Finalist]:
    """The ``top`` different networks of a run, best first.

    Args:
        trials: of the run.
        objective: of the run.
        evaluator: of the run.
        top: how many.
        repeats: how often each is measured again where the evaluator has noise.
    """
    chosen = _best(trials, objective, top)
    measured = [_measure(trial, evaluator, repeats) if evaluator.noisy else [] for trial in chosen]
    spread = _pooled_std(measured)
    judged = []
    for trial, metrics in zip(chosen, measured, strict=True):
        assert trial.metrics is not None
        accuracies = tuple(metric.accuracy for metric in metrics)
        accuracy = float(np.mean(accuracies)) if accuracies else trial.metrics.accuracy
        one = spread if spread is not None else trial.metrics.accuracy_std
        std = None if one is None else one / math.sqrt(max(1, len(accuracies)))
        careful = max(0.0, accuracy - (std or 0.0))
        merit = float(objective.merit(objective.reward(careful, trial.costs), trial.costs))
        judged.append(Finalist(trial, accuracies, accuracy, std, merit, tie=False))
    judged.sort(key=lambda f: (evaluator.noisy and not f.accuracies, -f.merit, f.trial.number))
    return [
        Finalist(f.trial, f.accuracies, f.accuracy, f.std, f.merit, tie=f is not judged[0] and _is_tie(f, judged[0]))
        for f in judged
    ]


def _best(trials: Iterable[Trial], objective: Objective, top: int) -> list[Trial]:
    done = [trial for trial in trials if trial.reward is not None]
    done.sort(key=lambda trial: (-objective.merit(trial.reward, trial.costs), trial.number))
    different = {trial.architecture: trial for trial in reversed(done)}
    return sorted(different.values(), key=done.index)[:top]


def _measure(trial: Trial, evaluator: Evaluator, repeats: int) -> list[Metrics]:
    found = []
    for seed in range(1, repeats + 1):
        try:
            (metrics,) = evaluator.evaluate([trial.architecture], seed=seed)
        except Exception:
            continue
        if metrics.problem() is None:
            found.append(metrics)
    return found


def _pooled_std(measured: Sequence[Sequence[Metrics]]) -> float | None:
    """σ of one measurement, from the repeats of all finalists together; None where there are none."""
    squares = freedom = 0.0
    for metrics in measured:
        if len(metrics) > 1:
            accuracy = np.array([metric.accuracy for metric in metrics])
            squares += float(((accuracy - accuracy.mean()) ** 2).sum())
            freedom += len(metrics) - 1
    return math.sqrt(squares / freedom) if freedom else None


def _is_tie(finalist: Finalist, first: Finalist) -> bool:
    if bool(finalist.accuracies) != bool(first.accuracies):
        return False
    difference = abs(finalist.accuracy - first.accuracy)
    return difference <= math.hypot(finalist.std or 0.0, first.std or 0.0)
