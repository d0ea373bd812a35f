from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nas.views.effects import Effects, effects_note, estimate_effects, page_table, terminal_table
from search_spaces import Choice

CHOICES = (
    Choice("kernel", (3, 5)),
    Choice("expand", (1, 4, 6)),
    Choice("layers", (1, 2, 3, 4)),
)
# The truth of a space in which accuracy is a sum: what each value adds.
WORTH = ((0.0, 0.01), (0.0, 0.05, 0.02), (0.0, 0.002, -0.03, 0.004))
PRICE = ((1e6, 3e6), (0, 5e6, 9e6), (0, 1e6, 2e6, 3e6))
ALL = np.array(list(product(range(2), range(3), range(4))))


def totals(rows: np.ndarray, of: tuple[tuple[float, ...], ...]) -> np.ndarray:
    return sum(np.array(of[column])[rows[:, column]] for column in range(3))  # type: ignore[return-value]


def estimated(rows: np.ndarray, accuracy: np.ndarray) -> Effects:
    found = estimate_effects(CHOICES, rows, accuracy, totals(rows, PRICE), (5, 4, 1))
    assert found is not None
    return found


def truth(rows: np.ndarray, column: int, place: int) -> float:
    """A value's worth minus the mean over the networks, by brute force."""
    values = np.array(WORTH[column])
    return float(values[place] - values[rows[:, column]].mean())


@pytest.mark.parametrize("seed", range(3))
def test_a_space_where_accuracy_is_a_sum_is_read_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # An uneven sample of the networks, as a search draws.
    rows = ALL[rng.choice(len(ALL), 18, replace=False)]
    found = estimated(rows, 0.6 + totals(rows, WORTH))
    assert found.networks == 18
    assert found.explained == pytest.approx(1, abs=1e-6)
    for column, choice in enumerate(CHOICES):
        for place, item in enumerate(found.of(choice.label)):
            assert item.value == choice.values[place]
            assert item.networks == (rows[:, column] == place).sum()
            assert item.accuracy == pytest.approx(truth(rows, column, place), abs=1e-5)
            assert item.std is not None
            assert item.std < 1e-4
            price = np.array(PRICE[column])
            assert item.macs == pytest.approx(price[place] - price[rows[:, column]].mean(), abs=1e3)


@pytest.mark.parametrize("networks", [10, 12, 24])
def test_chance_explains_nothing(networks: int) -> None:
    """Accuracies that have nothing to do with the choices; a fit of ten networks by nine values is nearly exact."""
    rng = np.random.default_rng(networks)
    shares = []
    for _ in range(30):
        rows = ALL[rng.choice(len(ALL), networks, replace=False)]
        shares.append(estimated(rows, rng.normal(0.6, 0.01, networks)).explained)
    assert np.mean(shares) < 0.1


def test_standard_errors_are_those_of_the_noise() -> None:
    misses, errors = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = ALL[rng.integers(0, len(ALL), 200)]
        found = estimated(rows, 0.6 + totals(rows, WORTH) + rng.normal(0, 0.01, 200))
        for column, choice in enumerate(CHOICES):
            for place, item in enumerate(found.of(choice.label)):
                assert item.accuracy is not None
                assert item.std is not None
                misses.append(item.accuracy - truth(rows, column, place))
                errors.append(item.std)
    scores = np.array(misses) / np.array(errors)
    # Of a normal distribution, 68 % and 95 % lie within one and two standard errors.
    assert np.mean(np.abs(scores) < 1) == pytest.approx(0.68, abs=0.06)
    assert np.mean(np.abs(scores) < 2) == pytest.approx(0.95, abs=0.03)


def test_values_that_were_not_or_seldom_tried_say_so() -> None:
    rng = np.random.default_rng(0)
    rows = ALL[rng.integers(0, len(ALL), 100)]
    rows = np.concatenate([rows[rows[:, 1] > 0][:60], ALL[4:7]])
    rows = rows[(rows[:, 2] < 3) | (np.arange(len(rows)) % 20 == 0)]
    found = estimated(rows, 0.6 + totals(rows, WORTH))
    never = found.of("expand")[0]
    assert (never.networks, never.accuracy, never.std, never.macs) == (0, None, None, None)
    seldom = found.of("layers")[3]
    assert 0 < seldom.networks < 5
    assert seldom.few
    rows_of_table = [row for row in page_table(found).rows if row[0] == "expand" and row[1] == "1"]
    assert rows_of_table[0][3] == "not tried"
    assert any(row[0] == "layers" and f"few ({seldom.networks})" in str(row[5]) for row in page_table(found).rows)


def test_the_choice_with_most_at_stake_comes_first() -> None:
    found = estimated(ALL, 0.6 + totals(ALL, WORTH))
    assert found.labels == ["expand", "layers", "kernel"]
    assert [item.value for item in found.items if item.found] == [5, 4, 1]
    assert "24 different networks" in effects_note(found)
    assert len(terminal_table(found).rows) == 3


def test_too_little_to_tell() -> None:
    nine = ALL[:9]
    assert estimate_effects(CHOICES, nine, totals(nine, WORTH), totals(nine, PRICE), (3, 1, 1)) is None
    same = np.full(len(ALL), 0.3)
    assert estimate_effects(CHOICES, ALL, same, totals(ALL, PRICE), (3, 1, 1)) is None
    assert "too few to tell" in effects_note(None)


def test_choices_that_always_go_together_share_their_worth() -> None:
    rows = ALL[(ALL[:, 0] == 0) == (ALL[:, 1] == 0)]  # kernel 5 never without expand above 1
    found = estimated(rows, 0.6 + totals(rows, WORTH))
    spread = [item.std for item in found.of("kernel")]
    # Effects that cannot be told apart have a large error instead of an invented value.
    assert all(std is not None and std > 1e-3 for std in spread)
