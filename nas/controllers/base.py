"""`Controller`: which architectures to try next. The interface that every search algorithm has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.costs.metrics import cost_function
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, SearchSpace
from search_spaces.space import Indices


class Controller(ABC):
    """Two verbs: suggest genotypes, and learn from the trials that they became.

    The same space, objective and seed give the same suggestions for the same trials, in any process.

    Args:
        space: whose choices are searched.
        objective: what the rewards of trials are; a controller with a model of its own uses it to predict rewards.
        seed: of everything random.

    Attributes:
        batch_size: how many suggestions the controller likes to be asked for at once.
    """

    batch_size: int = 1

    def __init__(self, space: SearchSpace, objective: Objective, seed: int) -> None:
        self.space = space
        self.objective = objective
        self.rng = np.random.default_rng(seed)
        self._costs = [cost_function(target.cost, space) for target in objective.targets]

    def costs(self, rows: Indices) -> list[NDArray[np.float64]]:
        """What the objective's targets are about, of rows of indices: an array of shape (count,) for each target."""
        return [cost(rows) for cost in self._costs]

    @abstractmethod
    def suggest(self, count: int) -> list[Genotype]:
        """Up to ``count`` genotypes to try next; an empty list where the controller has no more to suggest."""

    @abstractmethod
    def update(self, trials: Sequence[Trial]) -> None:
        """Learn from the trials of earlier suggestions; each is given once, failed ones too."""

    def diagnostics(self) -> Mapping[str, float]:
        """Figures to plot over the run, such as the entropy of the policy."""
        return {}

    def close(self) -> None:  # noqa: B027 - most controllers hold nothing
        """Release what the controller holds."""


class SeenFilter:
    """Remembers which canonical rows of indices were suggested, so that a controller need not repeat a network."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def new(self, rows: Indices) -> Indices:
        """The rows that were not suggested yet, each once, in order. They are not remembered by this."""
        kept: dict[bytes, int] = {}
        for position, row in enumerate(rows):
            key = row.tobytes()
            if key not in self._seen:
                kept.setdefault(key, position)
        return rows[list(kept.values())]

    def add(self, rows: Indices) -> None:
        """Remember rows."""
        self._seen.update(row.tobytes() for row in rows)


# Spaces up to this size are listed to find the last members that were not suggested yet.
LISTED_SIZE = 100_000


def sample_new(space: SearchSpace, rng: np.random.Generator, seen: SeenFilter, count: int) -> Indices:
    """Up to ``count`` random rows that were not suggested yet; fewer only where the space is used up."""
    rows = np.empty((0, len(space.cardinalities)), dtype=np.int64)
    for _ in range(20):
        if len(rows) >= count:
            return rows[:count]
        drawn = space.canonical(space.sample_indices(rng, 2 * (count - len(rows))))
        rows = seen.new(np.concatenate([rows, drawn]))
    if space.size <= LISTED_SIZE:
        order = rng.permutation(space.size)
        everything = space.canonical(np.stack(np.unravel_index(order, space.cardinalities.tolist()), axis=1))
        rows = seen.new(np.concatenate([rows, everything]))
    return rows[:count]
