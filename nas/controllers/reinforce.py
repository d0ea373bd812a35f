"""``reinforce``: an independent softmax for each decision, trained by REINFORCE, as TuNAS has it.

As published (TuNAS, arXiv 2008.06120, and its code): one categorical distribution a decision and no network behind
them, Adam with β1 = 0, β2 = 0.999, ε = 1e-8, an exponential moving average of past rewards with weight 0.95 as
baseline, no entropy bonus.

Our choice: learning rate 0.1 and batches of 8, since a search here has hundreds of samples and not millions of steps of
a supernet; advantages divided by their running scale, because rewards of good networks differ in the third digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas.controllers.base import Controller
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, SearchSpace
from search_spaces.space import Indices

LEARNING_RATE = 0.1
BASELINE_WEIGHT = 0.95
BETA2, EPSILON = 0.999, 1e-8

Floats = NDArray[np.float64]


class ReinforceController(Controller):
    """Independent softmaxes; see the module."""

    batch_size = 8

    def __init__(self, space: SearchSpace, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        decisions, widest = len(space.cardinalities), int(space.cardinalities.max(initial=1))
        # Of the values that a decision does not have, the logits stay at minus infinity.
        self._possible = np.arange(widest) < space.cardinalities[:, None]
        self._logits = np.where(self._possible, 0.0, -np.inf)
        self._squares = np.zeros((decisions, widest))
        self._steps = 0
        self._baseline: float | None = None
        self._scale = 0.0

    def suggest(self, count: int) -> list[Genotype]:
        cumulative = self._probabilities().cumsum(axis=1)
        above = self.rng.random((count, len(cumulative), 1)) > cumulative
        # Rounding may leave the last possible value a little below 1.
        rows: Indices = np.minimum(above.sum(axis=2), self.space.cardinalities - 1)
        return self.space.genotypes(rows)

    def update(self, trials: Sequence[Trial]) -> None:
        done = [(trial.genotype, trial.reward) for trial in trials if trial.reward is not None]
        if not done:
            return
        rows = self.space.indices([genotype for genotype, _ in done])
        rewards = np.array([reward for _, reward in done])
        if self._baseline is None:
            self._baseline, self._scale = float(rewards.mean()), float(rewards.std()) + 1e-6
        advantages = (rewards - self._baseline) / self._scale
        chosen = np.arange(self._logits.shape[1]) == rows[:, :, None]
        # The gradient of log-probability by the logits: what was chosen, less what was expected.
        gradient = (advantages[:, None, None] * (chosen - self._probabilities())).mean(axis=0)
        self._steps += 1
        self._squares = BETA2 * self._squares + (1 - BETA2) * gradient**2
        step = gradient / (np.sqrt(self._squares / (1 - BETA2**self._steps)) + EPSILON)
        self._logits = np.where(self._possible, self._logits + LEARNING_RATE * step, -np.inf)
        self._baseline = BASELINE_WEIGHT * self._baseline + (1 - BASELINE_WEIGHT) * float(rewards.mean())
        self._scale = BASELINE_WEIGHT * self._scale + (1 - BASELINE_WEIGHT) * (float(rewards.std()) + 1e-6)

    def diagnostics(self) -> Mapping[str, float]:
        probabilities = self._probabilities()
        logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
        return {"entropy": float(-(probabilities * logs).sum(axis=1).mean()) if probabilities.size else 0.0}

    def _probabilities(self) -> Floats:
        """Of every value of every decision: shape (decisions, widest)."""
        weights = np.exp(self._logits - self._logits.max(axis=1, keepdims=True, initial=-1e300))
        result: Floats = weights / weights.sum(axis=1, keepdims=True)
        return result
