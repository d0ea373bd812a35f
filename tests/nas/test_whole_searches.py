"""What a search must reach, over twenty seeds; the best known networks are from hill climbs on the predictor."""

from __future__ import annotations

import pytest

from benchmarks.main_job import TARGETS, best_at_most, one_target, trials_to_b0

pytestmark = pytest.mark.slow

SEEDS = range(20)


@pytest.mark.parametrize("target", TARGETS)
def test_the_default_search_hits_its_target_and_nearly_the_best(target: int) -> None:
    best, _ = best_at_most(target, chains=150)
    for seed in SEEDS:
        ratio, accuracy, _ = one_target(("bayesian", target, 500, seed))
        assert 0.97 <= ratio <= 1, seed
        assert accuracy >= best - 0.0015, seed


@pytest.mark.parametrize(("controller", "trials", "least"), [("bayesian", 100, 19), ("ppo", 1000, 18)])
def test_b0s_soft_reward_is_passed(controller: str, trials: int, least: int) -> None:
    passed = [trials_to_b0((controller, trials, seed)) is not None for seed in SEEDS]
    assert sum(passed) >= least
