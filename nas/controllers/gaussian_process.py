"""A Gaussian process of accuracy over the choices of a space, with exact costs and the total of the choices.

The kernel of two networks is 1 + s · M(Σ_i w_i (x_i − x'_i)²) + u · t t' + v · Σ_c z_c z'_c, and noise on the diagonal:

- M is the Matérn kernel with ν = 5/2. x_i is the place of a value among those of choice i, over a span that shrinks
  with the number of choices, so that the prior is as smooth over many choices as over few (as in Hvarfner, Hellsten and
  Nardi, arXiv 2402.02229). For a choice of names, any two values are as far apart as the ends of the span.
- w_i are weights of the choices: those that do not matter are found out.
- t is the sum of the places of all ordinal choices. A choice's later values are usually the larger ones, and a larger
  network is usually more accurate. Without this, networks unlike those that were tried are taken for average ones, and
  the smallest of them look best, since their costs are known.
- z_c are the standardised logs of the exact costs that the space knows, and the predictions of other processes.

The logs of w, s, u, v and of the noise are set to the maximum of their posterior density.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

from search_spaces import Space
from search_spaces.space import Indices

Floats = NDArray[np.float64]

# All choices together span this distance, at weights of 1.
SPAN = 0.6
# Weights, s, u, v and noise before the first fit, and their limits.
_START = (1.0, 1.0, 0.3, 1.0, 0.01)
_LIMITS = ((1e-3, 1e4), (1e-3, 1e3), (1e-5, 1e3), (1e-5, 1e3), (1e-5, 10.0))
_MAX_STEPS = 40


class _Features(NamedTuple):
    """Arrays of a row for each network: its places, its total, and the standardised logs of its costs."""

    places: Floats
    totals: Floats
    costs: Floats


class ChoiceFeatures:
    """Turns rows of indices into numbers for a Gaussian process.

    Args:
        space: space of the rows.
        hints: processes of other measurements of the space, whose predictions are columns beside the logs of costs.

    Attributes:
        choice_of: for each column of `places`, the number of its choice among those with more than one value.
    """

    def __init__(self, space: Space, hints: Sequence[GaussianProcess] = ()) -> None:
        self._space, self._hints = space, hints
        open_choices = [number for number, choice in enumerate(space.decisions) if len(choice.values) > 1]
        span = SPAN / np.sqrt(len(open_choices))
        self._columns: list[tuple[int, Floats]] = []
        choice_of: list[int] = []
        for position, number in enumerate(open_choices):
            choice = space.decisions[number]
            count = len(choice.values)
            # With names, each value has a column of its own, at 1/√2, so that two values are 1 apart.
            table = np.arange(count)[:, None] / (count - 1) if choice.ordinal else np.eye(count) / np.sqrt(2)
            self._columns.append((number, span * table))
            choice_of += [position] * table.shape[1]
        self.choice_of = np.array(choice_of)
        self.num_choices = len(open_choices)
        self._ordinal = [number for number in open_choices if space.decisions[number].ordinal]

    def places(self, rows: Indices) -> Floats:
        """Places of the values: shape (rows, columns)."""
        return np.concatenate([table[rows[:, number]] for number, table in self._columns], axis=1)

    def totals(self, rows: Indices) -> Floats:
        """Sum of the places of ordinal choices, each from −1 to 1, over the root of their number: shape (rows, 1)."""
        ends = self._space.cardinalities[self._ordinal] - 1
        places = 2 * rows[:, self._ordinal] / ends - 1
        totals: Floats = places.sum(axis=1, keepdims=True) / np.sqrt(max(1, len(self._ordinal)))
        return totals

    def linear(self, rows: Indices) -> Floats:
        """Logs of the costs that the space knows, and what hints predict: shape (rows, costs and hints)."""
        columns = [np.log(np.asarray(cost, dtype=np.float64)) for cost in self._space.costs(rows)]
        columns += [hint.predict(rows)[0] for hint in self._hints]
        return np.stack(columns, axis=1) if columns else np.empty((len(rows), 0))


class GaussianProcess:
    """The process, given what was measured.

    Args:
        features: features of the space.
        rows: rows of indices of the measured networks, of shape (networks, choices).
        values: measurements, of shape (networks,).
        parameters: parameters of an earlier process, to start from, or to keep.
        fit: whether to look for better parameters.

    Attributes:
        parameters: logs of the weights of the choices, of s, u, v and the noise.
    """

    def __init__(
        self, features: ChoiceFeatures, rows: Indices, values: Floats, parameters: Floats | None, *, fit: bool
    ) -> None:
        self._features = features
        logs = features.linear(rows)
        self._centre, self._width = logs.mean(axis=0), logs.std(axis=0)
        self._width[self._width < 1e-9] = 1.0
        self._mean, self._unit = float(values.mean()), float(values.std()) or 1e-6
        self._targets = (values - self._mean) / self._unit
        self._known = self._of(rows)
        if parameters is None:
            parameters = np.log([_START[0]] * features.num_choices + list(_START[1:]))
        if fit:
            limits = np.log([_LIMITS[0]] * features.num_choices + list(_LIMITS[1:]))
            options = {"maxiter": _MAX_STEPS}
            parameters = minimize(self.loss, parameters, jac=True, method="L-BFGS-B", bounds=limits, options=options).x
        self.parameters: Floats = parameters
        self._weights, (self._s, self._u, self._v, noise) = self._split(parameters)
        covariance = self._kernel(self._known, self._known)
        covariance[np.diag_indices_from(covariance)] += noise
        self._factor = np.linalg.cholesky(covariance)
        self._solved = cho_solve((self._factor, True), self._targets)

    def predict(self, rows: Indices) -> tuple[Floats, Floats]:
        """Mean and standard deviation of what rows would have without noise: two arrays of shape (rows,)."""
        asked = self._of(rows)
        cross = self._kernel(asked, self._known)
        mean: Floats = self._mean + self._unit * (cross @ self._solved)
        explained = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        prior = 1 + self._s + self._u * asked.totals[:, 0] ** 2 + self._v * (asked.costs**2).sum(axis=1)
        sigma: Floats = self._unit * np.sqrt(np.maximum(prior - (explained**2).sum(axis=0), 1e-12))
        return mean, sigma

    def loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Minus the log of the posterior density of parameters, up to a constant, and its gradient."""
        weights, (s, u, v, noise) = self._split(parameters)
        known = self._known
        scaled = known.places * np.sqrt(weights[self._features.choice_of])
        squares = _squared_distances(scaled, scaled)
        matern, slope = _matern(squares), _slope_of_matern(squares)
        totals, costs = known.totals @ known.totals.T, known.costs @ known.costs.T
        covariance = 1 + s * matern + u * totals + v * costs
        covariance[np.diag_indices_from(covariance)] += noise
        factor = np.linalg.cholesky(covariance)
        solved = cho_solve((factor, True), self._targets)
        inverse, _ = dpotri(factor, lower=1)
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        loss = 0.5 * float(self._targets @ solved) + float(np.log(factor.diagonal()).sum())
        # Of the loss by the covariance.
        derivative = 0.5 * (inverse - np.outer(solved, solved))
        by_distance = s * derivative * slope
        # Σ_jk D_jk (x_j − x_k)² for each column x, without an array of networks² x columns.
        own = scaled**2 * by_distance.sum(axis=1, keepdims=True)
        by_column = 2 * (own - scaled * (by_distance @ scaled)).sum(axis=0)
        gradient = np.concatenate(
            [
                np.bincount(self._features.choice_of, by_column, minlength=len(weights)),
                [s * (derivative * matern).sum(), u * (derivative * totals).sum()],
                [v * (derivative * costs).sum(), noise * derivative.trace()],
            ]
        )
        prior, by_prior = _log_prior(weights, np.array([s, u, v]), noise)
        return loss - prior, gradient - by_prior

    def _of(self, rows: Indices) -> _Features:
        costs = (self._features.linear(rows) - self._centre) / self._width
        return _Features(self._features.places(rows), self._features.totals(rows), costs)

    def _split(self, parameters: Floats) -> tuple[Floats, Floats]:
        values = np.exp(parameters)
        return values[:-4], values[-4:]

    def _kernel(self, a: _Features, b: _Features) -> Floats:
        scale = np.sqrt(self._weights[self._features.choice_of])
        kernel = _matern(_squared_distances(a.places * scale, b.places * scale))
        kernel *= self._s
        # The other parts are products of a few columns each.
        scales = np.sqrt([1, self._u, *[self._v] * a.costs.shape[1]])
        left, right = (np.hstack([np.ones_like(each.totals), *each[1:]]) * scales for each in (a, b))
        kernel += left @ right.T
        return kernel


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares: Floats = a @ (-2 * b.T)
    squares += (a**2).sum(axis=1)[:, None]
    squares += (b**2).sum(axis=1)
    return np.maximum(squares, 0, out=squares)


