"""`Controller`: the interface of every search algorithm, which decides which architectures to try next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.costs.metrics import cost_function
from nas.objective import Objective
from nas.trial import Known, Trial
from search_spaces import Genotype, Space
from search_spaces.space import Indices


class Controller(ABC):
    """A search algorithm with two verbs: suggest genotypes, and update from their trials.

    The same space, objective and seed give the same suggestions for the same trials, in any process.

    Args:
        space: space to search.
        objective: objective that gives trials their rewards; a controller with a model uses it to predict rewards.
        seed: random seed of the controller.

    Attributes:
        batch_size: preferred number of suggestions per call.
    """

    batch_size: int = 1

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        self.space = space
        self.objective = objective
        self.rng = np.random.default_rng(seed)
        self._costs = [cost_function(target.cost, space) for target in objective.targets]

    def costs(self, rows: Indices) -> list[NDArray[np.float64]]:
        """Return the costs that the objective has targets for, of rows of indices: one array (count,) per target."""
        return [cost(rows) for cost in self._costs]

    @abstractmethod
    def suggest(self, count: int) -> list[Genotype]:
        """Return up to ``count`` genotypes to try next; an empty list means there are no more suggestions."""

    @abstractmethod
    def update(self, trials: Sequence[Trial]) -> None:
        """Learn from the trials of earlier suggestions. Each trial is passed once, including failed ones."""

    def start_from(self, known: Sequence[Known]) -> None:  # noqa: B027 - most controllers learn from their own trials
        """Learn from measurements made before the search; called at most once, before the first suggestion."""

    def diagnostics(self) -> Mapping[str, float]:
        """Return figures to plot over the run, such as the entropy of the policy."""
        return {}

    def close(self) -> None:  # noqa: B027 - most controllers hold no resources
        """Release resources, such as threads."""


class SeenFilter:
    """Remembers the canonical rows of indices that were suggested, so a controller can avoid repeating a network."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, row: object) -> bool:
        return isinstance(row, np.ndarray) and row.tobytes() in self._seen

    def new(self, rows: Indices) -> Indices:
        """Return the rows that were not suggested yet, each once, in order. Does not remember them; see `add`."""
        kept: dict[bytes, int] = {}
        for position, row in enumerate(rows):
            key = row.tobytes()
            if key not in self._seen:
                kept.setdefault(key, position)
        return rows[list(kept.values())]

    def add(self, rows: Indices) -> None:
        """Remember rows as suggested."""
        self._seen.update(row.tobytes() for row in rows)


def single_changes(space: Space) -> tuple[Indices, Indices]:
    """All changes of one choice of a row: its column, and how many values further on, in two arrays of one length."""
    counts = list(enumerate(space.cardinalities.tolist()))
    changes = [(column, steps) for column, count in counts for steps in range(1, count)]
    columns, steps = np.array(changes, dtype=np.int64).reshape(-1, 2).T
    return columns, steps


# Spaces up to this size are enumerated to find the last members that were not suggested yet.
LISTED_SIZE = 100_000


def sample_new(space: Space, rng: np.random.Generator, seen: SeenFilter, count: int) -> Indices:
    """Return up to ``count`` random rows that were not suggested yet; fewer where hardly any are left."""
    members = space.members
    rows = np.empty((0, len(space.cardinalities)), dtype=np.int64)
    for _ in range(20):
        if len(rows) >= count:
            return rows[:count]
        more = 2 * (count - len(rows))
        if members is None:
            drawn = space.canonical(space.sample_indices(rng, more))
        else:
            drawn = members[rng.integers(0, len(members), more)]
        rows = seen.new(np.concatenate([rows, drawn]))
    if members is not None:
        rows = seen.new(np.concatenate([rows, members[rng.permutation(len(members))]]))
    elif space.size <= LISTED_SIZE:
        order = rng.permutation(space.size)
        everything = space.canonical(np.stack(np.unravel_index(order, space.cardinalities.tolist()), axis=1))
        rows = seen.new(np.concatenate([rows, everything]))
    return rows[:count]
