"""``ray``: trials run on a cluster of Ray, or on one that is started on this machine; needs the extra ``ray``.

Ray connects to the cluster that ``RAY_ADDRESS`` names (``auto``: that of this machine). Code and data travel: the nodes
need the libraries, but neither this project nor the files that the evaluator was made from. On a node a trial runs in a
process under Ray's own, as with ``processes``: so a crash or a limit of a trial is told apart from a node that dies.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path
from typing import Any

import baselines
import nas
import search_spaces
from nas.evaluators.base import Evaluator
from nas.evaluators.registry import load_evaluator
from nas.executors.base import Evaluated, Execution, Executor, Failure, failure_of
from nas.executors.worker import Worker
from search_spaces import Architecture, MnasError
from search_spaces.plugins import MODULE_PREFIX


class RayExecutor(Executor):
    """One task of Ray for each trial.

    Args:
        execution: what each trial may have; Ray places it where there is room.
        evaluator, space: by name; the evaluator is loaded here and sent to the nodes.

    Raises:
        MnasError: Ray is not installed or cannot be reached, no node has room for a trial, or the evaluator cannot be
            sent.
    """

    def __init__(self, execution: Execution, evaluator: str, space: str) -> None:
        try:
            import ray
        except ImportError:
            raise MnasError("executor: ray is not installed; pip install 'mnas[ray]'") from None
        self._ray: Any = ray
        self._execution = execution
        packed = self._packed(load_evaluator(evaluator, space))
        self._started_here = not ray.is_initialized()
        if self._started_here:
            self._connect()
        try:
            room = self._room()
            self.workers = execution.workers or room
            self._evaluator = ray.put(packed)
            self._task = ray.remote(_evaluate_shipped).options(
                num_cpus=execution.cores,
                num_gpus=execution.gpus,
                memory=execution.memory_limit,
                max_retries=0,  # attempts are counted in one place, the search
            )
        except BaseException:
            self.close()
            raise

    def _packed(self, evaluator: Evaluator) -> bytes:
        module = type(evaluator).__module__
        if module.startswith(MODULE_PREFIX):  # a file of a person's own: the nodes do not have it
            self._ray.cloudpickle.register_pickle_by_value(sys.modules[module])
        try:
            packed: bytes = self._ray.cloudpickle.dumps(evaluator)
        except Exception as error:  # it may hold anything
            reason = failure_of(error).error
            raise MnasError(f"evaluator: {evaluator.name} cannot be sent to other machines ({reason})") from None
        return packed

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        packages = [str(Path(str(package.__file__)).parent) for package in (search_spaces, baselines, nas)]
        address = os.environ.get("RAY_ADDRESS")
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                include_dashboard=None if address else False,
                runtime_env={"py_modules": packages, "excludes": ["__pycache__"]},
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = failure_of(error).error
            raise MnasError(f"executor: ray cannot be reached ({reason}); see RAY_ADDRESS") from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray takes it over; a search ends by it in its own way

    def _room(self) -> int:
        """How many trials fit the nodes at once. Raises `MnasError` where none does."""
        execution = self._execution
        asked = {"CPU": execution.cores, "GPU": execution.gpus, "memory": execution.memory_limit or 0}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(min(int(has.get(name, 0) / amount) for name, amount in asked.items() if amount) for has in nodes)
        if room < 1:
            most = {name: max((has.get(name, 0) for has in nodes), default=0) for name in asked}
            short = next((name for name, amount in asked.items() if amount > most[name]), "CPU")
            found = f"{most[short]:g} {short}"
            raise MnasError(f"executor: no node has more than {found}, a trial asks for {asked[short]:g}")
        return room

    def submit(self, architectures: Sequence[Architecture]) -> Future[Evaluated]:
        started = time.perf_counter()
        future: Future[Evaluated] = Future()

        def done(found: Future[Any]) -> None:
            error = found.exception()
            seconds = time.perf_counter() - started
            future.set_result(found.result() if error is None else self._lost(error, len(architectures), seconds))

        execution = self._execution
        arguments = (execution.cores, execution.memory_limit, execution.time_limit, tuple(architectures))
        # In a list, so that Ray hands over the reference and not the evaluator itself, each time anew.
        self._task.remote([self._evaluator], *arguments).future().add_done_callback(done)
        return future

    def _lost(self, error: BaseException, count: int, seconds: float) -> Evaluated:
        """Of a task that Ray could not bring to its end."""
        failure = Failure("died", f"the worker died ({failure_of(error).error.split('. ')[0]})")
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            failure = failure_of(error)
        return Evaluated([failure] * count, seconds)

    def close(self) -> None:
        if self._started_here:
            self._ray.shutdown()


def _evaluate_shipped(
    reference: Sequence[Any],
    cores: int,
    memory_limit: int | None,
    time_limit: float | None,
    architectures: Sequence[Architecture],
) -> Evaluated:
    """What a worker of Ray does for a trial."""
    return _worker(reference[0], cores, memory_limit).evaluate(architectures, time_limit)


@cache
def _worker(reference: Any, cores: int, memory_limit: int | None) -> Worker:
    """The process under this one that has the evaluator of a reference."""
    import ray

    return Worker(partial(_unpacked, ray.get(reference)), cores, memory_limit)


def _unpacked(packed: bytes) -> Evaluator:
    import ray

    evaluator: Evaluator = ray.cloudpickle.loads(packed)
    return evaluator
