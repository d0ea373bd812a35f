"""`Trial`: one network that a controller suggested, with its outcome; and `History`: trials in order.

A history lets a search be resumed: the search repeats the same steps in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from baselines.text import counted
from nas.evaluators.base import Metrics
from nas.evaluators.work import Outcome
from nas.executors.base import Failure
from nas.objective import Objective
from nas.record import versions
from search_spaces import Architecture, Cost, Genotype, MnasError, Selection, digest
from search_spaces.errors import one_line


@dataclass(frozen=True)
class Trial:
    """One suggestion with its outcome: metrics and reward, or a failure; neither until it is completed.

    Attributes:
        number: number from 0, in the order of suggestion.
        genotype: choices of the network.
        network: the network as its space decodes it and evaluators judge it.
        counts: exact cost of its architecture; None if it has no architecture.
        costs: costs of the objective's targets, in their order.
        metrics: metrics from the evaluator; None if the evaluation failed.
        reward: reward of the objective; None if the evaluation failed.
        failure: reason why the evaluation failed; None if it did not.
        attempts: number of evaluations; 0 if the same network had been evaluated before, in the run or in one that it
            started from.
        seconds: duration of the last attempt.
    """

    number: int
    genotype: Genotype = field(hash=False)
    network: Architecture | Selection
    counts: Cost | None
    costs: tuple[float, ...]
    metrics: Metrics | None = None
    reward: float | None = None
    failure: Failure | None = None
    attempts: int = 0
    seconds: float = 0.0

    @property
    def architecture(self) -> Architecture:
        """The architecture. Raises `MnasError` if the space has only choices, as a table's has."""
        if not isinstance(self.network, Architecture):
            raise MnasError(
                f"trial: {self.number} has choices and no architecture; mnas trials RUN --json shows its choices"
            )
        return self.network

    @property
    def cost(self) -> Cost:
        """The exact cost of the architecture. Raises `MnasError` if there is none."""
        if self.counts is None:
            raise MnasError(f"trial: {self.number} has no architecture, so its MACs and parameters are unknown")
        return self.counts

    @property
    def digest(self) -> str:
        """The digest of the architecture, or of the choices if there is none."""
        return digest_of(self.network)

    @property
    def done(self) -> bool:
        """Whether it has an outcome."""
        return self.metrics is not None or self.failure is not None

    def __repr__(self) -> str:
        macs = f", {self.counts.macs:,} MACs" if self.counts else ""
        accuracy = f", accuracy {self.metrics.accuracy:.4f}" if self.metrics else ""
        failure = f", failed ({self.failure.kind})" if self.failure else ""
        return f"Trial({self.number}{macs}{accuracy}{failure})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from nas.views.trial import text

        return as_html(*text(self))


def digest_of(network: Architecture | Selection) -> str:
    """The digest of an architecture, or of the choices if there is none."""
    return network.digest if isinstance(network, Selection) else digest(network)


def best_trial(trials: Iterable[Trial | None], objective: Objective) -> Trial | None:
    """The trial with the highest merit (`Objective.merit`), the first of equals; None if none succeeded."""
    done = [trial for trial in trials if trial is not None and trial.reward is not None]
    return max(done, key=lambda trial: objective.merit(trial.reward, trial.costs), default=None)


@dataclass(frozen=True)
class Known:
    """Measurements that were made before a search, by another one or elsewhere.

    Attributes:
        source: where they are from.
        same: whether the evaluator of the search made them, so that they need not be made again.
        genotypes: choices of the networks.
        metrics: what was measured, in the same order.
    """

    source: str
    same: bool
    genotypes: Sequence[Genotype]
    metrics: Sequence[Metrics]

    def summary(self) -> dict[str, Any]:
        """The source, whether it is the same evaluator's, and the number of networks."""
        return {"source": self.source, "same": self.same, "networks": len(self.genotypes)}

    def __str__(self) -> str:
        what = "by the same evaluator, not evaluated again" if self.same else "by another evaluator, a hint"
        return f"It starts from {counted(len(self.genotypes), 'network')} of {one_line(self.source)}, {what}"


class Batch(NamedTuple):
    """One request to the controller.

    Attributes:
        asked: number of suggestions that it was asked for; 0 if these are the rest of the batch before, for which the
            run had no room until it was made longer.
        given: number of suggestions that became trials.
        told: number of completions since the start that it had learned from.
    """

    asked: int
    given: int
    told: int


class Completion(NamedTuple):
    """The outcome of a trial; see `nas.trial.Trial`."""

    outcome: Outcome
    reward: float | None
    attempts: int
    seconds: float

    def fields(self) -> dict[str, Any]:
        """The fields of a trial that hold it."""
        failed = isinstance(self.outcome, Failure)
        return {
            "metrics": None if failed else self.outcome,
            "failure": self.outcome if failed else None,
            "reward": self.reward,
            "attempts": self.attempts,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class History:
    """A search up to where it ended or was interrupted.

    Attributes:
        batches: requests to the controller, in order.
        genotypes: genotypes of the trials, by number.
        completions: outcomes by number of the trial, in the order of completion.
        failed_attempts: number of failed attempts by number of the trial, for trials that are not completed.
        versions: versions with which it started.
        known: measurements that it started from.
    """

    batches: Sequence[Batch] = ()
    genotypes: Sequence[Genotype] = ()
    completions: Mapping[int, Completion] = field(default_factory=dict)
    failed_attempts: Mapping[int, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    known: Sequence[Known] = ()

    def other_versions(self) -> str:
        """The packages whose versions have changed since the start, as text."""
        now = versions()
        changed = [(name, then) for name, then in self.versions.items() if now.get(name) != then]
        others = [f"{name} {then} (now {now.get(name)})" for name, then in changed]
        return f"it started with {', '.join(others)}" if others else "the versions have not changed"
