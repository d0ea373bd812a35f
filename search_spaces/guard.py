"""Calling code that others wrote: it may raise what ends a process, and may change the process that it runs in.

An evaluator may raise `SystemExit`, turn off gradients, or change the current folder. A search with it must go on, and
must be the same search.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np

from search_spaces.errors import ForeignError, reason_of


@contextmanager
def guarded() -> Iterator[None]:
    """Call code of others inside: what it changes of the process is put back.

    Raises:
        ForeignError: it raised what ends a process, such as `SystemExit`.
        Exception: any other, and `KeyboardInterrupt`.
    """
    with ExitStack() as after:
        for state in _states():
            after.callback(state)
        try:
            yield
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise ForeignError(reason_of(error)) from None


def _states() -> Iterator[Callable[[], None]]:
    """A function for each part of the process's state that puts it back."""
    with suppress(OSError):  # it may have been removed, or must not be read
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

        def go_back() -> None:
            os.fchdir(folder)
            os.close(folder)

        yield go_back
    environment = dict(os.environ)

    def restore_environment() -> None:
        if os.environ != environment:
            os.environ.clear()
            os.environ.update(environment)

    yield restore_environment
    yield from _outputs()
    numpy_errors, filters, depth = np.geterr(), warnings.filters[:], sys.getrecursionlimit()
    yield partial(_restore_numpy, numpy_errors)

    def restore_filters() -> None:
        if list(warnings.filters) != list(filters):
            warnings.filters[:] = filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]

    yield restore_filters
    yield lambda: sys.setrecursionlimit(depth)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            yield _handler(number)
    if "torch" in sys.modules:
        yield from _torch_states()


def _outputs() -> Iterator[Callable[[], None]]:
    """Functions that put stdout and stderr back; if one was closed, its text would go into the next file opened."""
    for stream in (1, 2):
        with suppress(OSError):
            kept = os.dup(stream)

            def restore(stream: int = stream, kept: int = kept) -> None:
                now = None
                with suppress(OSError):
                    now = os.fstat(stream)
                if now is None or not os.path.samestat(now, os.fstat(kept)):
                    os.dup2(kept, stream)
                os.close(kept)

            yield restore


def _restore_numpy(errors: Any) -> None:
    np.seterr(**errors)


def _handler(number: signal.Signals) -> Callable[[], None]:
    before = signal.getsignal(number)

    def restore() -> None:
        if before is not None and signal.getsignal(number) is not before:
            signal.signal(number, before)

    return restore


def _torch_states() -> Iterator[Callable[[], None]]:
    import torch

    gradients, kind, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    device = torch.get_default_device()

    def restore() -> None:
        torch.set_grad_enabled(gradients)
        torch.set_default_dtype(kind)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)

    yield restore
