"""A search as a job of a study, with a journal in the job's folder, so that it can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nas.controllers.base import Controller
from nas.executors.base import Execution, Failure, Stop
from nas.journal import Journal
from nas.record import exists
from nas.search_loop import SearchEvents, SearchSettings, run_search
from nas.trial import Batch, Trial
from search_spaces import MnasError


class _Reported(SearchEvents):
    """Writes the journal, and reports how many trials are done."""

    def __init__(self, journal: Journal, report: Callable[[float, str], None]) -> None:
        self._journal = journal
        self._report = report
        self._wanted = journal.settings.trials
        self._done = journal.count()

    def suggested(self, trials: Sequence[Trial], batch: Batch) -> None:
        self._journal.suggested(trials, batch)

    def attempt_failed(self, trial: Trial, attempt: int, failure: Failure, seconds: float) -> None:
        self._journal.attempt_failed(trial, attempt, failure, seconds)

    def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
        self._journal.completed(trials)
        self._done += len(trials)
        self._report(self._done / self._wanted, f"trial {self._done} of {self._wanted}")


def search_in(
    folder: Path,
    settings: SearchSettings,
    execution: Execution,
    stop: Stop,
    report: Callable[[float, str], None],
) -> list[Trial]:
    """Run a search in a folder, or the rest of it.

    Args:
        folder: folder of the search.
        settings: settings of the search; a search in the folder must have the same.
        execution: where and how trials run.
        stop: whether to start no more trials.
        report: function of the share of the trials that is done, and a text.

    Returns:
        All trials, by number.

    Raises:
        KeyboardInterrupt: it was stopped; its journal is kept.
        MnasError: the search cannot continue.
    """
    if exists(Journal, folder):
        # The person who runs the study has already allowed its code.
        opened = Journal.resume(folder, allow_code=True, changes=execution.as_dict())
    else:
        opened = Journal.create(folder, settings, execution)
    with opened as journal:
        if journal.settings != settings:
            raise MnasError(f"resume: {folder} holds a search with other settings; remove it, or start a new study")
        trials = run_search(settings, _Reported(journal, report), execution, journal.history(), stop)
        if len(trials) < journal.suggested_count() or (stop() and len(trials) < settings.trials):
            raise KeyboardInterrupt
        journal.end("complete")
    return trials
