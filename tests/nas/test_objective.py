from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.spec import Target
from nas.objective import Objective, make_objective
from search_spaces import MnasError

accuracies = st.floats(0.01, 1)
sizes = st.integers(10_000_000, 2_000_000_000)


@pytest.mark.parametrize("form", ["soft", "hard", "absolute"])
def test_at_the_target_the_reward_is_the_accuracy(form: str) -> None:
    assert make_objective(form, 400_000_000).reward(0.7, [400_000_000]) == 0.7


@pytest.mark.parametrize(
    ("macs", "factor"), [(200, 1.0497), (300, 1.0203), (386, 1.0025), (500, 0.9845), (800, 0.9526)]
)
def test_soft_factors_at_400M(macs: int, factor: float) -> None:  # noqa: N802
    # 400M and -0.07, from EfficientNet (arXiv 1905.11946) section 4
    assert make_objective("soft", 400_000_000).reward(1.0, [macs * 1_000_000]) == pytest.approx(factor, abs=5e-5)


def test_twice_the_cost_is_worth_5_percent_of_accuracy() -> None:
    # How MnasNet (arXiv 1807.11626) section 3 derives the exponent.
    soft = make_objective("soft", 400_000_000)
    assert soft.reward(0.5 * 1.05, [800_000_000]) == pytest.approx(soft.reward(0.5, [400_000_000]), rel=5e-4)


@given(accuracies, accuracies, sizes, sizes, sizes, sizes)
def test_the_soft_form_ignores_its_target(a: float, b: float, macs_a: int, macs_b: int, t1: int, t2: int) -> None:
    """Rewards at two targets differ by one factor, so no target changes which network is best."""
    first, second = make_objective("soft", t1), make_objective("soft", t2)
    ratio = second.reward(a, [macs_a]) / first.reward(a, [macs_a])
    assert second.reward(b, [macs_b]) / first.reward(b, [macs_b]) == pytest.approx(ratio)


@given(accuracies, sizes, sizes)
def test_hard_form(accuracy: float, macs: int, target: int) -> None:
    reward = make_objective("hard", target).reward(accuracy, [macs])
    assert reward == pytest.approx(accuracy if macs <= target else accuracy * target / macs)


@given(accuracies, sizes, sizes)
def test_absolute_form(accuracy: float, macs: int, target: int) -> None:
    reward = make_objective("absolute", target).reward(accuracy, [macs])
    assert reward == pytest.approx(accuracy - 0.10 * abs(macs / target - 1))


@pytest.mark.parametrize("form", ["soft", "hard", "absolute"])
def test_arrays_are_rewarded_element_by_element(form: str) -> None:
    objective = make_objective(form, 300_000_000)
    accuracy, macs = np.array([0.5, 0.6, 0.7]), np.array([1, 3, 9]) * 100_000_000
    rewards = [objective.reward(a, [m]) for a, m in zip(accuracy.tolist(), macs.tolist(), strict=True)]
    assert objective.reward(accuracy, [macs]).tolist() == pytest.approx(rewards)


def test_a_target_of_throughput_is_the_least_that_is_wanted() -> None:
    hard = make_objective("hard", {"a100-throughput": 9000})
    assert hard.reward(0.6, [9000]) == hard.reward(0.6, [20_000]) == 0.6
    assert hard.reward(0.6, [4500]) == pytest.approx(0.3)
    assert bool(hard.meets([9000]))
    assert not hard.meets([8999])


@given(accuracies, st.lists(sizes, min_size=2, max_size=2), st.lists(sizes, min_size=2, max_size=2))
def test_terms_of_several_costs_multiply(accuracy: float, costs: list[int], targets: list[int]) -> None:
    both = make_objective("soft", {"macs": targets[0], "params": targets[1]})
    one, other = make_objective("soft", {"macs": targets[0]}), make_objective("soft", {"params": targets[1]})
    product = one.reward(accuracy, costs[:1]) * other.reward(1.0, costs[1:])
    assert both.reward(accuracy, costs) == pytest.approx(product)


def test_under_the_hard_form_what_meets_all_targets_comes_first() -> None:
    hard = make_objective("hard", {"macs": 400e6, "params": 5e6})
    rewards = np.array([0.5, 0.9, 0.9])
    costs = [np.array([400e6, 400.1e6, 300e6]), np.array([5e6, 4e6, 5.1e6])]
    assert hard.merit(rewards, costs).argmax() == 0
    assert hard.meets(costs).tolist() == [True, False, False]
    soft = make_objective("soft", 400e6)
    assert soft.merit(0.5, [900e6]) == 0.5


def test_exponents_below_and_above() -> None:
    # MnasNet (arXiv 1807.11626) equation 3
    both = make_objective("calibrated", 100.0, (-0.02, -0.3))
    assert both.reward(0.5, [50]) == pytest.approx(0.5 * 0.5**-0.02)
    assert both.reward(0.5, [200]) == pytest.approx(0.5 * 2**-0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sotf", 10), "unknown objective 'sotf'; did you mean 'soft'"),
        (("soft", 0), "target macs: 0 is not"),
        (("soft", {}), "objective: soft cannot be combined with no target; use hard"),
        (("hard", None, -2.0), "exponent: cannot be combined with no target"),
        (("soft", {"": 4}), "target: '': expected the name of a cost"),
        (("soft", 10, 0.0), "exponent: 0.0 is not"),
        (("soft", 10, 0.07), "exponent: 0.07 is not"),
        (("soft", 10, float("nan")), "exponent: nan is not"),
        (("soft", 10, (-1.0,)), r"exponents: \(-1.0,\): expected two numbers"),
        (("calibrated", 10), "exponent: missing"),
    ],
)
def test_wrong_objectives(arguments: Any, message: str) -> None:
    with pytest.raises(MnasError, match=message):
        make_objective(*arguments)


def test_a_cost_is_aimed_at_once() -> None:
    with pytest.raises(MnasError, match="targets: macs is given twice"):
        Objective("hard", (Target("macs", 1), Target("macs", 2)), (0.0, -1.0))
