"""What watches a search from the command line: journal, TensorBoard and progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.controllers.base import Controller
from nas.executors.base import Failure
from nas.history import Batch
from nas.journal import Journal
from nas.monitor import Progress, TensorBoard
from nas.search import SearchEvents
from nas.trial import Trial


@dataclass(frozen=True)
class Watch(SearchEvents):
    """Tells the journal first: what it has not written did not happen."""

    journal: Journal
    board: TensorBoard
    progress: Progress

    def suggested(self, trials: Sequence[Trial], batch: Batch) -> None:
        self.journal.suggested(trials, batch)

    def attempt_failed(self, trial: Trial, attempt: int, failure: Failure, seconds: float) -> None:
        self.journal.attempt_failed(trial, attempt, failure, seconds)

    def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
        self.journal.completed(trials)
        self.board.record(trials, controller.diagnostics())
        self.progress.record(trials)
