"""Turns a controller's suggestions into trials with exact costs, and outcomes into rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.costs.metrics import cost_function
from nas.evaluators.base import Evaluator
from nas.evaluators.work import Outcome
from nas.executors.base import Failure
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.space import Indices


class Proposer:
    """Turns suggestions into trials to run.

    If the space lists its members, or the evaluator knows only some, a suggestion is replaced by the nearest of them
    that was not tried yet: fewest different choices, then fewest steps, then the first in the list. The trial holds
    the replacement.
    """

    def __init__(self, space: Space, evaluator: Evaluator, objective: Objective) -> None:
        self._space = space
        self._objective = objective
        self._costs = [cost_function(target.cost, space) for target in objective.targets]
        known = evaluator.known_members(space)
        self._untried = space.members if known is None else known

    def propose(self, genotypes: Sequence[Genotype], first_number: int) -> tuple[list[bytes], list[Trial]]:
        """The networks' keys, equal for equal networks, and the trials of suggestions, numbered from ``first_number``.

        There are fewer than suggested once all known members were tried.
        """
        if not genotypes:
            return [], []
        rows = self._space.canonical(self._space.indices(genotypes))
        if self._untried is not None:
            rows = self._nearest_untried(rows)
        columns = [cost(rows) for cost in self._costs]
        costs = np.stack(columns, axis=1).tolist() if columns else [()] * len(rows)
        trials = [
            Trial(number, genotype, network, counts, tuple(targeted))
            for number, (genotype, network, counts, targeted) in enumerate(
                zip(
                    self._space.genotypes(rows),
                    self._space.decode_indices(rows),
                    self._space.exact_costs(rows),
                    costs,
                    strict=True,
                ),
                start=first_number,
            )
        ]
        return [row.tobytes() for row in rows], trials

    def rewards(self, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[float | None]:
        """The reward of each trial; None if it failed."""
        accuracy = np.array([np.nan if isinstance(outcome, Failure) else outcome.accuracy for outcome in outcomes])
        columns = [np.array(column) for column in zip(*(trial.costs for trial in trials), strict=True)]
        rewards = self._objective.reward(accuracy, columns).tolist()
        return [
            None if isinstance(outcome, Failure) else reward for outcome, reward in zip(outcomes, rewards, strict=True)
        ]

    def _nearest_untried(self, rows: Indices) -> Indices:
        """The nearest known member not tried yet for each row; each member is used once."""
        assert self._untried is not None
        chosen = []
        for row in rows[: len(self._untried)]:
            steps = np.abs(self._untried - row)
            distance = (steps > 0).sum(axis=1) + steps.sum(axis=1) / (1 + self._space.cardinalities.sum())
            nearest = int(distance.argmin())
            chosen.append(self._untried[nearest])
            self._untried = np.delete(self._untried, nearest, axis=0)
        return np.array(chosen, dtype=np.int64).reshape(len(chosen), rows.shape[1])
