"""``in-process``: trials run in the process of the search, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from nas.evaluators.base import Evaluator
from nas.executors.base import Evaluated, Executor, evaluate
from search_spaces import Architecture


class InProcessExecutor(Executor):
    """Evaluates at once, before `submit` returns.

    Args:
        evaluator: is asked for a whole batch where it answers at once.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self.batched = evaluator.instant

    def submit(self, architectures: Sequence[Architecture]) -> Future[Evaluated]:
        future: Future[Evaluated] = Future()
        future.set_result(evaluate(self._evaluator, architectures))
        return future
