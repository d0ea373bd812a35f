"""``ray``: trials run on a cluster of Ray, or on one that is started on this machine; needs the extra ``ray``.

Ray connects to the cluster that ``RAY_ADDRESS`` names (``auto``: that of this machine). Code and data travel: the nodes
need the libraries, but neither this project nor the files that the evaluator was made from.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import baselines
import nas
import search_spaces
from nas.evaluators.base import Evaluator
from nas.evaluators.registry import load_evaluator
from nas.executors.base import Evaluated, Execution, Executor, Failure, evaluate, failure_of, over_time
from nas.executors.worker import limit_threads
from search_spaces import Architecture, MnasError
from search_spaces.plugins import MODULE_PREFIX

# Python code is stopped at the time limit; code that does not come back to Python, so many seconds later.
GRACE = 10.0


class RayExecutor(Executor):
    """One task of Ray for each trial.

    Args:
        execution: what each trial may have; Ray places it where there is room.
        evaluator, space: by name; the evaluator is loaded here and sent to the nodes.

    Raises:
        MnasError: Ray is not installed, or the cluster has too little for one trial.
    """

    def __init__(self, execution: Execution, evaluator: str, space: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise MnasError("executor: ray is not installed; pip install 'mnas[ray]'") from None
        self._ray: Any = ray
        self._execution = execution
        self._started_here = not ray.is_initialized()
        if self._started_here:
            packages = [str(Path(str(package.__file__)).parent) for package in (search_spaces, baselines, nas)]
            try:
                address = os.environ.get("RAY_ADDRESS")
                ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    include_dashboard=None if address else False,
                    runtime_env={"py_modules": packages, "excludes": ["__pycache__"]},
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = failure_of(error).error
                raise MnasError(f"executor: ray cannot be reached ({reason}); see RAY_ADDRESS") from None
        try:
            self.workers = execution.workers or self._room()
            loaded = load_evaluator(evaluator, space)
            module = type(loaded).__module__
            if module.startswith(MODULE_PREFIX):  # a file of a person's own: the nodes do not have it
                self._ray.cloudpickle.register_pickle_by_value(sys.modules[module])
            self._evaluator = ray.put(loaded)
            self._task = ray.remote(_evaluate_shipped).options(
                num_cpus=execution.cores,
                num_gpus=execution.gpus,
                memory=execution.memory_limit,
                max_retries=0,  # attempts are counted in one place, the search
            )
        except BaseException:
            self.close()
            raise

    def _room(self) -> int:
        """How many trials fit the cluster at once."""
        has = self._ray.cluster_resources()
        asked = {"CPU": self._execution.cores, "GPU": self._execution.gpus}
        rooms = {name: int(has.get(name, 0) / amount) for name, amount in asked.items() if amount}
        for name, room in rooms.items():
            if room < 1:
                found = f"{has.get(name, 0):g} {name}"
                raise MnasError(f"executor: the cluster has {found}, a trial asks for {asked[name]:g}")
        return min(rooms.values())

    def submit(self, architectures: Sequence[Architecture]) -> Future[Evaluated]:
        started = time.perf_counter()
        future: Future[Evaluated] = Future()

        def done(found: Future[Any]) -> None:
            error = found.exception()
            seconds = time.perf_counter() - started
            future.set_result(found.result() if error is None else self._lost(error, len(architectures), seconds))

        execution = self._execution
        arguments = (execution.cores, execution.time_limit, execution.memory_limit, tuple(architectures))
        # In a list, so that Ray hands over the reference and not the evaluator itself, each time anew.
        self._task.remote([self._evaluator], *arguments).future().add_done_callback(done)
        return future

    def _lost(self, error: BaseException, count: int, seconds: float) -> Evaluated:
        limit = self._execution.time_limit
        if limit is not None and seconds >= limit + GRACE:
            failure = over_time(limit)
        elif isinstance(error, self._ray.exceptions.RayTaskError):
            failure = failure_of(error.cause if error.cause is not None else error)
        elif isinstance(error, self._ray.exceptions.OutOfMemoryError):
            failure = failure_of(error)
        else:
            failure = Failure("died", f"the worker died ({failure_of(error).error.split('. ')[0]})")
        return Evaluated([failure] * count, seconds)

    def close(self) -> None:
        if self._started_here:
            self._ray.shutdown()


def _evaluate_shipped(
    reference: Sequence[Any],
    cores: int,
    time_limit: float | None,
    memory_limit: int | None,
    architectures: Sequence[Architecture],
) -> Evaluated:
    """What a worker of Ray does for a trial."""
    started = time.perf_counter()
    limit_threads(cores)
    if memory_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    try:
        with _ended_after(time_limit):
            return evaluate(_evaluator_of(reference[0]), architectures)
    except _TimeIsOver:
        assert time_limit is not None
        return Evaluated([over_time(time_limit)] * len(architectures), time.perf_counter() - started)


@cache
def _evaluator_of(reference: Any) -> Evaluator:
    """The evaluator of a reference, unpacked once in each worker."""
    import ray

    loaded: Evaluator = ray.get(reference)
    return loaded


class _TimeIsOver(BaseException):
    """No `Exception`, so that an evaluator does not take it for a fault of its own."""


@contextmanager
def _ended_after(seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
        return

    def over(number: int, frame: object) -> None:
        raise _TimeIsOver

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()
