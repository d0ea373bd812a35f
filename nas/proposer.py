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
from search_spaces.rows import RowIndex
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
        known = space.members if known is None else known
        self._known = None if known is None else _Known(known, space.cardinalities)

    def propose(self, genotypes: Sequence[Genotype], first_number: int) -> tuple[list[bytes], list[Trial]]:
        """The networks' keys, equal for equal networks, and the trials of suggestions, numbered from ``first_number``.

        There are fewer than suggested once all known members were tried.
        """
        if not genotypes:
            return [], []
        rows = self._space.canonical(self._space.indices(genotypes))
        if self._known is not None:
            rows = self._known.take_nearest(rows)
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

    def keys(self, genotypes: Sequence[Genotype]) -> list[bytes]:
        """The networks' keys, as in `propose`."""
        return [row.tobytes() for row in self._space.canonical(self._space.indices(genotypes))]

    def rewards(self, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[float | None]:
        """The reward of each trial; None if it failed."""
        accuracy = np.array([np.nan if isinstance(outcome, Failure) else outcome.accuracy for outcome in outcomes])
        columns = [np.array(column) for column in zip(*(trial.costs for trial in trials), strict=True)]
        rewards = self._objective.reward(accuracy, columns).tolist()
        return [
            None if isinstance(outcome, Failure) else reward for outcome, reward in zip(outcomes, rewards, strict=True)
        ]


class _Known:
    """The members that are known, and which of them were not tried yet; there may be a million.

    Args:
        rows: rows of indices of the members, of shape (count, choices).
        cardinalities: number of values of each choice.
    """

    def __init__(self, rows: Indices, cardinalities: Indices) -> None:
        self._rows, self._left = rows, len(rows)
        self._untried = np.ones(len(rows), dtype=bool)
        self._share = 1 / (1 + cardinalities.sum())
        # A column at a time, in as few bytes as the values need: twenty times as fast as all rows at once.
        self._columns = np.ascontiguousarray(rows.T.astype(np.int8 if cardinalities.max(initial=0) < 128 else np.int64))
        self._index = RowIndex(rows, cardinalities)

    def take_nearest(self, rows: Indices) -> Indices:
        """The nearest member not tried yet for each row, while there are any; each member is taken once."""
        chosen = [self._take(row) for row in rows[: self._left]]
        self._left -= len(chosen)
        return self._rows[chosen].reshape(len(chosen), rows.shape[1])

    def _take(self, row: Indices) -> int:
        found = int(self._index.positions(row[None])[0])
        if found < 0 or not self._untried[found]:
            found = self._nearest(row)
        self._untried[found] = False
        return found

    def _nearest(self, row: Indices) -> int:
        different, steps = np.zeros((2, self._columns.shape[1]), dtype=np.int32)
        for column, value in zip(self._columns, row.tolist(), strict=True):
            step = np.abs(column - column.dtype.type(value))
            different += step > 0
            steps += step
        distance = different + steps * self._share
        distance[~self._untried] = np.inf
        return int(distance.argmin())
