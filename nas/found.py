"""`Found`: the result of a search so far, read from the folder of its run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from baselines.arguments import typed
from baselines.registry import own_file
from baselines.spec import BaselineSpec, Figure, Provenance, SearchRecord, write_spec
from baselines.subjects import Network, subject_of
from baselines.text import command, counted
from nas.evaluators.base import Evaluator
from nas.evaluators.guard import GuardedEvaluator
from nas.evaluators.registry import load_evaluator, space_of
from nas.evidence import Comparison
from nas.front import pareto_front, usual_cost
from nas.journal import Journal
from nas.record import Change
from nas.search_loop import SearchSettings
from nas.trial import Known, Trial
from search_spaces import Architecture, MnasError, Space
from search_spaces.plugins import KINDS, OBJECT, portable

REFERENCE = "efficientnet_b0"


@dataclass(frozen=True)
class Found:
    """The run of a search: its best network, its trials and its folder.

    Attributes:
        folder: folder of the run.
        settings: settings of the search.
        best: best trial so far.
        spec: network of the best trial, with the search as its provenance; None in a space without architectures.
        done: number of completed trials.
        failed: number of these that failed.
        complete: whether all trials are completed.
        changes: changes of its files that were accepted.
        known: what it started from.
    """

    folder: Path
    settings: SearchSettings
    best: Trial
    spec: BaselineSpec | None
    done: int
    failed: int
    complete: bool
    changes: tuple[Change, ...] = ()
    known: tuple[Known, ...] = field(default=(), hash=False)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All completed trials, by number; read from the journal at the first use."""
        with Journal.open(self.folder, allow_code=True, names=self._objects()) as journal:
            return tuple(journal.trials())

    @property
    def evaluator(self) -> Evaluator:
        """The evaluator of the search; the object itself if it was given as one."""
        found = self._judge
        return found.inner if isinstance(found, GuardedEvaluator) else found

    @property
    def _judge(self) -> Evaluator:
        return load_evaluator(self.settings.evaluator, self.settings.space)

    def _objects(self) -> dict[str, str]:
        """Names of the objects with which the search was started, by kind."""
        names = {kind: getattr(self.settings, kind) for kind in KINDS}
        return {kind: name for kind, name in names.items() if name.startswith(OBJECT)}

    @typed
    def freeze(self, name: str, trial: int | None = None) -> BaselineSpec:
        """Write the best network, or that of another trial, to ``specs/NAME.yaml``.

        Args:
            name: name of the spec.
            trial: number of the trial; the best by default.

        Raises:
            MnasError: the name already exists, or the trial failed.
        """
        with Journal.open(self.folder, allow_code=True, names=self._objects()) as journal:
            spec = frozen(journal, trial, name)
        write_spec(spec, own_file(spec.name))
        return spec

    @property
    def space(self) -> Space:
        """The space of the search."""
        return space_of(self.settings.space, self.settings.evaluator)

    def compare(self, reference: Network = REFERENCE) -> Comparison:
        """The best network beside another; the journal's metrics are used, so nothing is trained again.

        Raises:
            MnasError: the space has no architectures.
        """
        if self.spec is None:
            raise MnasError(f"compare: the space {self.space.name!r} has no architectures; use trials instead")
        known = {self.spec.name: self.best.metrics} if self.best.metrics else {}
        name = self.settings.evaluator
        how = f"nas.compare([…, {reference!r}], evaluator=…)"
        if isinstance(reference, str) and not name.startswith(OBJECT):
            how = command("compare", self.folder, reference, "--evaluator", name)
        return Comparison.of([self.spec, subject_of(reference)], self._judge, known, how)

    def front(self, cost: str | None = None) -> Sequence[Trial]:
        """Pareto front of accuracy against a cost (MACs, or the first cost of a table), cheapest first."""
        return pareto_front(self.space, self.trials, cost or usual_cost(self.space, self.settings.objective))

    def __repr__(self) -> str:
        accuracy = f", accuracy {self.best.metrics.accuracy:.4f}" if self.best.metrics else ""
        where = f"trial {self.best.number} of {self.done}"
        macs = f", {self.best.counts.macs:,} MACs" if self.best.counts else ""
        return f"Found({str(self.folder)!r}, {where}{macs}{accuracy})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from nas.views.search import text

        return as_html(*text(self))


def read_found(journal: Journal, *, complete: bool) -> Found:
    """The result of a run. Raises `MnasError` if no trial succeeded."""
    best, folder = journal.best(), journal.file.parent
    spec = spec_of_trial(journal, best, spec_name(folder)) if isinstance(best.network, Architecture) else None
    counts = journal.count(), journal.failed_count()
    return Found(folder, journal.settings, best, spec, *counts, complete, journal.changes(), tuple(journal.known()))


def frozen(journal: Journal, number: int | None, name: str) -> BaselineSpec:
    """The spec of a trial by its number, or of the best one."""
    return spec_of_trial(journal, journal.best() if number is None else journal.trial(number), name)


def spec_of_trial(journal: Journal, trial: Trial, name: str) -> BaselineSpec:
    """The spec of a trial. Raises `MnasError` if the trial has no reward or no architecture."""
    if trial.metrics is None or trial.reward is None:
        why = f"failed ({trial.failure.error})" if trial.failure else "is not done"
        raise MnasError(f"trial: {trial.number} {why}, so there is nothing to freeze; choose another trial")
    if not isinstance(trial.network, Architecture):
        raise MnasError(
            f"trial: {trial.number} has choices and no architecture, so there is nothing to freeze; its "
            f"choices: {command('trials', journal.file.parent, '--json')}"
        )
    settings = journal.settings
    objective = settings.objective
    record = SearchRecord(
        **{kind: portable(getattr(settings, kind)) for kind in KINDS},
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
    return BaselineSpec(name, trial.architecture, Provenance(_command(journal), search=record), (figure,))


def _command(journal: Journal) -> str:
    """How the search was started, as far as its settings do not say it."""
    known = sum(len(each.genotypes) for each in journal.known())
    return "mnas search" + (f", from {counted(known, 'measured network')}" if known else "")


def spec_name(folder: Path) -> str:
    """A spec name for the best network of a run: the folder's name made valid, and never that of the reference."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).lstrip("_.-")[:64] or "found"
    return f"{name}-found" if name == REFERENCE else name
