"""The executors by name."""

from __future__ import annotations

import os
from dataclasses import replace

from nas.executors.base import Execution, Executor, Loader, Payload, Result, Stop, never
from nas.executors.in_process import InProcessExecutor
from nas.executors.processes import ProcessExecutor


def make_executor(execution: Execution, load: Loader[Payload, Result], stop: Stop = never) -> Executor[Payload, Result]:
    """The executor of an execution; workers start when they are first needed.

    Args:
        execution: where and how the work is done.
        load: function that returns the work; each worker calls it, so it must be picklable.
        stop: whether running work should end early; on a cluster it never does.

    Raises:
        MnasError: a package of the executor is not installed, or there is too little room for one worker.
    """
    if execution.executor == "in-process":
        return InProcessExecutor(load(), stop)
    if execution.executor == "ray":
        from nas.executors.ray_cluster import RayExecutor

        return RayExecutor(execution, load())
    workers = execution.workers or max(1, (os.cpu_count() or 1) // execution.cores)
    return ProcessExecutor(replace(execution, workers=workers), load, stop)
