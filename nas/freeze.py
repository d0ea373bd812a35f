"""A trial of a run as a spec: the architecture, the search that found it, and its predicted accuracy."""

from __future__ import annotations

from baselines.spec import BaselineSpec, Figure, Provenance, SearchRecord
from nas.evaluators.registry import load_evaluator
from nas.journal import Journal
from nas.trial import Trial
from search_spaces import MnasError


def spec_of_trial(journal: Journal, trial: Trial, name: str) -> BaselineSpec:
    """The spec of a successful trial. Raises `MnasError` for a failed one."""
    if trial.metrics is None or trial.reward is None:
        why = f"failed ({trial.failure.error})" if trial.failure else "is not done"
        raise MnasError(f"trial: {trial.number} {why}, so there is nothing to freeze; choose another")
    settings = journal.settings
    objective = settings.objective
    record = SearchRecord(
        space=settings.space,
        evaluator=settings.evaluator,
        controller=settings.controller,
        objective=objective.form,
        targets=objective.targets,
        exponents=objective.exponents,
        seed=settings.seed,
        trials=journal.count(),
        trial=trial.number,
        reward=trial.reward,
        journal_digest=journal.digest(),
    )
    evaluator = load_evaluator(settings.evaluator, settings.space)
    figure = Figure(
        metric="top1",
        value=trial.metrics.accuracy,
        kind=evaluator.kind,
        source=evaluator.meaning,
        std=trial.metrics.accuracy_std,
    )
    return BaselineSpec(name, trial.architecture, Provenance("mnas search", search=record), (figure,))
