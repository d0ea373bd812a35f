"""Evaluating networks as work that any executor can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from nas.evaluators.base import Evaluator, Metrics, Network
from nas.evaluators.guard import GuardedEvaluator
from nas.evaluators.registry import evaluator_loader, load_evaluator
from nas.executors.base import Failure, Loader, Stop, Work

Outcome = Metrics | Failure


class Evaluation(Work[Network, Metrics]):
    """Evaluates networks.

    Args:
        evaluator: source of the metrics.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.name, self.instant = evaluator.name, evaluator.instant

    def perform(self, payloads: Sequence[Network], stop: Stop) -> Sequence[Metrics]:
        return self._evaluator.evaluate(payloads)

    @property
    def module(self) -> str:
        evaluator = self._evaluator
        return type(evaluator.inner if isinstance(evaluator, GuardedEvaluator) else evaluator).__module__


def evaluation(evaluator: str, space: str, *, apart: bool = False) -> Loader[Network, Metrics]:
    """A function that loads the evaluation with an evaluator, by name.

    Args:
        evaluator, space: names of the evaluator and the space.
        apart: whether other processes load it.

    Raises:
        MnasError: the evaluator was given as an object that cannot be sent to another process.
    """
    load = evaluator_loader(evaluator, space) if apart else partial(load_evaluator, evaluator, space)
    return partial(_load, load)


def _load(load: Callable[[], Evaluator]) -> Evaluation:
    return Evaluation(load())
