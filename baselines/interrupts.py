"""How processes start and end: children import nothing from the current folder, leave Ctrl-C to their parent, and end
with it; Ctrl-C once to finish, twice to end at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from baselines.notices import say

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
    """End this process and its group when its parent ends, so that no training continues without one."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
