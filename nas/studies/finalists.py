"""The best trials of a run, compared again with their noise.

The best of many noisy measurements is partly luck, so if the evaluator has noise, the finalists are measured again with
other seeds, and the measurement that made them finalists does not count. If it has none, its σ stands for its own
uncertainty. Finalists are ranked by the merit of accuracy less one σ; one whose accuracy differs from the first's by no
more than the σ of that difference is a tie with it, and the cheaper of two ties is as good a choice.

Measurements are the jobs of a study in the run's own folder, so that nothing is measured twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from baselines.text import Count, command, points
from nas.evaluators.base import Evaluator, Metrics, checked
from nas.evaluators.registry import load_evaluator, space_of
from nas.journal import Journal
from nas.objective import Objective
from nas.studies.engine import Call, Job, Study, run_study
from nas.trial import Trial
from search_spaces import MnasError
from search_spaces.plugins import code_options

FOLDER = "finalists"


@dataclass(frozen=True)
class Finalist:
    """One of the best trials of a run.

    Attributes:
        trial: trial of the run.
        accuracies: new measurements; empty if there are none. Such a network of a noisy evaluator is ranked after the
            others that meet the targets, since luck may have made it a finalist.
        accuracy: mean of these; the run's accuracy if there are none.
        std: σ of ``accuracy``; None if unknown.
        merit: merit (`Objective.merit`) of the accuracy less its σ.
        tie: whether it is a tie with the first.
    """

    trial: Trial
    accuracies: tuple[float, ...]
    accuracy: float
    std: float | None
    merit: float
    tie: bool


@dataclass(frozen=True)
class Measurements:
    """Networks of a run, measured again.

    Attributes:
        by_trial: metrics by the number of the trial; a trial whose measurements all failed has none.
        failures: measurements that failed, one line each.
    """

    by_trial: Mapping[int, Sequence[Metrics]]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finalists:
    """The finalists of a run.

    Attributes:
        folder: folder of the run.
        objective: objective of the run.
        evaluator: evaluator of the run.
        finalists: finalists, best first.
        failures: measurements that failed, one line each.
    """

    folder: Path
    objective: Objective
    evaluator: Evaluator
    finalists: tuple[Finalist, ...]
    failures: tuple[str, ...]


def finalists_of(
    folder: Path,
    top: Count = 10,
    repeats: Count = 5,
    execution: Mapping[str, Any] | None = None,
    *,
    allow_code: bool = False,
) -> Finalists:
    """The ``top`` different networks of a run, measured again if the evaluator has noise; best first.

    Args:
        folder: folder of the run.
        top: number of networks to compare.
        repeats: number of measurements of each network, if the evaluator is noisy.
        execution: fields of the execution that differ from the run's last session.
        allow_code: whether Python files that the run names may run.

    Raises:
        KeyboardInterrupt: it was stopped; finished measurements are kept.
        MnasError: the folder holds no run, or none of its trials succeeded.
    """
    with Journal.open(folder, allow_code=allow_code) as journal:
        settings, trials, usual = journal.settings, list(journal.trials()), journal.execution
    evaluator = load_evaluator(settings.evaluator, settings.space)
    chosen = best_networks(trials, settings.objective, top)
    if not chosen:
        raise MnasError(f"run: {folder} has no successful trial; use another run")
    measured = Measurements({})
    if evaluator.noisy:
        defaults = usual.as_dict()
        if evaluator.instant and not (execution or {}).keys() - {"retries"}:  # not worth a process
            defaults = {"executor": "in-process", "retries": usual.retries}
        names = (settings.evaluator, settings.space)
        code = code_options(settings.names)
        resume = command("finalists", folder, "--top", top, "--repeats", repeats, *code)
        measured = measure_again(folder / FOLDER, chosen, *names, repeats, defaults, execution, resume=resume)
        if measured.failures and not measured.by_trial:
            raise MnasError(f"finalists: no measurement succeeded; the first failed: {measured.failures[0]}")
    judged = judge_finalists(chosen, settings.objective, evaluator, measured)
    return Finalists(folder, settings.objective, evaluator, tuple(judged), measured.failures)


def measure_again(
    folder: Path,
    trials: Sequence[Trial],
    evaluator: str,
    space: str,
    repeats: int,
    defaults: Mapping[str, Any] | None = None,
    execution: Mapping[str, Any] | None = None,
    *,
    resume: str = "measure again",
) -> Measurements:
    """Measure networks with other seeds than the run's; measurements already in the folder are not repeated.

    Args:
        folder: folder of the measurements.
        trials: trials of the run.
        evaluator, space: names.
        repeats: number of measurements of each network, with seeds from 1.
        defaults: fields of the execution.
        execution: fields of the execution that a person chose.
        resume: command that resumes the measurements.
    """
    judge = load_evaluator(evaluator, space)
    limits = {trial.number: judge.measurements(trial.network) or math.inf for trial in trials}
    jobs = {
        (trial.number, seed): Job(
            f"trial{trial.number}-seed{seed}",
            f"trial {trial.number}, seed {seed}",
            {"genotype": trial.genotype, "seed": seed},
        )
        for seed in range(1, repeats + 1)
        for trial in trials
        if seed < limits[trial.number]
    }
    study = Study(
        kind="finalists",
        settings={"evaluator": evaluator, "space": space},
        jobs=tuple(jobs.values()),
        perform=measure,
        resume=resume,
        needs_all=False,
        grows=True,
        describe=lambda metrics: points(metrics["accuracy"]),
        read=_metrics_of,
    )
    outcomes = run_study(folder, study, defaults, execution, allow_code=True)
    found: dict[int, list[Metrics]] = {}
    for (number, _), outcome in zip(jobs, outcomes, strict=True):
        if outcome.failure is None:
            found.setdefault(number, []).append(outcome.result)
    failures = [f"{outcome.job.label}: {outcome.failure.error}" for outcome in outcomes if outcome.failure]
    return Measurements(found, tuple(failures))


def measure(call: Call) -> dict[str, Any]:
    """Measure one network with one seed."""
    space, name = call.settings["space"], call.settings["evaluator"]
    network = space_of(space, name).decode(call.payload["genotype"])
    (result,) = load_evaluator(name, space).evaluate([network], seed=call.payload["seed"])
    return _usable(result)._asdict()


def _metrics_of(data: Mapping[str, Any]) -> Metrics:
    return _usable(Metrics(data["accuracy"], data["accuracy_std"]))


def _usable(result: object) -> Metrics:
    metrics = checked(result)
    if isinstance(metrics, str):
        raise ValueError(metrics)
    return metrics


def judge_finalists(
    trials: Sequence[Trial], objective: Objective, evaluator: Evaluator, measurements: Measurements
) -> list[Finalist]:
    """The networks of a run as finalists, best first.

    Args:
        trials: trials with different networks to compare, from `best_networks`.
        objective: objective of the run.
        evaluator: evaluator of the run.
        measurements: measurements of these networks; none if the evaluator has no noise.
    """
    measured = [measurements.by_trial.get(trial.number, ()) for trial in trials]
    spread = _pooled_std(measured)
    judged = []
    for trial, metrics in zip(trials, measured, strict=True):
        assert trial.metrics is not None
        accuracies = tuple(metric.accuracy for metric in metrics)
        accuracy = float(np.mean(accuracies)) if accuracies else trial.metrics.accuracy
        one = spread if spread is not None else trial.metrics.accuracy_std
        std = None if one is None else one / math.sqrt(max(1, len(accuracies)))
        careful = max(0.0, accuracy - (std or 0.0))
        merit = float(objective.merit(objective.reward(careful, trial.costs), trial.costs))
        judged.append(Finalist(trial, accuracies, accuracy, std, merit, tie=False))
    judged.sort(key=lambda f: (_misses(f, objective), evaluator.noisy and not f.accuracies, -f.merit, f.trial.number))
    return [
        Finalist(
            f.trial,
            f.accuracies,
            f.accuracy,
            f.std,
            f.merit,
            tie=f is not judged[0] and _is_tie(f, judged[0], objective),
        )
        for f in judged
    ]


def best_networks(trials: Iterable[Trial], objective: Objective, top: int) -> list[Trial]:
    """The trials of the ``top`` different networks, best first."""
    done = [trial for trial in trials if trial.reward is not None]
    done.sort(key=lambda trial: (-objective.merit(trial.reward, trial.costs), trial.number))
    different = {trial.network: trial for trial in reversed(done)}
    return sorted(different.values(), key=done.index)[:top]


def _pooled_std(measured: Sequence[Sequence[Metrics]]) -> float | None:
    """σ of one measurement, pooled over the repeats of all finalists; None if there are none."""
    squares = freedom = 0.0
    for metrics in measured:
        if len(metrics) > 1:
            accuracy = np.array([metric.accuracy for metric in metrics])
            squares += float(((accuracy - accuracy.mean()) ** 2).sum())
            freedom += len(metrics) - 1
    return math.sqrt(squares / freedom) if freedom else None


def _misses(finalist: Finalist, objective: Objective) -> bool:
    """Whether a network misses targets that are limits."""
    return objective.form == "hard" and not objective.meets(finalist.trial.costs)


def _is_tie(finalist: Finalist, first: Finalist, objective: Objective) -> bool:
    if bool(finalist.accuracies) != bool(first.accuracies) or _misses(finalist, objective):
        return False
    difference = abs(finalist.accuracy - first.accuracy)
    return difference <= math.hypot(finalist.std or 0.0, first.std or 0.0)
