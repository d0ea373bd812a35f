"""``processes``: trials run in processes of their own on this machine.

They are spawned, not forked: a fork of a process with threads may hang. Each has a pipe of its own, waited on by a
thread of its own, so that a worker that dies, at whatever moment, takes nothing with it but its trial. (Pools whose
workers share one queue, such as those of concurrent.futures and pebble, break as a whole where a worker dies between
taking a task and saying so.)
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue

from nas.evaluators.registry import load_evaluator
from nas.executors.base import Evaluated, Execution, Executor, Failure, evaluate, failure_of, over_time
from nas.executors.worker import prepare
from search_spaces import Architecture

_SPAWN = get_context("spawn")


class ProcessExecutor(Executor):
    """Workers, each with its own evaluator; one that dies or is over its time is replaced.

    Args:
        execution: workers, and what each may have.
        evaluator, space: by name; each worker loads them itself.
    """

    def __init__(self, execution: Execution, evaluator: str, space: str) -> None:
        self.workers = execution.workers
        self._time_limit = execution.time_limit
        self._arguments = (evaluator, space, execution.cores, execution.memory_limit)
        self._threads = ThreadPoolExecutor(execution.workers, thread_name_prefix="worker")
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._all = [_Worker(self._arguments) for _ in range(execution.workers)]
        for worker in self._all:
            self._idle.put(worker)

    def submit(self, architectures: Sequence[Architecture]) -> Future[Evaluated]:
        return self._threads.submit(self._run, architectures)

    def _run(self, architectures: Sequence[Architecture]) -> Evaluated:
        worker = self._idle.get()
        started = time.perf_counter()
        try:
            return worker.evaluate(architectures, self._time_limit)
        except _LostError as lost:
            return Evaluated([lost.failure] * len(architectures), time.perf_counter() - started)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        for worker in self._all:
            worker.forbid()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._all:
            worker.end()


class _LostError(Exception):
    """A worker is gone, and with it the trial that it worked on."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class _Worker:
    """A process that evaluates, started when it is needed, and again after it was lost."""

    def __init__(self, arguments: tuple[str, str, int, int | None]) -> None:
        self._arguments = arguments
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._forbidden = False
        self._starting = threading.Lock()

    def evaluate(self, architectures: Sequence[Architecture], time_limit: float | None) -> Evaluated:
        """What the process makes of architectures. Raises `_LostError` where it dies over them or takes too long."""
        pipe = self._pipe or self._start()
        try:
            pipe.send(tuple(architectures))
            if not pipe.poll(time_limit):
                assert time_limit is not None
                self.end()
                raise _LostError(over_time(time_limit))
            found: Evaluated = pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        return found

    def _start(self) -> Connection:
        """A new process, once it is ready, so that no trial's time goes into loading."""
        with self._starting:
            if self._forbidden:
                raise _LostError(Failure("died", "the search ended"))
            pipe, other = _SPAWN.Pipe()
            self._pipe, self._process = pipe, _SPAWN.Process(target=_serve, args=(other, *self._arguments))
            # Ctrl-C is for the search: the process inherits from this thread that it does not hear of it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            self._process.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            other.close()  # then the pipe ends with the process
        try:
            failure = pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if failure is not None:
            self.end()
            raise _LostError(failure)
        return pipe

    def _died(self) -> _LostError:
        process = self._process
        if process is not None:
            process.join(1.0)  # its pipe ends a moment before it does, and its own end tells more than our killing it
        self.end()
        code = None if process is None else process.exitcode
        return _LostError(Failure("died", f"the worker died of {_cause(code)}"))

    def end(self) -> None:
        """Kill the process and wait for its end."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is not None:
            _kill(process)
            process.join()
        if pipe is not None:
            pipe.close()

    def forbid(self) -> None:
        """Kill the process, which another thread may wait for, and start no other."""
        with self._starting:
            self._forbidden = True
            if self._process is not None:
                _kill(self._process)


def _kill(process: SpawnProcess) -> None:
    """Kill a worker with whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # it leads a group; see `prepare`
    process.kill()


def _cause(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"{name} (the kernel sends it where memory runs out)" if name == "SIGKILL" else name


def _serve(pipe: Connection, evaluator_name: str, space: str, cores: int, memory_limit: int | None) -> None:
    """What a worker's process does: says that it is ready, then evaluates until the pipe ends."""
    prepare(cores, memory_limit)
    try:
        evaluator = load_evaluator(evaluator_name, space)
    except Exception as error:
        pipe.send(failure_of(error))
        return
    pipe.send(None)
    with suppress(EOFError):
        while True:
            pipe.send(evaluate(evaluator, pipe.recv()))
