"""What watches a search from the command line: journal, TensorBoard and progress bar, and the keys that stop it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While inside, the first Ctrl-C asks to begin nothing more, and the second, or a SIGTERM, ends at once.

    Gives what says whether the first has happened.

    Raises:
        KeyboardInterrupt: on the second.
    """
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set() or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stop.set()
        print("mnas: finishing what is under way; Ctrl-C again ends at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
