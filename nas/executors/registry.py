"""The executors by name."""

from __future__ import annotations

import os

from nas.evaluators.registry import load_evaluator
from nas.executors.base import Execution, Executor
from nas.executors.in_process import InProcessExecutor


def make_executor(execution: Execution, evaluator: str, space: str) -> Executor:
    """The executor that a search asks for, with its workers started or about to.

    Args:
        evaluator, space: by name.

    Raises:
        MnasError: the name is unknown, what it needs is not installed, or there is too little room for one worker.
    """
    if execution.executor == "in-process":
        return InProcessExecutor(load_evaluator(evaluator, space))
    if execution.executor == "ray":
        from nas.executors.ray_cluster import RayExecutor

        return RayExecutor(execution, evaluator, space)
    from dataclasses import replace

    from nas.executors.processes import ProcessExecutor

    workers = execution.workers or max(1, (os.cpu_count() or 1) // execution.cores)
    return ProcessExecutor(replace(execution, workers=workers), evaluator, space)
