"""``local-search``: climb from a random network to better neighbours, and start again where none is left.

The baseline that White, Nolen and Savani (arXiv 2005.02960) recommend for benchmarks of this field. Neighbours differ
in one choice. They are tried in random order, and the climb goes on from the first that is better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.controllers.base import Controller, SeenFilter, sample_new, single_changes
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.rows import RowIndex
from search_spaces.space import Indices


class LocalSearchController(Controller):
    """Climbs by merit, and suggests no network twice."""

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        self._seen = SeenFilter()
        self._columns, self._steps = single_changes(space)
        self._members = None if space.members is None else RowIndex(space.members, space.cardinalities)
        self._neighbours: list[Indices] = []
        self._starts: set[int] = set()  # numbers of trials from which a climb starts
        self._suggested = 0
        self._merit = -np.inf

    def suggest(self, count: int) -> list[Genotype]:
        rows = np.empty((0, len(self.space.cardinalities)), dtype=np.int64)
        for _ in range(count):
            row = self._next()
            self._seen.add(row)
            self._suggested += len(row)
            rows = np.concatenate([rows, row])
        return self.space.genotypes(rows)

    def _next(self) -> Indices:
        while self._neighbours:
            row = self._neighbours.pop()
            if row not in self._seen:
                return row[None]
        self._starts.add(self._suggested)
        return sample_new(self.space, self.rng, self._seen, 1)

    def update(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.reward is None:
                continue
            merit = self.objective.merit(trial.reward, trial.costs)
            if trial.number in self._starts or merit > self._merit:
                self._merit = merit
                (row,) = self.space.indices([trial.genotype])
                self._neighbours = self._near(row)
            self._starts.discard(trial.number)

    def _near(self, row: Indices) -> list[Indices]:
        """The neighbours that can be tried, in random order."""
        near = np.repeat(row[None], len(self._steps), axis=0)
        every = np.arange(len(near))
        near[every, self._columns] = (near[every, self._columns] + self._steps) % self.space.cardinalities[
            self._columns
        ]
        near = self.space.canonical(near)
        if self._members is not None:
            near = near[self._members.positions(near) >= 0]
        return list(self.rng.permutation(near))
