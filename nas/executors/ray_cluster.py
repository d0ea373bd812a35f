"""``ray``: work is done on a Ray cluster, or on one that is started on this machine; needs the extra ``ray``.

Ray connects to the cluster at ``RAY_ADDRESS`` (``auto``: that of this machine). Code and data are sent: the nodes need
the libraries, but neither this project nor the files that the work was loaded from. On a node, work is done in a
process under Ray's own, as with ``processes``, so that a crash or a limit can be told from the death of a node.
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

from nas.executors.base import Execution, Executor, Failure, Payload, Performed, Result, Work, failure_of
from nas.executors.worker import Worker
from search_spaces import MnasError
from search_spaces.errors import not_installed
from search_spaces.plugins import MODULE_PREFIX

# Folder of the packages that are sent to the nodes.
PACKAGES = Path(__file__).resolve().parents[2]


class RayExecutor(Executor[Payload, Result]):
    """One Ray task for each submission.

    Args:
        execution: resources of each task; Ray places it where there is room.
        work: work that is sent to the nodes.

    Raises:
        MnasError: Ray is not installed or cannot be reached, no node has room for a task, or the work cannot be sent.
    """

    def __init__(self, execution: Execution, work: Work[Payload, Result]) -> None:
        try:
            import ray
        except ImportError:
            raise not_installed("executor", "ray", "ray") from None
        self._ray: Any = ray
        self._execution = execution
        packed = self._packed(work)
        self._started_here = not ray.is_initialized()
        if self._started_here:
            self._connect()
        try:
            room = self._room()
            self.workers = execution.workers or room
            self._work = ray.put(packed)
            self._task = ray.remote(_perform_shipped).options(
                num_cpus=execution.cores,
                num_gpus=execution.gpus,
                memory=execution.memory_limit,
                max_retries=0,  # attempts are counted in one place, by the caller
            )
        except BaseException:
            self.close()
            raise

    def _packed(self, work: Work[Payload, Result]) -> bytes:
        if work.module.startswith(MODULE_PREFIX):  # a user's file, which the nodes do not have
            self._ray.cloudpickle.register_pickle_by_value(sys.modules[work.module])
        try:
            packed: bytes = self._ray.cloudpickle.dumps(work)
        except Exception as error:  # the work may hold anything
            reason = failure_of(error).error
            raise MnasError(
                f"executor: {work.name} cannot be sent to other machines ({reason}); use --executor processes"
            ) from None
        return packed

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        packages = [str(PACKAGES / name) for name in ("search_spaces", "baselines", "nas", "scaling")]
        address = os.environ.get("RAY_ADDRESS")
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                include_dashboard=None if address else False,
                runtime_env={"py_modules": packages, "excludes": ["__pycache__"]},
                job_config=_job(),
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = failure_of(error).error
            raise MnasError(f"executor: ray cannot be reached ({reason}); check RAY_ADDRESS") from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray replaces it, but a run has its own way to end on it

    def _room(self) -> int:
        """Number of tasks that fit on the nodes at once. Raises `MnasError` if none fits."""
        execution = self._execution
        asked = {"CPU": execution.cores, "GPU": execution.gpus, "memory": execution.memory_limit or 0}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        room = sum(min(int(has.get(name, 0) / amount) for name, amount in asked.items() if amount) for has in nodes)
        if room < 1:
            most = {name: max((has.get(name, 0) for has in nodes), default=0) for name in asked}
            short = next((name for name, amount in asked.items() if amount > most[name]), "CPU")
            found = f"{most[short]:g} {short}"
            raise MnasError(
                f"executor: no node has more than {found}, one task asks for {asked[short]:g}; ask for less"
            )
        return room

    def submit(self, payloads: Sequence[Payload]) -> Future[Performed[Result]]:
        started = time.perf_counter()
        future: Future[Performed[Result]] = Future()

        def done(found: Future[Any]) -> None:
            error = found.exception()
            seconds = time.perf_counter() - started
            future.set_result(found.result() if error is None else self._lost(error, len(payloads), seconds))

        execution = self._execution
        arguments = (execution.cores, execution.memory_limit, execution.time_limit, tuple(payloads))
        # In a list, so that Ray passes the reference instead of the work itself.
        self._task.remote([self._work], *arguments).future().add_done_callback(done)
        return future

    def _lost(self, error: BaseException, count: int, seconds: float) -> Performed[Result]:
        """The outcome of a task that Ray could not complete."""
        failure = Failure("died", f"the worker died ({failure_of(error).error.split('. ')[0]})")
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            failure = failure_of(error)
        return Performed([failure] * count, seconds)

    def close(self) -> None:
        if self._started_here:
            self._ray.shutdown()


def _job() -> Any:
    """The job of a run: its workers look for modules where this process does.

    Ray would put the current folder first, which may have been received from others, unless a job says that it has a
    working folder of its own.
    """
    from ray.job_config import JobConfig

    class Job(JobConfig):
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    here, script = str(Path.cwd()), str(Path(sys.argv[0]).resolve().parent)
    own = {"": here, here: here, script: script}
    return Job(_py_driver_sys_path=list(dict.fromkeys(own[place] for place in sys.path if place in own)))


def _perform_shipped(
    reference: Sequence[Any],
    cores: int,
    memory_limit: int | None,
    time_limit: float | None,
    payloads: Sequence[Any],
) -> Performed[Any]:
    """Perform a submission in a Ray worker."""
    return _worker(reference[0], cores, memory_limit).perform(payloads, time_limit)


@cache
def _worker(reference: Any, cores: int, memory_limit: int | None) -> Worker[Any, Any]:
    """The child process that has the work of a reference."""
    import ray

    return Worker(partial(_unpacked, ray.get(reference)), cores, memory_limit)


def _unpacked(packed: bytes) -> Work[Any, Any]:
    import ray

    work: Work[Any, Any] = ray.cloudpickle.loads(packed)
    return work
