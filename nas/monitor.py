"""What a person watches while a search runs: a progress bar on stderr and scalars for TensorBoard."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from baselines.console import millions, points
from baselines.scalars import Scalars
from nas.objective import Objective
from nas.trial import Trial, best_trial


class TensorBoard:
    """Scalars of a run for TensorBoard, a step a trial in the order of completion: reward, accuracy, MACs, the best so
    far, diagnostics.
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
        """Write the scalars of trials that were done, and the controller's diagnostics at the last of their steps."""
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
            "trial/macs": trial.cost.macs,
            **{f"trial/{t.cost}": cost for t, cost in zip(self._objective.targets, trial.costs, strict=True)},
        }
        if self._best is not None and self._best.metrics is not None and self._best.reward is not None:
            scalars |= {
                "best/reward": self._best.reward,
                "best/accuracy": self._best.metrics.accuracy,
                "best/macs": self._best.cost.macs,
            }
        self._scalars.write(self._steps, scalars)


class Progress:
    """The best so far beside a bar with the time left; on a stderr that is no terminal, ten plain lines a run."""

    def __init__(self, total: int, objective: Objective) -> None:
        self._total = total
        self._objective = objective
        self._done = 0
        self._failed = 0
        self._best: Trial | None = None

    @contextmanager
    def running(self) -> Iterator[Progress]:
        """Show the bar while inside."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        # All of it fits 80 columns: where it does not, numbers are cut first.
        columns = [TextColumn("trials"), BarColumn(bar_width=12), MofNCompleteColumn()]
        left = [TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.description}")]
        with Bar(*columns, *left, console=Console(stderr=True), disable=not sys.stderr.isatty()) as self._bar:
            self._task = self._bar.add_task("", total=self._total)
            yield self

    def record(self, trials: Sequence[Trial]) -> None:
        """Count trials that were done."""
        before, self._done = self._done, self._done + len(trials)
        self._failed += sum(trial.failure is not None for trial in trials)
        self._best = best_trial((self._best, *trials), self._objective)
        text = self._best_text() + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, completed=self._done, description=text)
        if self._bar.disable and before * 10 // self._total != self._done * 10 // self._total:
            print(f"trials {self._done}/{self._total}  {text}", file=sys.stderr, flush=True)

    def _best_text(self) -> str:
        best = self._best
        if best is None or best.metrics is None or best.reward is None:
            return "none succeeded yet"
        return f"best {points(best.metrics.accuracy)} at {millions(best.cost.macs)} MACs"
