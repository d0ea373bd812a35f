"""How processes start and end: children import nothing from the current folder, leave Ctrl-C to their parent, and end
with it; Ctrl-C once to finish, twice to end at once.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path

from baselines.notices import say

_PR_SET_CHILD_SUBREAPER = 36
# Python's own variable for a path without the current folder, and ours, for that it was not set by the user.
_SAFE, _OURS = "PYTHONSAFEPATH", "MNAS_SAFE_PATH"
_LOCK = threading.RLock()


@contextmanager
def interruptible(*, saving: bool = False) -> Iterator[Callable[[], bool]]:
    """While inside, the first Ctrl-C asks to start nothing more; a second one ends at once.

    So does a SIGTERM, and the SIGHUP of a terminal that is closed, unless the process ignores it (``nohup``).

    Args:
        saving: whether the work saves its state when it is asked to stop; a SIGTERM or SIGHUP then asks first, too.

    Yields:
        A function that returns whether it was asked.

    Raises:
        KeyboardInterrupt: it is to end at once.
    """
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set() or not (saving or number == signal.SIGINT):
            raise KeyboardInterrupt
        stop.set()
        say("mnas: finishing work in progress; press Ctrl-C again to end at once")

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def starting_children() -> Iterator[None]:
    """Start processes inside this: every child process of the project starts so.

    They ignore Ctrl-C in the terminal, which this process handles. Their Python does not look for modules in the
    current folder, which may have been received from others: multiprocessing starts them as ``python -c``, which does
    so otherwise. A child that runs code of the user calls `usual_path`.
    """
    with _LOCK, _safe_path():
        resource_tracker.ensure_running()  # a process too; if started below, it would unblock interrupts again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _safe_path() -> Iterator[None]:
    """Python processes that are started inside begin with a safe path."""
    if _SAFE in os.environ:
        yield
        return
    os.environ |= {_SAFE: "1", _OURS: "1"}
    try:
        yield
    finally:
        usual_path()


def usual_path() -> None:
    """Let Python processes that this process starts find modules as they would without `starting_children`."""
    if os.environ.pop(_OURS, None):
        del os.environ[_SAFE]


def end_with_parent() -> None:
    """End this process and all that it starts when its parent ends, so that no training continues without one."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    # Processes whose own parent ends become children of this one, where `kill_all` finds them.
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def watch() -> None:
        parent.join()
        kill_all(os.getpid())

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def kill_all(process: int) -> None:
    """Kill a process, its group, and all that it has started, in sessions of their own too."""
    others = _descendants(process)
    for number in (*others, *(_descendants(process) - others)):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _descendants(process: int) -> set[int]:
    """Children of a process, their children, and so on; none where the system does not tell."""
    found: set[int] = set()
    left = [process]
    while left:
        for thread in Path(f"/proc/{left.pop()}/task").glob("*/children"):
            with suppress(OSError):
                children = {int(number) for number in thread.read_text().split()} - found
                found |= children
                left += children
    return found
