"""Trials without a search, and journals of searches that were run before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nas.evaluators.base import Evaluator
from nas.evaluators.work import Evaluation
from nas.executors.base import perform
from nas.journal import Journal
from nas.proposer import Proposer
from nas.trial import Batch, Completion, Trial
from search_spaces import Genotype


def tried(proposer: Proposer, evaluator: Evaluator, genotypes: Sequence[Genotype], first: int = 0) -> list[Trial]:
    """What suggestions become, numbered from ``first``."""
    _, trials = proposer.propose(genotypes, first)
    outcomes = perform(Evaluation(evaluator), [trial.architecture for trial in trials]).outcomes
    rewards = proposer.rewards(trials, outcomes)
    return [
        replace(trial, **Completion(outcome, reward, 1, 0.0).fields())
        for trial, outcome, reward in zip(trials, outcomes, rewards, strict=True)
    ]


def write(journal: Journal, trials: Sequence[Trial]) -> None:
    """Write trials as one batch that was suggested and done after all before."""
    batch = Batch(len(trials), len(trials), journal.count())
    journal.suggested([replace(trial, metrics=None, reward=None, failure=None) for trial in trials], batch)
    journal.completed(trials)
