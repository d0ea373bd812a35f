"""Observers of a search: its journal, scalars for TensorBoard, and a progress bar on stderr."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from baselines.notices import has_terminal, notices, say
from baselines.scalars import Scalars
from baselines.text import millions, points
from nas.controllers.base import Controller
from nas.costs.metrics import named_metric
from nas.executors.base import Failure
from nas.journal import Journal
from nas.objective import Objective
from nas.search_loop import SearchEvents
from nas.trial import Batch, Trial, best_trial


class TensorBoard:
    """Scalars of a run for TensorBoard, one step per trial in the order of completion: reward, accuracy, MACs, the best
    so far, diagnostics.
    """

    def __init__(self, folder: Path, objective: Objective) -> None:
        self._scalars = Scalars(folder)
        self._objective = objective
        self._best: Trial | None = None
        self._steps = 0

    def __enter__(self) -> TensorBoard:
        self._scalars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scalars.__exit__(kind, error, trace)

    def record(self, trials: Sequence[Trial], diagnostics: Mapping[str, float]) -> None:
        """Write the scalars of completed trials, and the controller's diagnostics at the last of their steps."""
        for trial in trials:
            self._record_trial(trial)
            self._steps += 1
        if trials:
            finite = {f"controller/{name}": value for name, value in diagnostics.items() if math.isfinite(value)}
            self._scalars.write(self._steps - 1, finite)

    def _record_trial(self, trial: Trial) -> None:
        if trial.metrics is None or trial.reward is None:
            return
        self._best = best_trial((self._best, trial), self._objective)
        scalars = {
            "trial/reward": trial.reward,
            "trial/accuracy": trial.metrics.accuracy,
            **({"trial/macs": trial.counts.macs} if trial.counts else {}),
            **{f"trial/{t.cost}": cost for t, cost in zip(self._objective.targets, trial.costs, strict=True)},
        }
        if self._best is not None and self._best.metrics is not None and self._best.reward is not None:
            scalars |= {
                "best/reward": self._best.reward,
                "best/accuracy": self._best.metrics.accuracy,
                **self._best_costs(self._best),
            }
        self._scalars.write(self._steps, scalars)

    def _best_costs(self, best: Trial) -> dict[str, float]:
        """MACs; for a network without an architecture, the costs that have targets."""
        if best.counts:
            return {"best/macs": best.counts.macs}
        targets = zip(self._objective.targets, best.costs, strict=True)
        return {f"best/{target.cost}": cost for target, cost in targets}


class Progress:
    """A bar with the time left and the best trial so far; ten plain lines per run if stderr is not a terminal."""

    def __init__(self, total: int, objective: Objective) -> None:
        self._total = total
        self._objective = objective
        self._done = 0
        self._failed = 0
        self._best: Trial | None = None

    @contextmanager
    def running(self) -> Iterator[Progress]:
        """Show the bar inside the ``with`` block."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        # It must fit 80 columns: otherwise numbers are cut first.
        columns = [TextColumn("trials"), BarColumn(bar_width=12), MofNCompleteColumn()]
        left = [TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.description}")]
        with Bar(*columns, *left, console=notices(), disable=not has_terminal()) as self._bar:
            self._task = self._bar.add_task("", total=self._total)
            yield self

    def record(self, trials: Sequence[Trial]) -> None:
        """Count completed trials."""
        before, self._done = self._done, self._done + len(trials)
        self._failed += sum(trial.failure is not None for trial in trials)
        self._best = best_trial((self._best, *trials), self._objective)
        text = self._best_text() + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, completed=self._done, description=text)
        if self._bar.disable and before * 10 // self._total != self._done * 10 // self._total:
            say(f"trials {self._done}/{self._total}  {text}")

    def _best_text(self) -> str:
        best = self._best
        if best is None or best.metrics is None or best.reward is None:
            return "none succeeded yet"
        accuracy = points(best.metrics.accuracy)
        if best.counts:
            return f"best {accuracy} at {millions(best.counts.macs)} MACs"
        if not best.costs:
            return f"best {accuracy}"
        return f"best {accuracy} at {best.costs[0]:,.4g} {named_metric(self._objective.targets[0].cost).unit}"


@dataclass(frozen=True)
class Watch(SearchEvents):
    """Passes events to all of them; to the journal first, since a trial counts only once it is written."""

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
