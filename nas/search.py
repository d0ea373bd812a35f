"""The search loop: suggest, decode, evaluate, reward, record, update."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from nas.controllers.base import Controller
from nas.controllers.registry import check_controller, make_controller
from nas.costs.metrics import check_target, cost_function
from nas.evaluators.base import Evaluator, Metrics, checked
from nas.evaluators.registry import load_evaluator
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Architecture, Genotype, MnasError, SearchSpace, load_space
from search_spaces.architecture import check_int
from search_spaces.space import Indices

# A search whose evaluator fails this often in a row has a cause that more trials will not mend.
MAX_FAILURES_IN_A_ROW = 50

Record = Callable[[Sequence[Trial], Controller], None]


@dataclass(frozen=True)
class SearchSettings:
    """All that decides a search: equal settings and versions give equal trials.

    Attributes:
        space, evaluator, controller: by name.
        objective: what is maximised.
        trials: how many to run.
        seed: of the controller.

    Raises:
        MnasError: a name is unknown, a number breaks its rule, or a target lies outside the space.
    """

    space: str
    evaluator: str
    controller: str
    objective: Objective
    trials: int
    seed: int

    def __post_init__(self) -> None:
        check_int("trials", self.trials, 1, 10_000_000)
        check_int("seed", self.seed, 0, 2**32 - 1)
        check_controller(self.controller)
        space = load_space(self.space)
        evaluator = load_evaluator(self.evaluator, self.space)
        if space.num_networks < 2:
            raise MnasError(f"space: {self.space} has one network, so there is nothing to search; open a choice")
        known = evaluator.known_members(space)
        first = np.zeros((1, len(space.decisions)), dtype=np.int64) if known is None else known[:1]
        evaluator.check(space.decode_indices(first)[0])
        for target in self.objective.targets:
            check_target(target.cost, target.value, space)

    def as_dict(self) -> dict[str, Any]:
        """Plain data of the settings."""
        return asdict(self)


def run_search(
    settings: SearchSettings,
    record: Record = lambda trials, controller: None,
    done: Sequence[Trial] = (),
) -> list[Trial]:
    """Run a whole search, or the rest of one.

    Args:
        settings: of the search.
        record: called after every batch, before the controller learns from it, with the batch's trials; not for those
            that were done before.
        done: trials of the same settings that were done before, from the first on. The controller is asked again and
            learns from them again, which leaves it as it was then; nothing of them is evaluated.

    Returns:
        All trials in order, those done before included; fewer than asked for only where there was nothing left to try.

    Raises:
        MnasError: the evaluator failed `MAX_FAILURES_IN_A_ROW` times in a row, the controller broke its rules, or it
            suggests another network than it did when a trial was done.
    """
    space = load_space(settings.space)
    runner = TrialRunner(space, load_evaluator(settings.evaluator, settings.space), settings.objective)
    threads = ThreadpoolController()
    # Matrices here are small: more threads gain nothing, and where another process holds a core they wait for each
    # other and take twenty times as long. An evaluator that trains may want them all.

    def asked_of(action: str, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            with threads.limit(limits=1) if not runner.instant else nullcontext():
                return call(*arguments)
        except MnasError:
            raise
        except Exception as error:  # a controller of somebody's own may fail in any way
            raise MnasError(
                f"controller {settings.controller}: {action} failed ({type(error).__name__}: {error}); mend it"
            ) from error

    controller = asked_of("its making", make_controller, settings.controller, space, settings.objective, settings.seed)
    trials: list[Trial] = []
    failures = 0
    limits = threads.limit(limits=1 if runner.instant else None)
    try:
        while len(trials) < settings.trials:
            asked = min(controller.batch_size, settings.trials - len(trials))
            suggestions = asked_of("suggest", controller.suggest, asked)
            if not isinstance(suggestions, list) or len(suggestions) > asked:
                raise MnasError(f"controller {settings.controller}: suggest({asked}) gave no list of so many; mend it")
            known = done[len(trials) : len(trials) + len(suggestions)]
            batch = runner.run(suggestions, first_number=len(trials), known=known)
            if not batch:
                break
            trials.extend(batch)
            if not known:
                record(batch, controller)
            asked_of("update", controller.update, batch)
            for trial in batch:
                failures = failures + 1 if trial.error else 0
            if failures >= MAX_FAILURES_IN_A_ROW:
                raise MnasError(f"evaluator {settings.evaluator!r}: {failures} failures in a row; last: {trial.error}")
    finally:
        limits.restore_original_limits()
        controller.close()
    return trials


class TrialRunner:
    """Turns suggestions into trials.

    A network that was evaluated before in the run, under this genotype or another, is not evaluated again. Where the
    evaluator knows some members of the space only, the nearest of them that was not tried yet stands in for a
    suggestion: fewest choices different, then fewest steps, then the first that the evaluator names. The trial says
    what was tried.
    """

    def __init__(self, space: SearchSpace, evaluator: Evaluator, objective: Objective) -> None:
        self._space = space
        self._evaluator = evaluator
        self._objective = objective
        self._costs = [cost_function(target.cost, space) for target in objective.targets]
        self._known: dict[bytes, Metrics | str] = {}
        self._untried = evaluator.known_members(space)
        self.instant = evaluator.instant

    def run(self, genotypes: Sequence[Genotype], first_number: int, known: Sequence[Trial] = ()) -> list[Trial]:
        """The trials of suggestions, numbered from ``first_number``; fewer where all known members were tried.

        Args:
            known: what the suggestions became when they were tried before; then nothing is evaluated.

        Raises:
            MnasError: a suggestion is not what it was then.
        """
        if not genotypes:
            return []
        rows = self._space.canonical(self._space.indices(genotypes))
        if self._untried is not None:
            rows = self._nearest_untried(rows)
        keys = [row.tobytes() for row in rows]
        if known:
            return self._replay(rows, known)
        architectures = self._space.decode_indices(rows)
        new = {
            key: architecture for key, architecture in zip(keys, architectures, strict=True) if key not in self._known
        }
        started = time.perf_counter()
        outcomes = self._evaluate(list(new.values()))
        seconds = (time.perf_counter() - started) / max(1, len(new))
        self._known.update(zip(new, outcomes, strict=True))
        columns = [cost(rows) for cost in self._costs]
        rewards = self._rewards(keys, columns)
        return [
            Trial(
                number=first_number + offset,
                genotype=genotype,
                architecture=architecture,
                cost=cost,
                costs=costs,
                metrics=None if isinstance(outcome, str) else outcome,
                reward=reward,
                error=outcome if isinstance(outcome, str) else None,
                seconds=0.0 if new.pop(key, None) is None else seconds,
            )
            for offset, (key, genotype, architecture, cost, costs, outcome, reward) in enumerate(
                zip(
                    keys,
                    self._space.genotypes(rows),
                    architectures,
                    self._space.exact_costs(rows),
                    zip(*(column.tolist() for column in columns), strict=True),
                    (self._known[key] for key in keys),
                    rewards,
                    strict=True,
                )
            )
        ]

    def _replay(self, rows: Indices, known: Sequence[Trial]) -> list[Trial]:
        for genotype, trial in zip(self._space.genotypes(rows), known, strict=False):
            if genotype != trial.genotype:
                raise MnasError(
                    f"resume: trial {trial.number} was another network than the controller suggests now; "
                    "the versions must be those that the journal names"
                )
        for row, trial in zip(rows, known, strict=False):
            self._known[row.tobytes()] = trial.error or "" if trial.metrics is None else trial.metrics
        return list(known)

    def _rewards(self, keys: Sequence[bytes], columns: Sequence[Any]) -> list[float | None]:
        outcomes = [self._known[key] for key in keys]
        accuracy = np.array([np.nan if isinstance(outcome, str) else outcome.accuracy for outcome in outcomes])
        rewards = self._objective.reward(accuracy, columns).tolist()
        return [None if isinstance(outcome, str) else reward for outcome, reward in zip(outcomes, rewards, strict=True)]

    def _nearest_untried(self, rows: Indices) -> Indices:
        """For each row the nearest known member that was not tried yet; each is given once."""
        assert self._untried is not None
        chosen = []
        for row in rows[: len(self._untried)]:
            steps = np.abs(self._untried - row)
            distance = (steps > 0).sum(axis=1) + steps.sum(axis=1) / (1 + self._space.cardinalities.sum())
            nearest = int(distance.argmin())
            chosen.append(self._untried[nearest])
            self._untried = np.delete(self._untried, nearest, axis=0)
        return np.array(chosen, dtype=np.int64).reshape(len(chosen), rows.shape[1])

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
        return [checked(result) for result in found]
