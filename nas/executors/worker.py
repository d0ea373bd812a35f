"""A process that works for an executor: both its sides, parent and child.

It is spawned, not forked: a fork of a process with threads may hang. It has a pipe of its own, so that whenever it
dies, only its current payloads are lost. Payloads go down the pipe and outcomes come up; a message that comes down
while it works asks it to end early.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import current_process, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Generic

from baselines.interrupts import end_with_parent, kill_all, starting_children, usual_path
from baselines.text import counted, seconds_text
from baselines.threads import ThreadLimit
from nas.executors.base import (
    FAULTS,
    Failure,
    Loader,
    Payload,
    Performed,
    Result,
    Stop,
    failure_of,
    never,
    over_time,
    perform,
)
from search_spaces import MnasError

# How long a worker may take to load its work, which may have to read data.
START_SECONDS = 600.0
# Seconds between two checks whether a worker must end early.
STOP_SECONDS = 0.2
_SPAWN = get_context("spawn")
_GUARD = 'a script of your own that uses workers must start its work under: if __name__ == "__main__":'


class Worker(Generic[Payload, Result]):
    """A process with work of its own, started when it is needed, and again after it was lost.

    Args:
        load: function that returns the work, called in the process.
        cores: number of processor cores.
        memory_limit: bytes that the process may allocate.
        worn: function that is called with a line for a person when the process was replaced because it holds more and
            more.

    Raises:
        MnasError: this process is a worker itself, still importing a script that has no main guard.
    """

    def __init__(
        self,
        load: Loader[Payload, Result],
        cores: int,
        memory_limit: int | None,
        worn: Callable[[str], None] = lambda line: None,
    ) -> None:
        if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself recognises this case
            raise MnasError(f"workers: {_GUARD}")
        self._arguments = (load, cores, memory_limit)
        self._worn = worn
        self._limits = _Use.limits(cores, memory_limit)
        self._first: _Use | None = None
        self._performed = 0
        self._unstartable: Failure | None = None
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._forbidden = False
        self._starting = threading.Lock()

    def perform(self, payloads: Sequence[Payload], time_limit: float | None, stop: Stop = never) -> Performed[Result]:
        """Outcomes of payloads; failures if the process dies or exceeds its time."""
        started = time.perf_counter()
        try:
            return self._perform(payloads, time_limit, stop)
        except _LostError as lost:
            failure = lost.failure
        except Exception as error:  # the answer cannot be read
            self.end()
            failure = failure_of(error)
        return Performed([failure] * len(payloads), time.perf_counter() - started)

    def _perform(self, payloads: Sequence[Payload], time_limit: float | None, stop: Stop) -> Performed[Result]:
        pipe = self._pipe or self._start()
        try:
            pipe.send(tuple(payloads))
            if not _answered(pipe, time_limit, stop):
                assert time_limit is not None
                self.end()
                raise _LostError(over_time(time_limit))
            found: Performed[Result] = pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None
        self._check_state(found)
        return found

    def _check_state(self, found: Performed[Result]) -> None:
        """End a process in which work has failed, or that holds more and more: the next work gets a new one.

        After a lack of memory or of files, everything else would fail there too.
        """
        self._performed += 1
        if any(isinstance(outcome, Failure) and FAULTS[outcome.kind].retried for outcome in found.outcomes):
            self.end()
            return
        process = self._process
        use = None if process is None or process.pid is None else _Use.of(process.pid, limited=self._limits.limited)
        if use is None:
            return
        self._first = self._first or use
        if problem := use.problem(self._first, self._limits):
            self._worn(f"after {counted(self._performed, 'payload')}, a worker had {problem}, and was replaced")
            self.end()

    def _start(self) -> Connection:
        """A new process, once it is ready, so that loading does not count towards a trial's time."""
        try:
            pipe = self._spawned()
        except OSError as error:  # no more processes or files
            raise _LostError(Failure("died", f"no worker could be started ({error.strerror})")) from None
        try:
            ready = pipe.poll(START_SECONDS)
            failure = pipe.recv() if ready else Failure("time", f"was not loaded after {seconds_text(START_SECONDS)}")
        except (EOFError, OSError):
            raise self._died(starting=True) from None
        if failure is not None:
            self.end()
            raise _LostError(failure)
        return pipe

    def _spawned(self) -> Connection:
        with self._starting:
            if self._unstartable is not None:
                raise _LostError(self._unstartable)
            if self._forbidden:
                raise _LostError(Failure("died", "its executor was closed"))
            with starting_children():
                pipe, other = _SPAWN.Pipe()
                with other:  # closed here, so that the pipe ends with the process
                    process = _SPAWN.Process(target=_serve, args=(other, *self._arguments))
                    process.start()
            self._pipe, self._process = pipe, process
        return pipe

    def _died(self, *, starting: bool = False) -> _LostError:
        process = self._process
        if process is not None:
            process.join(1.0)  # it ends just after its pipe, and its own exit code says more than that of our kill
        self.end()
        code = None if process is None else process.exitcode
        if starting and code == 1:  # it could not import the script that started it, and never will
            why = f"no worker could be started ({_cause(code)}; its message is above)"
            self._unstartable = Failure("died", f"{why}; {_GUARD}")
            return _LostError(self._unstartable)
        return _LostError(Failure("died", f"the worker died of {_cause(code)}"))

    def end(self) -> None:
        """Kill the process and wait for its end."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        self._first, self._performed = None, 0
        if process is not None:
            _kill(process)
            process.join()
        if pipe is not None:
            pipe.close()

    def forbid(self) -> None:
        """Kill the process, even if another thread waits for it, and start no other."""
        with self._starting:
            self._forbidden = True
            if self._process is not None:
                _kill(self._process)


@dataclass(frozen=True)
class _Use:
    """What a process holds, or may hold.

    Attributes:
        memory: bytes of memory.
        files: number of open files.
        limited: whether the memory is what a limit counts: all that was allocated, used or not.
    """

    memory: int
    files: int
    limited: bool

    @classmethod
    def limits(cls, cores: int, memory_limit: int | None) -> _Use:
        """What a process may hold; without a limit of memory, its share of the machine's."""
        share = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * cores // max(os.cpu_count() or 1, cores)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(memory_limit or share, files, memory_limit is not None)

    @classmethod
    def of(cls, pid: int, *, limited: bool) -> _Use | None:
        """What a process holds now; None if it has ended."""
        with suppress(OSError, ValueError, StopIteration):
            name = "VmData:" if limited else "VmRSS:"
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kilobytes = int(next(line for line in lines if line.startswith(name)).split()[1])
            return cls(1024 * kilobytes, len(os.listdir(f"/proc/{pid}/fd")), limited)
        return None

    def problem(self, first: _Use, limits: _Use) -> str | None:
        """What has grown so much since the first payload that the process may soon fail."""
        if self.files > max(limits.files // 2, 2 * first.files):
            return f"{self.files:,} open files ({first.files:,} after its first), more than half of the limit"
        if self.memory > max(0.7 * limits.memory, 2 * first.memory):
            of = "its limit" if limits.limited else "its share of the machine"
            return f"{self.memory / 1e9:.1f} GB ({first.memory / 1e9:.1f} GB after its first), more than 70 % of {of}"
        return None


def _answered(pipe: Connection, time_limit: float | None, stop: Stop) -> bool:
    """Whether the process answers within its time; it is asked once to end early."""
    if stop is never:
        return pipe.poll(time_limit)
    deadline, told = time.monotonic() + (math.inf if time_limit is None else time_limit), False
    while not pipe.poll(max(0.0, min(STOP_SECONDS, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            return False
        if not told and stop():
            pipe.send(None)
            told = True
    return True


class _LostError(Exception):
    """A worker was lost with its current work."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


def _kill(process: SpawnProcess) -> None:
    """Kill a worker with everything that it has started."""
    if process.pid and process.exitcode is None:
        kill_all(process.pid)
    elif process.pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # it led a group; see `_prepare`


def _cause(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"{name} (the kernel sends it when memory runs out)" if name == "SIGKILL" else name


# --- in the process ---------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, load: Loader[Payload, Result], cores: int, memory_limit: int | None) -> None:
    """Report that the work is loaded, then do it until the pipe ends."""
    try:
        _prepare(cores, memory_limit)
        work = load()
    except Exception as error:
        pipe.send(failure_of(error))
        return
    pipe.send(None)
    try:
        while True:
            payloads = pipe.recv()
            if payloads is None:  # a late request to end work that is already done
                continue
            try:
                found = perform(work, payloads, stop=pipe.poll)
            except KeyboardInterrupt as error:  # of the work itself: no terminal's signal reaches this session
                found = Performed([failure_of(error)] * len(payloads), 0.0)
            pipe.send(found)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        return
    except OSError:  # the work has closed the pipe
        raise SystemExit(1) from None


def _prepare(cores: int, memory_limit: int | None) -> None:
    """Prepare this process as a worker: its share of cores and memory, and its end with its parent."""
    os.setsid()  # a group of its own, to be killed with everything that it starts
    os.dup2(2, 1)  # output of the work must not mix with the command's own
    end_with_parent()
    usual_path()  # for what the work itself may start
    ThreadLimit(cores).__enter__()  # never left: more threads than cores slow each other down
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    # If the machine runs out of memory, the kernel should kill this process rather than its parent.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
