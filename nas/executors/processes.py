"""``processes``: trials run in processes of their own on this machine, each waited on by a thread of its own.

Pools whose workers share one queue, such as those of concurrent.futures and pebble, break as a whole where a worker
dies between taking a task and saying so; these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

from nas.evaluators.registry import load_evaluator
from nas.executors.base import Evaluated, Execution, Executor
from nas.executors.worker import Worker
from search_spaces import Architecture


class ProcessExecutor(Executor):
    """Workers, each with its own evaluator; one that dies or is over its time is replaced.

    Args:
        execution: workers, and what each may have.
        evaluator, space: by name; each worker loads them itself.
    """

    def __init__(self, execution: Execution, evaluator: str, space: str) -> None:
        self.workers = execution.workers
        self._time_limit = execution.time_limit
        load = partial(load_evaluator, evaluator, space)
        self._all = [Worker(load, execution.cores, execution.memory_limit) for _ in range(execution.workers)]
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(execution.workers, thread_name_prefix="worker")

    def submit(self, architectures: Sequence[Architecture]) -> Future[Evaluated]:
        return self._threads.submit(self._run, architectures)

    def _run(self, architectures: Sequence[Architecture]) -> Evaluated:
        worker = self._idle.get()
        try:
            return worker.evaluate(architectures, self._time_limit)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._all:
            worker.forbid()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.end()
