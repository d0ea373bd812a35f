"""An evaluator whose number of classes selects a way to fail; a plug-in for tests of executors."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

import numpy as np

import nas
from nas.evaluators.base import Evaluator, Metrics
from search_spaces import Architecture, FieldError

GOOD, WRONG, REFUSED, MEMORY, SEGFAULT, EXIT, SLEEP, NONSENSE, WHO, WHERE, FILES, CHILD, INTERRUPT, CLOSE = range(1, 15)


KEPT: list[int] = []


class Faulty(Evaluator):
    """The accuracy of a good network is its resolution in thousandths.

    `WHO` and `FILES` give the process as the accuracy, and `FILES` keeps sixty files open each time. `WHERE` gives the
    path of the project's code as the error. `CHILD` starts a process in a session of its own, and gives it.
    """

    name = "faulty"
    meaning = "an accuracy for tests"

    def check(self, architecture: Architecture) -> None:
        pass

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [self._one(architecture) for architecture in architectures]

    def _one(self, architecture: Architecture) -> Metrics:
        what = architecture.num_classes
        if what == WRONG:
            raise RuntimeError("broken\nin two lines")
        if what == REFUSED:
            raise FieldError("num_classes", "3 is not for me")
        if what == MEMORY:
            filled = [np.empty(2**26, dtype=np.uint8) for _ in range(2**10)]
            raise AssertionError(f"nobody stopped {len(filled)} allocations")
        if what == WHERE:
            raise RuntimeError(nas.__file__)
        if what == SEGFAULT:
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == INTERRUPT:
            raise KeyboardInterrupt
        if what == CLOSE:
            os.closerange(3, 64)
        if what == EXIT:
            os._exit(3)
        if what == SLEEP:
            time.sleep(1e6)
        if what == FILES:
            KEPT.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(60))
        if what == CHILD:
            child = subprocess.Popen(["sh", "-c", "setsid sleep 1000 & echo $!"], stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            return Metrics(int(child.stdout.readline()) / 1e7)
        if what in (WHO, FILES):
            return Metrics(os.getpid() / 1e7)
        return Metrics(float("nan") if what == NONSENSE else architecture.resolution / 1000)


evaluator = Faulty
