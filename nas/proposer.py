"""From a controller's suggestions to trials that are to be done, with exact costs; and from outcomes to rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.costs.metrics import cost_function
from nas.evaluators.base import Evaluator
from nas.executors.base import Failure, Outcome
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, SearchSpace
from search_spaces.space import Indices


class Proposer:
    """Turns suggestions into trials that are to be done.

    Where the evaluator knows some members of the space only, the nearest of them that was not tried yet stands in for a
    suggestion: fewest choices different, then fewest steps, then the first that the evaluator names. The trial says
    what is tried.
    """

    def __init__(self, space: SearchSpace, evaluator: Evaluator, objective: Objective) -> None:
        self._space = space
        self._objective = objective
        self._costs = [cost_function(target.cost, space) for target in objective.targets]
        self._untried = evaluator.known_members(space)

    def propose(self, genotypes: Sequence[Genotype], first_number: int) -> tuple[list[bytes], list[Trial]]:
        """The networks' keys, equal for equal networks, and the trials of suggestions, numbered from ``first_number``.

        Fewer than suggested where all members that the evaluator knows were tried.
        """
        if not genotypes:
            return [], []
        rows = self._space.canonical(self._space.indices(genotypes))
        if self._untried is not None:
            rows = self._nearest_untried(rows)
        columns = [cost(rows).tolist() for cost in self._costs]
        trials = [
            Trial(number, genotype, architecture, cost, costs)
            for number, (genotype, architecture, cost, costs) in enumerate(
                zip(
                    self._space.genotypes(rows),
                    self._space.decode_indices(rows),
                    self._space.exact_costs(rows),
                    zip(*columns, strict=True),
                    strict=True,
                ),
                start=first_number,
            )
        ]
        return [row.tobytes() for row in rows], trials

    def rewards(self, trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> list[float | None]:
        """The reward of each trial; None where it failed."""
        accuracy = np.array([np.nan if isinstance(outcome, Failure) else outcome.accuracy for outcome in outcomes])
        columns = [np.array(column) for column in zip(*(trial.costs for trial in trials), strict=True)]
        rewards = self._objective.reward(accuracy, columns).tolist()
        return [
            None if isinstance(outcome, Failure) else reward for outcome, reward in zip(outcomes, rewards, strict=True)
        ]

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
