"""``bayesian``: choose what to try next by a Bayesian model of accuracy and exact costs.

Accuracy is modelled by Bayesian linear regression on the steps of all choices, their pairwise products, and the logs
of the costs that the space knows (MACs and parameters of architectures). The regression is in its dual form (a
Gaussian process with that kernel), so the work grows with the number of trials and not with the number of pairs. Costs
are known exactly; only accuracy is uncertain. A candidate's score is the objective at mean + 1σ of accuracy, and at up
to 8σ in some batches after the search has stopped improving. Candidates are mutations and crossovers of the best
networks, improved by a few generations of evolution on the model. Each member of a batch is chosen as if the earlier
members, and the trials that are still running, had turned out as predicted.

Whenever the number of trials has grown by a third, marginal likelihood chooses the scales of the kernel from a small
grid. Nothing here depends on the space: categorical choices are steps in the order of their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from nas.controllers.base import Controller, SeenFilter, sample_new
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

INITIAL_TRIALS = 16
MAX_OPTIMISM = 8.0
PARENTS = 40
GENERATIONS = 8
OFFSPRING = 400
# The model uses at most this many trials, since its work is cubic in their number: half are the newest, the others are
# the best of the rest.
MEMORY = 1200
# Candidates for a batch, drawn at random, in a space that lists its members.
MAX_LISTED = 4000

# Scales of the kernel relative to its linear part: pairwise products, exact costs, noise.
_GRID = tuple(product((0.01, 0.03, 0.1, 0.3), (0.3, 3.0), (0.003, 0.01, 0.03, 0.1, 0.3)))


class BayesianController(Controller):
    """Model-based search; see the module."""

    batch_size = 4

    def __init__(self, space: Space, objective: Objective, seed: int) -> None:
        super().__init__(space, objective, seed)
        self._seen = SeenFilter()
        self._rows = np.empty((0, len(space.cardinalities)), dtype=np.int64)
        self._running: dict[int, Indices] = {}
        self._suggested = 0
        self._accuracy = np.empty(0)
        self._merits = np.empty(0)
        self._stale_batches = 0
        self._scales = (0.1, 3.0, 0.03)
        self._fitted_at = 0
        self._sigma = float("nan")

    def suggest(self, count: int) -> list[Genotype]:
        if len(self._seen) < INITIAL_TRIALS or len(self._accuracy) < 3:
            rows = sample_new(self.space, self.rng, self._seen, count)
        else:
            rows = self._choose(count)
        self._seen.add(rows)
        self._running |= enumerate(rows, start=self._suggested)
        self._suggested += len(rows)
        return self.space.genotypes(rows)

    def update(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self._running.pop(trial.number, None)
        done = [(t, t.metrics.accuracy, t.reward) for t in trials if t.metrics is not None and t.reward is not None]
        if not done:
            return
        rows = self.space.indices([trial.genotype for trial, _, _ in done])
        self._seen.add(rows)  # the trial may have used another network than the suggested one
        self._rows = np.concatenate([self._rows, rows])
        self._accuracy = np.append(self._accuracy, [accuracy for _, accuracy, _ in done])
        merits = [self.objective.merit(reward, trial.costs) for trial, _, reward in done]
        better = max(merits) > self._merits.max(initial=-np.inf)
        self._stale_batches = 0 if better else self._stale_batches + 1
        self._merits = np.append(self._merits, merits)

    def diagnostics(self) -> Mapping[str, float]:
        return {"model_sigma": self._sigma}

    def _optimism(self) -> float:
        """Return how many σ of accuracy to add to a candidate's mean.

        While batches find nothing better, every second one doubles the optimism (2, 4, 8σ) and those between use 1σ:
        once the neighbourhood of the best network is exhausted, only a candidate with a large σ can lead out of it.
        """
        doublings = min(self._stale_batches // 2, 64)  # a search may stay without progress for thousands of batches
        return 1.0 if self._stale_batches % 2 else min(2.0**doublings, MAX_OPTIMISM)

    def _choose(self, count: int) -> Indices:
        model, optimism = self._model(), self._optimism()
        pool, scores = self._evolve(model, optimism)
        if len(pool) < count:
            filler = sample_new(self.space, self.rng, self._seen, count - len(pool))
            return np.unique(np.concatenate([pool, filler]), axis=0)[:count]
        costs = self.costs(pool)
        features = model.features(pool)
        chosen: list[int] = []
        # Take the model's best candidate, pretend that its prediction came true, and repeat. σ falls near candidates
        # that are already chosen or running, so a batch does not try ten variants of one idea.
        mean, sigma = model.predict(features)
        self._sigma = float(sigma[np.argmax(scores)])
        running = np.array(list(self._running.values()), dtype=np.int64).reshape(-1, pool.shape[1])
        expected = model.features(running)
        if len(expected):
            sigma = model.sigma_given(features, expected)
        for position in range(count):
            # Every fifth member is chosen by its mean alone.
            value = mean if position % 5 == 4 else mean + optimism * sigma
            merit = self._merit(value, costs)
            merit[chosen] = -np.inf
            chosen.append(int(np.argmax(merit)))
            sigma = model.sigma_given(features, np.concatenate([expected, features[chosen]]))
        return pool[chosen]

    def _evolve(self, model: _AccuracyModel, optimism: float) -> tuple[Indices, Floats]:
        """Return new candidates and their scores, best first, after a few generations of evolution on the model.

        If the space lists its members, the candidates are members, and nothing evolves.
        """
        if self.space.members is not None:
            left = sample_new(self.space, self.rng, self._seen, MAX_LISTED)
            return self._best(left, self._scores(model, left, optimism))
        order = np.argsort(-self._merits, kind="stable")
        parents = self._rows[order[:PARENTS]]
        pool = np.empty((0, self._rows.shape[1]), dtype=np.int64)
        scores = np.empty(0)
        for _ in range(GENERATIONS):
            children = self._seen.new(self._offspring(parents))
            merit = self._scores(model, children, optimism)
            pool, unique = np.unique(np.concatenate([pool, children]), axis=0, return_index=True)
            scores = np.concatenate([scores, merit])[unique]
            pool, scores = self._best(pool, scores)
            parents = np.concatenate([self._rows[order[: PARENTS // 2]], pool[:PARENTS]])
        return pool, scores

    def _scores(self, model: _AccuracyModel, rows: Indices, optimism: float) -> Floats:
        """Return the merit of rows at ``optimism`` σ above their mean accuracy: shape (count,)."""
        mean, sigma = model.predict(model.features(rows))
        return self._merit(mean + optimism * sigma, self.costs(rows))

    @staticmethod
    def _best(rows: Indices, scores: Floats) -> tuple[Indices, Floats]:
        """Return the best few of the rows, best first, and their scores."""
        best = np.argsort(-scores, kind="stable")[: 4 * PARENTS]
        return rows[best], scores[best]

    def _merit(self, accuracy: Floats, costs: list[Floats]) -> Floats:
        """Return the merit of networks with these accuracies and costs."""
        merit: Floats = self.objective.merit(self.objective.reward(np.clip(accuracy, 0, 1), costs), costs)
        return merit

    def _offspring(self, parents: Indices) -> Indices:
        """Return children of random pairs of parents: half are crossovers, and each redraws one to three choices."""
        first, second = self.rng.integers(0, len(parents), size=(2, OFFSPRING))
        crossed = self.rng.random((OFFSPRING, 1)) < 0.5
        from_second = crossed & (self.rng.random((OFFSPRING, parents.shape[1])) < 0.5)
        children = np.where(from_second, parents[second], parents[first])
        changes = self.rng.integers(1, 4, size=(OFFSPRING, 1))
        rank = np.argsort(np.argsort(self.rng.random(children.shape), axis=1), axis=1)
        children = np.where(rank < changes, self.space.sample_indices(self.rng, OFFSPRING), children)
        return self.space.canonical(children)

    def _model(self) -> _AccuracyModel:
        rows, accuracy = self._rows, self._accuracy
        if len(rows) > MEMORY:
            newest = np.arange(len(rows) - MEMORY // 2, len(rows))
            older = np.argsort(-self._merits[: len(rows) - MEMORY // 2], kind="stable")[: MEMORY // 2]
            kept = np.concatenate([older, newest])
            rows, accuracy = rows[kept], accuracy[kept]
        if len(self._accuracy) * 3 >= self._fitted_at * 4:
            self._scales = max(_GRID, key=lambda scales: _AccuracyModel(self.space, rows, accuracy, scales).evidence)
            self._fitted_at = len(self._accuracy)
        return _AccuracyModel(self.space, rows, accuracy, self._scales)


class _AccuracyModel:
    """Bayesian linear regression of accuracy in its dual form.

    Args:
        space: space of the networks.
        rows: rows of indices of the trials, of shape (trials, choices).
        accuracy: accuracy of the trials, of shape (trials,).
        scales: variances of the weights of pairwise products, of the weights of log costs, and of the noise, relative
            to the variance of the linear weights.
    """

    def __init__(self, space: Space, rows: Indices, accuracy: Floats, scales: tuple[float, float, float]) -> None:
        self._space = space
        self._pairs, self._costs, noise = scales
        self._columns = int((space.cardinalities - 1).sum())
        features = self._raw(rows)
        self._mean, self._scale = features.mean(0), features.std(0)
        self._scale[self._scale < 1e-9] = 1.0
        self._features = (features - self._mean) / self._scale
        self._offset, self._unit = float(accuracy.mean()), float(accuracy.std()) or 1e-6
        target = (accuracy - self._offset) / self._unit
        covariance = self._kernel(self._features, self._features)
        # The overall variance has a closed form, so only the relative scales need a grid.
        average = float(covariance.diagonal().mean())
        covariance[np.diag_indices_from(covariance)] += noise * average
        self._factor = cho_factor(covariance, lower=True)
        self._solved = cho_solve(self._factor, target)
        self._variance = max(float(target @ self._solved) / len(target), 1e-12)
        self._noise = noise * average
        log_determinant = 2 * float(np.log(self._factor[0].diagonal()).sum())
        self.evidence = -0.5 * (len(target) * np.log(self._variance) + log_determinant)

    def _raw(self, rows: Indices) -> Floats:
        steps, costs = self._space.steps(rows), self._space.costs(rows)
        return np.concatenate([steps, np.log(np.stack(costs, axis=1))], axis=1) if costs else steps

    def features(self, rows: Indices) -> Floats:
        """Return the standardised features of rows."""
        standardised: Floats = (self._raw(rows) - self._mean) / self._scale
        return standardised

    def _kernel(self, a: Floats, b: Floats) -> Floats:
        steps_a, steps_b = a[:, : self._columns], b[:, : self._columns]
        linear = steps_a @ steps_b.T
        costs = a[:, self._columns :] @ b[:, self._columns :].T
        pairs = 0.5 * (linear**2 - (steps_a**2) @ (steps_b**2).T)
        result: Floats = 1.0 + linear + self._costs * costs + self._pairs * pairs
        return result

    def _prior(self, a: Floats) -> Floats:
        steps = a[:, : self._columns] ** 2
        linear = steps.sum(1)
        pairs = 0.5 * (linear**2 - (steps**2).sum(1))
        result: Floats = 1.0 + linear + self._costs * (a[:, self._columns :] ** 2).sum(1) + self._pairs * pairs
        return result

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Return the mean and standard deviation of accuracy, without training noise."""
        cross = self._kernel(features, self._features)
        mean: Floats = self._offset + self._unit * (cross @ self._solved)
        explained = solve_triangular(self._factor[0], cross.T, lower=True)
        return mean, self._to_sigma(self._prior(features) - (explained**2).sum(0))

    def sigma_given(self, features: Floats, chosen: Floats) -> Floats:
        """Return the standard deviation of accuracy if ``chosen`` had been tried as well."""
        # Extend the factor by the chosen rows instead of factorising again.
        lower = self._factor[0]
        cross = solve_triangular(lower, self._kernel(self._features, chosen), lower=True)
        corner = self._kernel(chosen, chosen) + self._noise * np.eye(len(chosen)) - cross.T @ cross
        factor = np.linalg.cholesky(corner)
        base = solve_triangular(lower, self._kernel(self._features, features), lower=True)
        extra = solve_triangular(factor, self._kernel(chosen, features) - cross.T @ base, lower=True)
        return self._to_sigma(self._prior(features) - (base**2).sum(0) - (extra**2).sum(0))

    def _to_sigma(self, variance: Floats) -> Floats:
        result: Floats = self._unit * np.sqrt(np.maximum(variance, 0) * self._variance)
        return result
