"""The search loop: suggest, decode, evaluate, reward, record, update."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from threadpoolctl import threadpool_limits

from nas.controllers.base import Controller
from nas.controllers.registry import CONTROLLERS, make_controller
from nas.evaluators.base import Evaluator, Metrics
from nas.evaluators.registry import load_evaluator
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Architecture, Genotype, SearchSpace, architecture_cost, load_space
from search_spaces.architecture import check_int
from search_spaces.errors import MnasError, unknown_name

# A search whose evaluator fails this often in a row has a cause that more trials will not mend.
MAX_FAILURES_IN_A_ROW = 50

Record = Callable[[Sequence[Trial], Controller], None]


@dataclass(frozen=True)
class SearchSettings:
    """All that decides a search: equal settings and versions give equal trials.

    Attributes:
        space, evaluator, controller: by name.
        objective, target_macs, exponent: see `nas.objective.Objective`.
        trials: how many to run.
        seed: of the controller.

    Raises:
        MnasError: a name is unknown, a number breaks its rule, or the target lies outside the space.
    """

    space: str
    evaluator: str
    controller: str
    objective: str
    target_macs: int
    exponent: float
    trials: int
    seed: int

    def __post_init__(self) -> None:
        check_int("trials", self.trials, 1, 10_000_000)
        check_int("seed", self.seed, 0, 2**32 - 1)
        if self.controller not in CONTROLLERS:
            raise unknown_name("controller", self.controller, CONTROLLERS)
        space = load_space(self.space)
        load_evaluator(self.evaluator).check(space.template)
        self.make_objective()
        space.check_target(self.target_macs)

    def make_objective(self) -> Objective:
        """The objective of these settings."""
        return Objective(self.objective, self.target_macs, self.exponent)

    def as_dict(self) -> dict[str, str | int | float]:
        """Plain data of the settings."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def run_search(settings: SearchSettings, record: Record = lambda trials, controller: None) -> list[Trial]:
    """Run a whole search.

    Args:
        settings: of the search.
        record: called after every batch, before the controller learns from it, with the batch's trials.

    Returns:
        All trials in order; fewer than asked for only where the controller had no more to suggest.

    Raises:
        MnasError: the evaluator failed `MAX_FAILURES_IN_A_ROW` times in a row.
    """
    space = load_space(settings.space)
    objective = settings.make_objective()
    runner = _TrialRunner(space, load_evaluator(settings.evaluator), objective)
    controller = make_controller(settings.controller, space, objective, settings.seed)
    trials: list[Trial] = []
    failures = 0
    # A controller's matrices are small: more threads gain nothing, and where another process holds a core they wait for
    # each other and take twenty times as long.
    limits = threadpool_limits(1)
    try:
        while len(trials) < settings.trials:
            suggestions = controller.suggest(min(controller.batch_size, settings.trials - len(trials)))
            if not suggestions:
                break
            batch = runner.run(suggestions, first_number=len(trials))
            trials.extend(batch)
            record(batch, controller)
            controller.update(batch)
            for trial in batch:
                failures = failures + 1 if trial.error else 0
            if failures >= MAX_FAILURES_IN_A_ROW:
                raise MnasError(f"evaluator {settings.evaluator!r}: {failures} failures in a row; last: {trial.error}")
    finally:
        limits.restore_original_limits()
        controller.close()
    return trials


class _TrialRunner:
    """Turns suggestions into trials; a network that was evaluated before in the run is not evaluated again."""

    def __init__(self, space: SearchSpace, evaluator: Evaluator, objective: Objective) -> None:
        self._space = space
        self._evaluator = evaluator
        self._objective = objective
        self._known: dict[bytes, Metrics | str] = {}

    def run(self, genotypes: Sequence[Genotype], first_number: int) -> list[Trial]:
        rows = self._space.indices(genotypes)
        keys = [row.tobytes() for row in rows]
        architectures = self._space.decode_indices(rows)
        new = {
            key: architecture for key, architecture in zip(keys, architectures, strict=True) if key not in self._known
        }
        started = time.perf_counter()
        outcomes = self._evaluate(list(new.values()))
        seconds = (time.perf_counter() - started) / max(1, len(new))
        self._known.update(zip(new, outcomes, strict=True))
        trials = []
        for offset, (key, genotype, architecture) in enumerate(zip(keys, genotypes, architectures, strict=True)):
            spent = seconds if new.pop(key, None) is not None else 0.0
            trials.append(self._trial(first_number + offset, dict(genotype), architecture, self._known[key], spent))
        return trials

    def _trial(
        self, number: int, genotype: Genotype, architecture: Architecture, outcome: Metrics | str, seconds: float
    ) -> Trial:
        cost = architecture_cost(architecture)
        if isinstance(outcome, str):
            return Trial(number, genotype, architecture, cost, None, None, outcome, seconds)
        reward = self._objective.reward(outcome.accuracy, cost.macs)
        return Trial(number, genotype, architecture, cost, outcome, reward, None, seconds)

    def _evaluate(self, architectures: Sequence[Architecture]) -> list[Metrics | str]:
        """Metrics, or why there are none, of each architecture."""
        if not architectures:
            return []
        try:
            found = self._evaluator.evaluate(architectures)
            if len(found) != len(architectures):
                raise RuntimeError(f"gave {len(found)} results for {len(architectures)} architectures")
        except Exception as error:  # an evaluator may fail in any way; a search must outlive it
            if len(architectures) > 1:  # find out which one it was
                return [outcome for architecture in architectures for outcome in self._evaluate([architecture])]
            return [f"{type(error).__name__}: {error}"]
        return [metrics.problem() or metrics for metrics in found]
