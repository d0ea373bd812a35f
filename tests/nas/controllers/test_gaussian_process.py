"""The Gaussian process against its textbook formula."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.optimize import approx_fprime

from nas.controllers.gaussian_process import SPAN, ChoiceFeatures, GaussianProcess
from search_spaces import ChoiceSpace, StageSpace
from search_spaces.space import Value

MIXED: Mapping[str, tuple[Value, ...]] = {
    "kernel": (3, 5, 7),
    "op": ("conv", "skip", "mbconv"),
    "fixed": (1,),
    "ratio": (0.0, 0.25),
}


def mixed(choices: Mapping[str, tuple[Value, ...]] = MIXED) -> tuple[ChoiceSpace, np.ndarray]:
    """A space of numbers and names with one cost, and all of its rows."""
    rows = ChoiceSpace("all", choices).indices(
        [
            {"kernel": kernel, "op": op, "fixed": 1, "ratio": ratio}
            for kernel in MIXED["kernel"]
            for op in MIXED["op"]
            for ratio in MIXED["ratio"]
        ]
    )
    costs = {"latency_ms": 1.0 + np.arange(len(rows)) ** 1.5}
    return ChoiceSpace("mixed", choices, rows, costs), rows


def measured(space: ChoiceSpace, rows: np.ndarray, seed: int = 0) -> np.ndarray:
    worth = {3: 0.0, 5: 0.02, 7: 0.03, "conv": 0.01, "skip": -0.02, "mbconv": 0.04, 0.0: 0.0, 0.25: 0.01, 1: 0.0}
    noise = np.random.default_rng(seed).normal(0, 1e-3, len(rows))
    return np.array([0.6 + sum(worth[v] for v in genotype.values()) for genotype in space.genotypes(rows)]) + noise


def test_the_gradient_is_that_of_the_loss() -> None:
    space, rows = mixed()
    model = GaussianProcess(ChoiceFeatures(space), rows[::2], measured(space, rows[::2]), None, fit=True)
    rng = np.random.default_rng(0)
    for _ in range(5):
        parameters = rng.normal(-0.5, 1, len(model.parameters))
        _, gradient = model.loss(parameters)
        numeric = approx_fprime(parameters, lambda p: model.loss(p)[0], 1e-6)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-3)


def test_fitted_parameters_are_more_probable_than_others() -> None:
    space, rows = mixed()
    model = GaussianProcess(ChoiceFeatures(space), rows[::2], measured(space, rows[::2]), None, fit=True)
    best, _ = model.loss(model.parameters)
    rng = np.random.default_rng(0)
    assert all(model.loss(model.parameters + rng.normal(0, 0.3, len(model.parameters)))[0] > best for _ in range(50))


def test_predictions_are_those_of_the_formula() -> None:
    """The kernel of the module's description, two networks at a time, and the normal equations."""
    space, rows = mixed()
    known, asked = rows[::2], rows[1::2]
    values = measured(space, known)
    model = GaussianProcess(ChoiceFeatures(space), known, values, None, fit=True)
    *weights, s, u, v, noise = np.exp(model.parameters)
    logs = np.log(space.cost("latency_ms", known))

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        apart = [(a[0] - b[0]) / 2, float(a[1] != b[1]), a[3] - b[3]]  # kernel, op, ratio; fixed has one value
        square = sum(w * (SPAN * d) ** 2 / 3 for w, d in zip(weights, apart, strict=True))
        r = math.sqrt(5 * square)
        total = [(row[0] - 1 + 2 * row[3] - 1) / math.sqrt(2) for row in (a, b)]
        cost = [float((np.log(space.cost("latency_ms", row[None]))[0] - logs.mean()) / logs.std()) for row in (a, b)]
        matern = (1 + r + r**2 / 3) * math.exp(-r)
        return 1 + s * matern + u * total[0] * total[1] + v * cost[0] * cost[1]

    among = np.array([[kernel(a, b) for b in known] for a in known]) + noise * np.eye(len(known))
    cross = np.array([[kernel(a, b) for b in known] for a in asked])
    mean = values.mean() + values.std() * cross @ np.linalg.solve(among, (values - values.mean()) / values.std())
    prior = np.array([kernel(a, a) for a in asked])
    variance = prior - np.einsum("ij,ji->i", cross, np.linalg.solve(among, cross.T))
    found, sigma = model.predict(asked)
    np.testing.assert_allclose(found, mean, atol=1e-8)
    np.testing.assert_allclose(sigma, values.std() * np.sqrt(variance), rtol=1e-5)


def test_the_order_of_names_means_nothing() -> None:
    space, rows = mixed()
    other, _ = mixed({**MIXED, "op": ("mbconv", "conv", "skip")})
    again = other.indices(space.genotypes(rows))
    values = measured(space, rows[::2])
    first, second = (
        GaussianProcess(ChoiceFeatures(each), of[::2], values, None, fit=True).predict(of[1::2])
        for each, of in ((space, rows), (other, again))
    )
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_most_of_what_was_not_seen_lies_within_two_sigma(space: StageSpace) -> None:
    rng = np.random.default_rng(0)
    rows = space.sample_indices(rng, 260)
    worth = rng.normal(0.3, 1, len(space.labels))
    places = rows / np.maximum(space.cardinalities - 1, 1)
    accuracy = 0.7 + 0.01 * (places @ worth + places[:, 0] * places[:, 5] + rng.normal(0, 0.1, len(rows)))
    model = GaussianProcess(ChoiceFeatures(space), rows[:60], accuracy[:60], None, fit=True)
    mean, sigma = model.predict(rows[60:])
    assert np.corrcoef(mean, accuracy[60:])[0, 1] > 0.95
    assert (np.abs(mean - accuracy[60:]) < 2 * sigma + 0.002).mean() > 0.8