def _matern(squares: Floats) -> Floats:
    """The Matérn kernel with ν = 5/2 at squared distances."""
    distances = np.sqrt(5 * squares)
    kernel: Floats = distances / 3
    kernel += 1
    kernel *= distances
    kernel += 1
    kernel *= np.exp(np.negative(distances, out=distances), out=distances)
    return kernel


def _slope_of_matern(squares: Floats) -> Floats:
    """The derivative of `_matern` by the squared distance."""
    distances = np.sqrt(5 * squares)
    slope: Floats = (-5 / 6) * (1 + distances) * np.exp(-distances)
    return slope


def _log_prior(weights: Floats, scales: Floats, noise: float) -> tuple[float, Floats]:
    """The log of the prior density of the parameters, and its gradient by their logs.

    Those of Optuna's sampler (``optuna/_gp/prior.py``): −(0.1 / w + 0.1 w) for a weight, which is an inverse squared
    length scale; Gamma(2, 1) for the scale s, and for u and v as well; Gamma(1.1, 30) for the noise.
    """
    value = -float((0.1 / weights + 0.1 * weights).sum()) + float((np.log(scales) - scales).sum())
    value += 0.1 * float(np.log(noise)) - 30 * noise
    return value, np.concatenate([0.1 / weights - 0.1 * weights, 1 - scales, [0.1 - 30 * noise]])
