"""``processes``: work is done in separate processes on this machine, each watched by a thread of its own.

Pools whose workers share one queue, such as those of concurrent.futures and pebble, break as a whole if a worker
dies between taking a task and reporting it; these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from baselines.notices import say
from nas.executors.base import Execution, Executor, Loader, Payload, Performed, Result, Stop, never
from nas.executors.worker import Worker


class ProcessExecutor(Executor[Payload, Result]):
    """Workers in processes; one that dies or exceeds its time is replaced.

    Args:
        execution: number of workers, and the limits of each.
        load: function that returns the work; each worker calls it.
        stop: whether running work should end early.
    """

    def __init__(self, execution: Execution, load: Loader[Payload, Result], stop: Stop = never) -> None:
        self.workers = execution.workers
        self._time_limit = execution.time_limit
        self._stop = stop
        self._said = False
        self._all = [
            Worker(load, execution.cores, execution.memory_limit, self._say_once) for _ in range(execution.workers)
        ]
        self._idle: SimpleQueue[Worker[Payload, Result]] = SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(execution.workers, thread_name_prefix="worker")

    def submit(self, payloads: Sequence[Payload]) -> Future[Performed[Result]]:
        return self._threads.submit(self._run, payloads)

    def _say_once(self, line: str) -> None:
        if not self._said:
            self._said = True
            say(f"mnas: {line}, as later ones will be; what it runs seems to keep what it no longer needs")

    def _run(self, payloads: Sequence[Payload]) -> Performed[Result]:
        worker = self._idle.get()
        try:
            return worker.perform(payloads, self._time_limit, self._stop)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._all:
            worker.forbid()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.end()
