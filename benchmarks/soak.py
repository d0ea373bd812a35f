"""Long searches of cheap trials: do time and memory of a trial stay what they are, and does every controller live?

    python benchmarks/soak.py --trials 50000 --controllers random,ppo,reinforce,nni:regularized-evolution
    python benchmarks/soak.py --trials 20000 --controllers bayesian,optuna:tpe

Each controller runs in a process of its own, with the predictor, under the hard objective at 400M and with a journal,
as `mnas search` does. A row says, at 1,000, 10,000, … trials: milliseconds of a trial (mean of the thousand before),
resident memory, and the size of the journal. The run is resumed at the end: replaying it must give the same state.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from baselines.memory import resident_bytes
from nas.controllers.base import Controller
from nas.journal import Journal
from nas.objective import make_objective
from nas.search_loop import SearchEvents, SearchSettings, run_search
from nas.trial import Batch, Trial

WINDOW = 1000


class Watch(SearchEvents):
    """Passes events to the journal, and prints a row at each mark."""

    def __init__(self, journal: Journal, controller: str, marks: Sequence[int]) -> None:
        self.journal, self.controller, self.marks = journal, controller, list(marks)
        self.done, self.times = 0, [(0, time.perf_counter())]

    def suggested(self, trials: Sequence[Trial], batch: Batch) -> None:
        self.journal.suggested(trials, batch)

    def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
        self.journal.completed(trials)
        self.done += len(trials)
        self.times.append((self.done, time.perf_counter()))
        while self.marks and self.done >= self.marks[0]:
            self._print(self.marks.pop(0))

    def _print(self, mark: int) -> None:
        before, then = next(each for each in reversed(self.times) if each[0] <= self.done - WINDOW or each[0] == 0)
        now = self.times[-1][1]
        del self.times[:-1]
        self.times.insert(0, (before, then))
        size = sum(file.stat().st_size for file in self.journal.file.parent.glob("journal.sqlite*"))
        print(
            f"| `{self.controller}` | {mark:,} | {1e3 * (now - then) / max(1, self.done - before):.2f} | "
            f"{resident_bytes() / 1e6:.0f} | {size / 1e6:.0f} |",
            flush=True,
        )


def soak(controller: str, trials: int, marks: Sequence[int]) -> None:
    """Run one search, and replay it."""
    settings = SearchSettings("efficientnet", "imagenet", controller, make_objective("hard", 400e6), trials, 0)
    with tempfile.TemporaryDirectory() as folder:
        with Journal.create(Path(folder) / "run", settings) as journal:
            found = run_search(settings, Watch(journal, controller, marks))
            journal.end("complete")
        started = time.perf_counter()
        with Journal.open(Path(folder) / "run") as journal:
            again = run_search(settings, history=journal.history())
    if [trial.genotype for trial in again] != [trial.genotype for trial in found]:
        raise SystemExit(f"{controller}: the replay differs")
    print(
        f"`{controller}`: {len(found):,} trials; replayed in {time.perf_counter() - started:.0f} s, equal", flush=True
    )


def main() -> None:
    """Soak the controllers one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50_000)
    parser.add_argument("--controllers", default="random,ppo,reinforce,nni:regularized-evolution")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    marks = [mark for mark in (1_000, 10_000, 20_000, 50_000) if mark <= arguments.trials]
    print("| controller | trials | ms a trial | resident MB | journal MB |\n|---|---|---|---|---|", flush=True)
    for controller in arguments.controllers.split(","):
        process = multiprocessing.get_context("spawn").Process(target=soak, args=(controller, arguments.trials, marks))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{controller}: ended with status {process.exitcode}")


if __name__ == "__main__":
    main()
