"""`Executor`: where and how networks are evaluated. The interface that one process, a pool and a cluster share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, NamedTuple

from nas.evaluators.base import Evaluator, Metrics, checked
from search_spaces import Architecture, FieldError, MnasError
from search_spaces.architecture import check_int
from search_spaces.errors import one_line, unknown_name

# The longest that a pipe can be waited on is 2^31 ms; this is 23 days.
MAX_SECONDS = 2_000_000
EXECUTORS = ("in-process", "processes", "ray")


class Fault(NamedTuple):
    """A way to fail.

    Attributes:
        meaning: one line for a person.
        retried: whether another attempt may do better.
    """

    meaning: str
    retried: bool


FAULTS = {
    "refused": Fault("the evaluator cannot judge such a network", retried=False),
    "error": Fault("the evaluator failed", retried=True),
    "memory": Fault("memory ran out", retried=True),
    "time": Fault("the time limit of a trial was over", retried=False),
    "died": Fault("the worker died", retried=True),
}


class Failure(NamedTuple):
    """Why there are no metrics.

    Attributes:
        kind: one of `FAULTS`.
        error: one line for a person.
    """

    kind: str
    error: str


Outcome = Metrics | Failure


def over_time(limit: float) -> Failure:
    """What a trial comes to that is over its time limit, in seconds."""
    return Failure("time", f"was not done after {limit:g} s")


class Evaluated(NamedTuple):
    """What became of architectures that were submitted together.

    Attributes:
        outcomes: of each, in order.
        seconds: that all of them took together.
    """

    outcomes: list[Outcome]
    seconds: float


@dataclass(frozen=True)
class Execution:
    """Where and how trials run. Nothing of it decides what a network's accuracy is.

    Attributes:
        executor: one of `EXECUTORS`.
        workers: trials at once; 0 for as many as there is room for.
        cores: of the processor, for each trial.
        gpus: of each trial, whole or a fraction; on Ray.
        time_limit: seconds of one attempt at a trial; None for no limit.
        memory_limit: bytes of main memory that a trial may allocate; None for no limit.
        retries: further attempts at a trial that failed in a way that may pass (`FAULTS`).

    Raises:
        MnasError: a field breaks its rule.
    """

    executor: str = "in-process"
    workers: int = 1
    cores: int = 1
    gpus: float = 0.0
    time_limit: float | None = None
    memory_limit: int | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS)
        check_int("workers", self.workers, 0, 10_000)
        check_int("cores", self.cores, 1, 1024)
        check_int("retries", self.retries, 0, 100)
        if not 0 <= self.gpus <= 64:
            raise FieldError("gpus", f"{self.gpus!r} is not a number from 0 to 64")
        if self.time_limit is not None and not 0 < self.time_limit <= MAX_SECONDS:
            raise FieldError("time_limit", f"{self.time_limit!r} is not a number of seconds above 0, to {MAX_SECONDS}")
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
                raise MnasError(
                    f"{name}: trials that run in the process of the search itself have none; say --executor processes"
                )
        if self.gpus and self.executor != "ray":
            raise MnasError("gpus: are given to trials by Ray alone; say --executor ray")

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Executor(ABC):
    """Evaluates architectures with one evaluator.

    Attributes:
        workers: how many submissions are worked on at once.
        batched: whether a submission should hold as many architectures as there are; else it should hold one.
    """

    workers: int = 1
    batched: bool = False

    @abstractmethod
    def submit(self, architectures: Sequence[Architecture]) -> Future[Evaluated]:
        """Begin to evaluate. The future raises nothing: whatever happens to a network or a worker is an outcome."""

    def close(self) -> None:  # noqa: B027 - not every executor holds something
        """End all workers at once; what is under way is lost."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def evaluate(evaluator: Evaluator, architectures: Sequence[Architecture]) -> Evaluated:
    """Evaluate architectures here and now, each on its own where together they fail."""
    started = time.perf_counter()
    outcomes = _outcomes(evaluator, architectures)
    return Evaluated(outcomes, time.perf_counter() - started)


def _outcomes(evaluator: Evaluator, architectures: Sequence[Architecture]) -> list[Outcome]:
    try:
        found = evaluator.evaluate(architectures)
        if len(found) != len(architectures):
            raise RuntimeError(f"gave {len(found)} results for {len(architectures)} architectures")
    except Exception as error:  # an evaluator may fail in any way; a search must outlive it
        if len(architectures) > 1:  # find out which one it was
            return [outcome for architecture in architectures for outcome in _outcomes(evaluator, [architecture])]
        return [failure_of(error)]
    results = map(checked, found)
    return [Failure("error", result) if isinstance(result, str) else result for result in results]


# How torch says on a CPU that memory is used up: there it has no exception of its own for it.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "not enough memory", "Unable to allocate")


def failure_of(error: BaseException) -> Failure:
    """An exception of an evaluator as a failure: what it cannot judge, what there was no memory for, or a fault."""
    text = one_line(f"{type(error).__name__}: {error}".splitlines()[0])
    if isinstance(error, FieldError):
        return Failure("refused", text)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Failure("memory", text)
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _OUT_OF_MEMORY):
        return Failure("memory", text)
    return Failure("error", text)
