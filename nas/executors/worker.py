"""A process that evaluates trials for a search: its life seen from both sides.

It is spawned, not forked: a fork of a process with threads may hang. It has a pipe of its own, so that when it dies, at
whatever moment, it takes nothing with it but the trial that it works on.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from threadpoolctl import ThreadpoolController

from baselines.interrupts import end_with_parent
from nas.evaluators.base import Evaluator
from nas.executors.base import Evaluated, Failure, evaluate, failure_of, over_time
from search_spaces import Architecture

# How long a worker may take until it has its evaluator, which may have to read its data.
START_SECONDS = 600.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_SPAWN = get_context("spawn")


class Worker:
    """A process with an evaluator, started when it is needed, and again after it was lost.

    Args:
        load: gives the evaluator, in the process.
        cores: of the processor.
        memory_limit: bytes that the process may allocate.
    """

    def __init__(self, load: Callable[[], Evaluator], cores: int, memory_limit: int | None) -> None:
        self._arguments = (load, cores, memory_limit)
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._forbidden = False
        self._starting = threading.Lock()

    def evaluate(self, architectures: Sequence[Architecture], time_limit: float | None) -> Evaluated:
        """What the process makes of architectures; failures where it dies over them or is over its time."""
        started = time.perf_counter()
        try:
            return self._evaluate(architectures, time_limit)
        except _LostError as lost:
            failure = lost.failure
        except Exception as error:  # what it sent cannot be read
            self.end()
            failure = failure_of(error)
        return Evaluated([failure] * len(architectures), time.perf_counter() - started)

    def _evaluate(self, architectures: Sequence[Architecture], time_limit: float | None) -> Evaluated:
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
        try:
            pipe = self._spawned()
        except OSError as error:  # no more processes or files
            raise _LostError(Failure("died", f"no worker could be started ({error.strerror})")) from None
        try:
            ready = pipe.poll(START_SECONDS)
            failure = pipe.recv() if ready else Failure("time", f"no evaluator after {START_SECONDS:g} s")
        except (EOFError, OSError):
            raise self._died() from None
        if failure is not None:
            self.end()
            raise _LostError(failure)
        return pipe

    def _spawned(self) -> Connection:
        with self._starting:
            if self._forbidden:
                raise _LostError(Failure("died", "the search ended"))
            resource_tracker.ensure_running()  # its start would undo the next line
            # Ctrl-C is for the search: the process inherits from this thread that it does not hear of it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                pipe, other = _SPAWN.Pipe()
                with other:  # closed here once the process has it, so that the pipe ends with the process
                    process = _SPAWN.Process(target=_serve, args=(other, *self._arguments))
                    process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            self._pipe, self._process = pipe, process
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


class _LostError(Exception):
    """A worker is gone, and with it the trial that it worked on."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def _kill(process: SpawnProcess) -> None:
    """Kill a worker with whatever it has started."""
    if process.pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group; see `_prepare`
    process.kill()


def _cause(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"{name} (the kernel sends it where memory runs out)" if name == "SIGKILL" else name


# --- in the process ---------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, load: Callable[[], Evaluator], cores: int, memory_limit: int | None) -> None:
    """Say that the evaluator is there, then evaluate until the pipe ends."""
    _prepare(cores, memory_limit)
    try:
        evaluator = load()
    except Exception as error:
        pipe.send(failure_of(error))
        return
    pipe.send(None)
    with suppress(EOFError):
        while True:
            pipe.send(evaluate(evaluator, pipe.recv()))


def _prepare(cores: int, memory_limit: int | None) -> None:
    """Make this process a good worker: its share of cores and memory, and no life of its own."""
    os.setsid()  # a group of its own, to be ended together with whatever it starts
    os.dup2(2, 1)  # what an evaluator prints must not come between the search's own lines
    end_with_parent()
    # With more threads than cores, they wait for each other.
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(cores)))
    ThreadpoolController().limit(limits=cores)
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    # Where the machine's memory runs out, the kernel should end this process rather than the search.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
