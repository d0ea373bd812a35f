"""Progress of a study: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from baselines.notices import has_terminal, notices, say
from baselines.text import seconds_text

# Shortest time between two lines, in seconds.
LINE_SECONDS = 1.0


class StudyProgress:
    """Shows on stderr how many jobs are done and how much time is left.

    The time left is estimated for the remaining jobs at the speed of the finished ones, including those of earlier
    sessions in the journal; a running job counts as far as it has reported.

    Args:
        what: kind of the study, in a word or two.
        weights: expected work of each job by its number, in any unit.
        workers: number of jobs that run at once.
    """

    def __init__(self, what: str, weights: Mapping[int, float], workers: int) -> None:
        self._what = what
        self._weights = weights
        self._workers = workers
        self._settled: set[int] = set()
        self._spent = self._finished = 0.0
        # Of the running job: its weight, the share that is done, and its first reported share with the time of that.
        self._under_way, self._fraction, self._first = 0.0, 0.0, (0.0, 0.0)
        self._printed = -LINE_SECONDS

    @contextmanager
    def running(self) -> Iterator[StudyProgress]:
        """Show the bar inside the ``with`` block."""
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        def left() -> str:
            return self.left()

        class Left(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(left())

        columns = [TextColumn(self._what), BarColumn(bar_width=12), MofNCompleteColumn()]
        label = TextColumn("{task.description}")
        with Bar(*columns, Left(), label, console=notices(), disable=not has_terminal()) as self._bar:
            self._task = self._bar.add_task("", total=len(self._weights))
            yield self

    def earlier(self, seconds: Mapping[int, float]) -> None:
        """Count jobs of earlier sessions, with the seconds that each took."""
        for number, spent in seconds.items():
            self._count(number, spent)
        self._bar.update(self._task, completed=len(self._settled))

    def reported(self, label: str, weight: float, fraction: float, text: str) -> None:
        """Show the progress of the only running job."""
        if not self._fraction:
            self._first = (fraction, time.monotonic())
        self._fraction, self._under_way = fraction, weight
        self._bar.update(self._task, completed=len(self._settled) + fraction, description=f"{label}: {text}")
        self._line(f"{label}: {text}")

    def settled(self, number: int, seconds: float, text: str) -> None:
        """Count a job that is done, or has failed for good."""
        self._fraction = 0.0
        self._count(number, seconds)
        self._bar.update(self._task, completed=len(self._settled), description=text)
        self._line(text, always=len(self._settled) == len(self._weights))

    def _count(self, number: int, seconds: float) -> None:
        self._settled.add(number)
        self._spent += seconds
        self._finished += self._weights.get(number, 1.0)

    def left(self) -> str:
        """The time left, as text for a person; empty if nothing is known yet."""
        spent, finished = self._spent, self._finished
        if not finished and self._fraction:  # work before the first report may be from an earlier session
            share, started = self._first
            spent, finished = time.monotonic() - started, (self._fraction - share) * self._under_way
        open_weight = sum(weight for number, weight in self._weights.items() if number not in self._settled)
        if not finished or not open_weight:
            return ""
        open_weight -= self._fraction * self._under_way
        return f"{seconds_text(max(0.0, open_weight) * spent / finished / self._workers)} left"

    def _line(self, text: str, *, always: bool = False) -> None:
        now = time.monotonic()
        if self._bar.disable and (always or now >= self._printed + LINE_SECONDS):
            self._printed = now
            left = self.left()
            counts = f"{self._what} {len(self._settled)}/{len(self._weights)}"
            say(f"{counts}  {text}{', ' if left else ''}{left}")
