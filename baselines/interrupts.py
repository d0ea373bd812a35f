"""How processes end: Ctrl-C once to finish, twice to end at once; and children that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While inside, the first Ctrl-C asks to start nothing more; a second one, or a SIGTERM, ends at once.

    Yields:
        A function that returns whether the first Ctrl-C has happened.

    Raises:
        KeyboardInterrupt: a second Ctrl-C, or a SIGTERM.
    """
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set() or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stop.set()
        print("mnas: finishing work in progress; press Ctrl-C again to end at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Start processes inside this so that they ignore Ctrl-C in the terminal, which this process handles."""
    resource_tracker.ensure_running()  # if started inside, it would unblock interrupts again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process and its group when its parent ends, so that no training continues without one."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
