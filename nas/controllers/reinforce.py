"""``reinforce``: an independent softmax per decision, trained with REINFORCE, as in TuNAS.

As published (TuNAS, arXiv 2008.06120, and its code): one categorical distribution per decision, without a network; Adam
with β1 = 0, β2 = 0.999, ε = 1e-8; the baseline is an exponential moving average of past rewards with weight 0.95; no
entropy bonus.

Our choice: learning rate 0.1 and batches of 8, since a search here has hundreds of samples, not millions of supernet
steps; and the additions of `nas.controllers.policy`, with an elite weight of 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nas.controllers.policy import OVERSAMPLING, Floats, PolicyController
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.space import Indices

LEARNING_RATE = 0.1
BETA2, EPSILON = 0.999, 1e-8
ELITE_WEIGHT = 1.0


class ReinforceController(PolicyController):
    """Independent softmaxes; see the module."""

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        decisions, widest = len(space.cardinalities), int(space.cardinalities.max(initial=1))
        # The logits of values that a decision does not have stay at minus infinity.
        self._possible = np.arange(widest) < space.cardinalities[:, None]
        self._logits = np.where(self._possible, 0.0, -np.inf)
        self._squares = np.zeros((decisions, widest))
        self._steps = 0

    def suggest(self, count: int) -> list[Genotype]:
        uniform = self._possible / self.space.cardinalities[:, None]
        cumulative = ((1 - self.floor) * self._probabilities() + self.floor * uniform).cumsum(axis=1)
        above = self.rng.random((OVERSAMPLING * count, len(cumulative), 1)) > cumulative
        # Rounding may leave the cumulative probability of the last possible value slightly below 1.
        rows: Indices = np.minimum(above.sum(axis=2), self.space.cardinalities - 1)
        return self.pick(rows, count)

    def update(self, trials: Sequence[Trial]) -> None:
        rows, advantages = self.learn_from(trials)
        if not len(rows):
            return
        probabilities = self._probabilities()
        # Gradient of the log-probability with respect to the logits: the chosen values minus their probabilities.
        gradient = (advantages[:, None, None] * (self._chosen(rows) - probabilities)).mean(axis=0)
        gradient += ELITE_WEIGHT * (self._chosen(self._elite).mean(axis=0) - probabilities)
        self._steps += 1
        self._squares = BETA2 * self._squares + (1 - BETA2) * gradient**2
        step = gradient / (np.sqrt(self._squares / (1 - BETA2**self._steps)) + EPSILON)
        self._logits = np.where(self._possible, self._logits + LEARNING_RATE * step, -np.inf)

    def _chosen(self, rows: Indices) -> Floats:
        """Return the rows as one-hot vectors per decision, of shape (count, decisions, widest)."""
        result: Floats = (np.arange(self._logits.shape[1]) == rows[:, :, None]).astype(float)
        return result

    def diagnostics(self) -> Mapping[str, float]:
        probabilities = self._probabilities()
        logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
        return {"entropy": float(-(probabilities * logs).sum(axis=1).mean()) if probabilities.size else 0.0}

    def _probabilities(self) -> Floats:
        """Return the probability of every value of every decision, of shape (decisions, widest)."""
        weights = np.exp(self._logits - self._logits.max(axis=1, keepdims=True, initial=-1e300))
        result: Floats = weights / weights.sum(axis=1, keepdims=True)
        return result
