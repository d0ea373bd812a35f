"""`Executor`: where and how work is done. The common interface of one process, several processes and a cluster.

An executor does one kind of `Work`: evaluating networks for a search (`nas.evaluators.work`), or the jobs of a study
(`nas.studies.engine`). It depends on neither; it sends payloads to the work and returns outcomes.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar

from baselines.text import Quantity, Seconds, seconds_text
from search_spaces import FieldError, MnasError
from search_spaces.architecture import check_int, check_number
from search_spaces.errors import ForeignError, reason_of, unknown_name
from search_spaces.serialization import from_dict

# A pipe can be polled for at most 2^31 ms (24 days); this is 23 days.
MAX_SECONDS = 2_000_000
EXECUTORS = ("in-process", "processes", "ray")

Payload = TypeVar("Payload")
Result = TypeVar("Result")
Stop = Callable[[], bool]


class Fault(NamedTuple):
    """A kind of failure.

    Attributes:
        meaning: one line for a person.
        retried: whether another attempt may succeed.
    """

    meaning: str
    retried: bool


FAULTS = {
    "refused": Fault("the work cannot be done on such a payload", retried=False),
    "error": Fault("the work failed", retried=True),
    "memory": Fault("memory ran out", retried=True),
    "time": Fault("the time limit was exceeded", retried=False),
    "died": Fault("the worker died", retried=True),
}


class Failure(NamedTuple):
    """The reason why there is no result.

    Attributes:
        kind: key of `FAULTS`.
        error: one line for a person.
    """

    kind: str
    error: str


def over_time(limit: float) -> Failure:
    """The failure of work that exceeded its time limit, in seconds."""
    return Failure("time", f"was not done after {seconds_text(limit)}")


class Performed(NamedTuple, Generic[Result]):
    """The outcomes of payloads that were submitted together.

    Attributes:
        outcomes: result or failure of each payload, in order.
        seconds: total time of all of them.
    """

    outcomes: list[Result | Failure]
    seconds: float


class Work(ABC, Generic[Payload, Result]):
    """What an executor does with payloads. Payloads and results are sent between processes.

    Attributes:
        name: name for a person.
        instant: whether it answers at once, so that many payloads should be given together.
    """

    name: str
    instant: bool = False

    @abstractmethod
    def perform(self, payloads: Sequence[Payload], stop: Stop) -> Sequence[Result | Failure]:
        """Do the work.

        Args:
            payloads: payloads to work on.
            stop: whether to end early; long work checks it from time to time.

        Raises:
            Exception: any; payloads that fail together are performed again one by one.
        """

    @property
    def module(self) -> str:
        """Name of the module whose code must be sent with the work."""
        return type(self).__module__


Loader = Callable[[], Work[Payload, Result]]


@dataclass(frozen=True)
class Execution:
    """Where and how trials, or jobs of a study, run. It does not affect a network's accuracy.

    Attributes:
        executor: place where they run.
        workers: trials or jobs that run at once; 0 for as many as there is room for.
        cores: processor cores for each.
        gpus: GPUs for each, whole or a fraction; with ray.
        time_limit: time limit of each: 90, 90s, 10m, 2h or none; none by default.
        memory_limit: bytes that each may allocate: 4G or none; none by default.
        retries: further attempts after a failure that may pass.

    Raises:
        MnasError: a field breaks its rule.
    """

    executor: str = "in-process"
    workers: int = 1
    cores: int = 1
    gpus: float = 0.0
    time_limit: Seconds | None = None
    memory_limit: Quantity | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS)
        check_int("workers", self.workers, 0, 10_000)
        check_int("cores", self.cores, 1, 1024)
        check_int("retries", self.retries, 0, 100)
        check_number("gpus", self.gpus, 0, 64)
        if self.time_limit is not None:
            check_number("time_limit", self.time_limit, 0.001, MAX_SECONDS)
        if self.memory_limit is not None:
            check_int("memory_limit", self.memory_limit, 1_000_000, 10**15)
        if self.executor == "in-process":
            fixed = {
                "workers": self.workers > 1,
                "cores": self.cores > 1,
                "time_limit": self.time_limit,
                "memory_limit": self.memory_limit,
            }
            for name in (name for name, given in fixed.items() if given):
                raise MnasError(f"{name}: needs trials in processes of their own; use --executor processes")
        if self.gpus and self.executor != "ray":
            raise MnasError("gpus: only ray assigns GPUs to trials; use --executor ray")

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def execution_of(
    changes: Mapping[str, Any], before: Mapping[str, Any] | None = None, *, apart: bool = False
) -> Execution:
    """An execution from some of its fields.

    Work runs in this process if nothing speaks against it. Several workers, cores and limits need processes of their
    own, and on a cluster there are as many workers as there is room for.

    Args:
        changes: fields that the user chose.
        before: fields of the last session, or defaults.
        apart: whether a process of its own is better, such as for work that takes long.

    Raises:
        MnasError: a field is unknown or breaks its rule.
    """
    known = [field.name for field in fields(Execution)]
    for name in changes:
        if name not in known:
            raise unknown_name("execution", name, known)
    given = {**(before or {}), **changes}
    if changes.get("executor") == "in-process":  # which has one worker and no limits
        return from_dict(Execution, {"retries": given.get("retries", Execution.retries), **changes}, "execution")
    if "executor" not in changes and given.get("executor", "in-process") == "in-process":
        apart |= given.get("workers", 1) != 1 or given.get("cores", 1) != 1
        apart |= any(given.get(limit) is not None for limit in ("time_limit", "memory_limit"))
        given["executor"] = "processes" if apart else "in-process"
    if given["executor"] == "ray" and "workers" not in changes and (before or {}).get("executor") != "ray":
        given["workers"] = 0
    return from_dict(Execution, given, "execution")


class Executor(ABC, Generic[Payload, Result]):
    """Does one kind of work.

    Attributes:
        workers: number of submissions that are worked on at once.
        batched: whether a submission should hold all available payloads; otherwise it should hold one.
    """

    workers: int = 1
    batched: bool = False

    @abstractmethod
    def submit(self, payloads: Sequence[Payload]) -> Future[Performed[Result]]:
        """Start work on payloads. The future never raises: whatever happens to a payload or a worker is an outcome."""

    def close(self) -> None:
        """End all workers at once; their current work is lost."""

    def __enter__(self) -> Executor[Payload, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def never() -> bool:
    """The ``stop`` of work that never ends early."""
    return False


def perform(work: Work[Payload, Result], payloads: Sequence[Payload], stop: Stop = never) -> Performed[Result]:
    """Do work in this process; payloads that fail together are performed one by one."""
    started = time.perf_counter()
    outcomes = _outcomes(work, payloads, stop)
    return Performed(outcomes, time.perf_counter() - started)


def _outcomes(work: Work[Payload, Result], payloads: Sequence[Payload], stop: Stop) -> list[Result | Failure]:
    try:
        return list(work.perform(payloads, stop))
    except Exception as error:  # work may fail in any way, and must not end its caller
        if len(payloads) > 1:  # find out which one it was
            return [outcome for payload in payloads for outcome in _outcomes(work, [payload], stop)]
        return [failure_of(error)]


# Texts of torch's RuntimeError when memory runs out on a CPU, where it has no exception type for it.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "Unable to allocate")


def failure_of(error: BaseException) -> Failure:
    """An exception of work as a failure: a refusal, a lack of memory, or an error."""
    text = str(error) if isinstance(error, ForeignError) else reason_of(error)
    if isinstance(error, FieldError):
        return Failure("refused", text)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Failure("memory", text)
    if isinstance(error, RuntimeError) and any(sign in text for sign in _OUT_OF_MEMORY):
        return Failure("memory", text)
    return Failure("error", text)
