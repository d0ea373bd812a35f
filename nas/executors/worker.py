"""What a process does that evaluates trials for a search in another process."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from contextlib import suppress
from pathlib import Path

from threadpoolctl import ThreadpoolController

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def prepare(cores: int, memory_limit: int | None) -> None:
    """Make this process a good worker: its share of cores and memory, and no life of its own.

    Args:
        cores: threads of torch and of matrices; with more of them than cores, they wait for each other.
        memory_limit: bytes that it may allocate; an allocation beyond fails, and with it the trial alone.
    """
    os.setsid()  # a group of its own, to be ended together with whatever it starts
    _end_with_parent()
    limit_threads(cores)
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
    # Where the machine's memory runs out, the kernel should end this process rather than the search.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def limit_threads(cores: int) -> None:
    """Threads of libraries that are loaded, and of those that will be."""
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(cores)))
    ThreadpoolController().limit(limits=cores)


def _end_with_parent() -> None:
    """A search that is killed must not leave a training behind that goes on for an hour."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
