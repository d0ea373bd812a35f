"""``random``: uniform samples without repetition, the baseline that every other controller must beat."""

from __future__ import annotations

from collections.abc import Sequence

from nas.controllers.base import Controller, SeenFilter, sample_new
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space


class RandomController(Controller):
    """Draws each choice uniformly and independently, and suggests no network twice."""

    batch_size = 50

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        self._seen = SeenFilter()

    def suggest(self, count: int) -> list[Genotype]:
        rows = sample_new(self.space, self.rng, self._seen, count)
        self._seen.add(rows)
        return self.space.genotypes(rows)

    def update(self, trials: Sequence[Trial]) -> None:
        pass
