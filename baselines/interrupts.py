"""Ctrl-C in two steps: the first asks to come to an end, the second ends at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """While inside, the first Ctrl-C asks to begin nothing more, and the second, or a SIGTERM, ends at once.

    Gives what says whether the first has happened.

    Raises:
        KeyboardInterrupt: on the second.
    """
    stop = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        if stop.is_set() or number == signal.SIGTERM:
            raise KeyboardInterrupt
        stop.set()
        print("mnas: finishing what is under way; Ctrl-C again ends at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
