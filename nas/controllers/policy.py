"""What controllers with a trained policy share: advantages, and three things that save evaluations.

- *Elite*: besides the policy gradient, the policy is drawn towards the best networks so far, as in priority queue
  training (Abolafia et al., arXiv 1801.03526).
- *Floor*: each decision is drawn uniformly instead of from the policy with a small probability, about one decision a
  network, so that a policy that has settled still looks around itself.
- *No repeats*: of a few times as many samples as are asked for, those that were not tried yet come first.

Without them, a policy needs half as many evaluations again or twice as many, and settles lower (LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.controllers.base import Controller, SeenFilter
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, SearchSpace
from search_spaces.space import Indices

Floats = NDArray[np.float64]

# Weight of past rewards in their moving average: NASNet (arXiv 1707.07012) appendix A, TuNAS (arXiv 2008.06120).
BASELINE_WEIGHT = 0.95
ELITE = 8
OVERSAMPLING = 3
RANDOM_DECISIONS = 1.0


class PolicyController(Controller):
    """Base of the controllers with a policy; see the module."""

    batch_size = 8

    def __init__(self, space: SearchSpace, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        self._seen = SeenFilter()
        self._baseline: float | None = None
        self._scale = 0.0
        self._elite = np.empty((0, len(space.cardinalities)), dtype=np.int64)
        self._elite_rewards = np.empty(0)

    @property
    def floor(self) -> float:
        """Probability with which a decision is drawn uniformly."""
        return min(1.0, RANDOM_DECISIONS / max(1, len(self.space.cardinalities)))

    def pick(self, samples: Indices, count: int) -> list[Genotype]:
        """``count`` of the samples: new ones first; where the policy has settled, its repeats are suggested again."""
        rows = self.space.canonical(samples)
        rows = np.concatenate([self._seen.new(rows), rows])[:count]
        self._seen.add(rows)
        return self.space.genotypes(rows)

    def learn_from(self, trials: Sequence[Trial]) -> tuple[Indices, Floats]:
        """Rows of the successful trials and their advantages, of shape (count,); the elite has them then.

        An advantage is a reward less its moving average, over its moving spread: rewards of good networks differ in the
        third digit.
        """
        done = [(trial.genotype, trial.reward) for trial in trials if trial.reward is not None]
        rows = self.space.indices([genotype for genotype, _ in done])
        rewards = np.array([reward for _, reward in done], dtype=float)
        if not done:
            return rows, rewards
        self._seen.add(rows)  # what was tried may be another network than the suggested one
        mean, spread = float(rewards.mean()), float(rewards.std()) + 1e-6
        if self._baseline is None:
            self._baseline, self._scale = mean, spread
        advantages = (rewards - self._baseline) / self._scale
        self._baseline = BASELINE_WEIGHT * self._baseline + (1 - BASELINE_WEIGHT) * mean
        self._scale = BASELINE_WEIGHT * self._scale + (1 - BASELINE_WEIGHT) * spread
        every = np.concatenate([self._elite, rows])
        different, first = np.unique(every, axis=0, return_index=True)
        values = np.concatenate([self._elite_rewards, rewards])[first]
        best = np.argsort(-values, kind="stable")[:ELITE]
        self._elite, self._elite_rewards = different[best], values[best]
        return rows, advantages
