"""Shared parts of the controllers with a trained policy: advantages, and three additions that save evaluations.

- *Elite*: besides the policy gradient, the policy imitates the best networks so far, as in priority queue training
  (Abolafia et al., arXiv 1801.03526).
- *Floor*: with a small probability, a decision is drawn uniformly instead of from the policy. This affects about one
  decision per network, so a policy that has converged still explores its neighbourhood.
- *No repeats*: the policy draws several times as many samples as are asked for, and untried ones come first.

Without them, a policy needs 1.5 to 2 times as many evaluations and converges to worse networks (LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.controllers.base import Controller, SeenFilter
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

# Weight of the past in the moving average of rewards: NASNet (arXiv 1707.07012) appendix A, TuNAS (arXiv 2008.06120).
BASELINE_WEIGHT = 0.95
ELITE = 8
OVERSAMPLING = 3
RANDOM_DECISIONS = 1.0


class PolicyController(Controller):
    """Base class of the controllers with a policy; see the module."""

    batch_size = 8

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        self._seen = SeenFilter()
        self._baseline: float | None = None
        self._scale = 0.0
        self._elite = np.empty((0, len(space.cardinalities)), dtype=np.int64)
        self._elite_rewards = np.empty(0)

    @property
    def floor(self) -> float:
        """Probability that a decision is drawn uniformly."""
        return min(1.0, RANDOM_DECISIONS / max(1, len(self.space.cardinalities)))

    def pick(self, samples: Indices, count: int) -> list[Genotype]:
        """Return ``count`` of the samples as genotypes: new networks first, then repeats if there are too few."""
        rows = self.space.canonical(samples)
        rows = np.concatenate([self._seen.new(rows), rows])[:count]
        self._seen.add(rows)
        return self.space.genotypes(rows)

    def learn_from(self, trials: Sequence[Trial]) -> tuple[Indices, Floats]:
        """Add the successful trials to the elite, and return their rows and advantages, the latter of shape (count,).

        An advantage is the reward minus its moving average, divided by its moving spread: rewards of good networks
        differ only in the third digit.
        """
        done = [(trial.genotype, trial.reward) for trial in trials if trial.reward is not None]
        rows = self.space.indices([genotype for genotype, _ in done])
        rewards = np.array([reward for _, reward in done], dtype=float)
        if not done:
            return rows, rewards
        self._seen.add(rows)  # the trial may have used another network than the suggested one
        mean, spread = float(rewards.mean()), float(rewards.std()) + 1e-6
        if self._baseline is None:
            self._baseline, self._scale = mean, spread
        advantages = (rewards - self._baseline) / self._scale
        self._baseline = BASELINE_WEIGHT * self._baseline + (1 - BASELINE_WEIGHT) * mean
        self._scale = BASELINE_WEIGHT * self._scale + (1 - BASELINE_WEIGHT) * spread
        candidates = np.concatenate([self._elite, rows])
        distinct, first = np.unique(candidates, axis=0, return_index=True)
        values = np.concatenate([self._elite_rewards, rewards])[first]
        best = np.argsort(-values, kind="stable")[:ELITE]
        self._elite, self._elite_rewards = distinct[best], values[best]
        return rows, advantages
