"""The expected improvement, and which trials a long search learns from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nas.controllers import bayesian
from nas.controllers.bayesian import BayesianController, log_expected_improvement
from nas.evaluators.base import Metrics
from nas.objective import make_objective
from nas.trial import Trial
from search_spaces import StageSpace


@pytest.mark.parametrize("z", [-30.0, -8.0, -3.0, -1.0001, -0.9999, 0.0, 2.0, 9.0])
def test_expected_improvement_is_an_integral(z: float) -> None:
    expected, _ = quad(lambda x: x * norm.pdf(x - z) / norm.pdf(min(z, 0)), 0, max(z, 0) + 12)
    assert log_expected_improvement(np.array([z]))[0] == pytest.approx(
        math.log(expected) + norm.logpdf(min(z, 0)), rel=1e-6
    )


def test_expected_improvement_grows_everywhere() -> None:
    z = np.concatenate([-np.logspace(8, -8, 4000), np.logspace(-8, 3, 2000)])
    found = log_expected_improvement(z)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()


def test_a_long_search_uses_a_part_of_its_trials(space: StageSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model keeps the best and the newest, and it goes on where nothing gets better for long."""
    monkeypatch.setattr(bayesian, "MEMORY", 20)
    objective = make_objective("soft", 400e6)
    controller = BayesianController(space, objective, 0)
    seen = set()
    for number in range(90):
        (genotype,) = controller.suggest(1)
        row = space.indices([genotype])
        seen.add(row.tobytes())
        costs = (float(space.costs(row)[0][0]),)
        accuracy = 0.7 if number == 0 else 0.5
        reward = objective.reward(accuracy, costs)
        trial = Trial(number, genotype, space.decode(genotype), None, costs, Metrics(accuracy), reward)
        controller.update([trial])
    assert len(seen) == 90
    _, known = controller._model()
    assert len(known) == 20
    first = controller._rows[0]
    assert (known == first).all(axis=1).any()
    assert (known[-1] == controller._rows[-1]).all()
