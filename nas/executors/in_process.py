"""``in-process``: work is done in the calling process, one submission after the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from nas.executors.base import Executor, Payload, Performed, Result, Stop, Work, never, perform


class InProcessExecutor(Executor[Payload, Result]):
    """Does the work before `submit` returns.

    Args:
        work: work to do; if it is instant, it gets all payloads together.
        stop: whether running work should end early.
    """

    def __init__(self, work: Work[Payload, Result], stop: Stop = never) -> None:
        self._work = work
        self._stop = stop
        self.batched = work.instant

    def submit(self, payloads: Sequence[Payload]) -> Future[Performed[Result]]:
        future: Future[Performed[Result]] = Future()
        future.set_result(perform(self._work, payloads, self._stop))
        return future
