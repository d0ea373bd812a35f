from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from scaling.studies.racing import RacingRule, race, replay, threshold_of
from scaling.studies.standings import Standing, half_of_pairs, standings, with_the_best
from search_spaces.errors import MnasError

CANDIDATES, SEEDS = 25, 10
NAMES = [str(i) for i in range(CANDIDATES)]


def simulated(means: NDArray[np.float64], spread: float, seed: int, races: int) -> NDArray[np.float64]:
    """Accuracies of shape (races, candidates, seeds); means and spreads in points, candidate 0 is the best."""
    generator = np.random.default_rng(seed)
    shared = 0.5 * generator.standard_normal((races, 1, SEEDS))
    own = spread * generator.standard_normal((races, len(means), SEEDS))
    return 0.7 + (means[:, None] + shared + own) / 100


def ties(ranked: tuple[Standing, ...]) -> set[str]:
    return {one.name for one in ranked if one.verdict != "worse"}


@pytest.mark.parametrize(
    ("means", "spread"),
    [
        (np.zeros(CANDIDATES), 0.5),
        (-2.5 * np.linspace(0, 1, CANDIDATES), 0.3),
        (-2.5 * np.linspace(0, 1, CANDIDATES) ** 2, 1.0),
    ],
)
def test_the_best_is_among_the_ties_for_half_of_the_trainings(means: NDArray[np.float64], spread: float) -> None:
    rule, kept = RacingRule(), 0
    for accuracies in simulated(means, spread, 1, 200):
        result = race(accuracies, rule)
        assert result.spent <= CANDIDATES * SEEDS / 2
        kept += 0 in result.racing
    assert kept >= 0.95 * 200
    # The ties reported for the same images are those that were never stopped.
    assert ties(standings(NAMES, accuracies, rule)) == {str(i) for i in result.racing}


def test_when_everything_ties_the_budget_ends_the_race() -> None:
    result = race(simulated(np.zeros(CANDIDATES), 0.5, 2, 1)[0], RacingRule())
    assert (result.ended, result.spent, result.due) == ("budget", 125, ())
    assert len(result.racing) == CANDIDATES


def test_clear_differences_end_the_race_early() -> None:
    rule = RacingRule()
    result = race(simulated(-2.5 * np.arange(CANDIDATES), 0.2, 3, 1)[0], rule)
    assert (result.racing, result.ended, result.spent) == ((0,), "one left", 3 * CANDIDATES)
    two = race(simulated(np.array([0.0, 0.0, -9.0]), 0.3, 3, 1)[0], replace(rule, budget=100))
    assert (two.racing, two.ended, two.seeds) == ((0, 1), "seeds", (10, 10, 3))


def test_a_race_asks_round_by_round_and_gives_the_same_when_resumed() -> None:
    whole = simulated(-2.5 * np.linspace(0, 1, CANDIDATES), 0.3, 4, 1)[0]
    rule, known = RacingRule(), np.full(whole.shape, np.nan)
    result = race(known, rule)
    assert result.due == tuple((i, seed) for seed in range(3) for i in range(CANDIDATES))
    while result.due:
        before = result
        # One training after the other: nobody is stopped in the middle of a round.
        known[result.due[0]] = whole[result.due[0]]
        result = race(known, rule)
        assert result.due == before.due[1:] or len(before.due) == 1
    assert int((~np.isnan(known)).sum()) == result.spent
    # Trainings that nobody asked for change nothing.
    assert result == race(whole, rule)
    assert standings(NAMES, known, rule) == standings(NAMES, whole, rule)


def test_the_threshold_of_two_candidates_and_one_decision_is_a_t_test() -> None:
    # The best meets one rival once: its p-value is uniform.
    assert threshold_of(2, 5, 5, 0.05) == pytest.approx(0.05, abs=0.004)
    # Never stricter than the union bound over rivals and rounds, never laxer than one round of it.
    assert 0.05 / 24 / 8 < threshold_of(25, 3, 10, 0.05) < 0.05 / 24


def test_the_spread_is_that_of_a_two_way_layout() -> None:
    """Whoever stops, the squared residuals are those of least squares with candidates and seeds as factors."""
    accuracies = simulated(np.array([0.0, -0.1, -0.2, -6.0, -6.0]), 0.4, 5, 1)[0]
    found = replay(accuracies, RacingRule(budget=100))
    counts = found.race.seeds
    assert counts == (10, 10, 10, 3, 3)
    cells = [(i, seed) for i, count in enumerate(counts) for seed in range(count)]
    design = np.zeros((len(cells), 5 + 10))
    for row, (i, seed) in enumerate(cells):
        design[row, i] = design[row, 5 + seed] = 1
    values = np.array([accuracies[cell] for cell in cells])
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    squares = ((values - design @ solution) ** 2).sum()
    assert found.freedom[10] == len(cells) - rank
    # Where no candidate's own variance is larger, all have the common one.
    assert np.nanmin(found.variances[10]) == pytest.approx(squares / (len(cells) - rank))


def test_a_candidate_with_a_spread_of_its_own_is_given_room() -> None:
    accuracies = simulated(np.array([0.0, *[-0.2] * 9]), 0.05, 6, 1)[0]
    accuracies[9, :4] += np.array([0.03, -0.04, -0.03, 0.01])
    found = replay(accuracies, RacingRule(seeds=4, first=4, budget=40))
    assert 9 in found.race.racing
    assert found.variances[4, 9] > 5 * found.variances[4, 0]


def test_intervals_with_the_best_by_hand() -> None:
    means = np.array([3.0, 2.5, 0.0])
    low, high, possible = with_the_best(np.subtract.outer(means, means), np.full((3, 3), 1.0))
    # Hsu (1984): the third is worse by more than the half, and does not count as a possible best for the others.
    np.testing.assert_allclose(low, [-0.5, -1.5, -4.0])
    np.testing.assert_allclose(high, [1.5, 0.5, 0.0])
    assert possible.tolist() == [True, True, False]


def test_accuracies_without_spread_are_told_apart() -> None:
    accuracies = np.repeat([[0.7], [0.7], [0.699]], 10, axis=1) + 0.01 * np.sin(np.arange(10))
    ranked = standings(["a", "b", "c"], accuracies, RacingRule(budget=30))
    assert [one.verdict for one in ranked] == ["best", "tie", "worse"]
    assert ranked[2].difference == pytest.approx(-0.001)


def drawn_hits(generator: np.random.Generator, gaps: NDArray[np.float64], images: int) -> list[NDArray[np.bool_]]:
    """Hits of shape (seeds, images) for each candidate; every image suits some candidates better than others."""
    easy = 0.7 + 0.25 * generator.uniform(-1, 1, (len(gaps), 1, images)) + gaps[:, None, None]
    return list(generator.random((len(gaps), SEEDS, images)) < easy)


def test_intervals_for_other_images_are_wider_by_the_variance_between_images() -> None:
    hits = drawn_hits(np.random.default_rng(8), np.zeros(2), 4000)
    accuracies = np.array([one.mean(1) for one in hits])
    rule = RacingRule(budget=20)
    narrow, wide = standings(["a", "b"], accuracies, rule)[1], standings(["a", "b"], accuracies, rule, hits)[1]
    assert narrow.interval is not None
    assert wide.interval is not None
    assert narrow.difference == wide.difference
    added = math.sqrt((wide.interval[0] - wide.difference) ** 2 - (narrow.interval[0] - narrow.difference) ** 2)
    # Two uniform variables over ±0.25 have a variance of 2 · 0.25² / 3 between images.
    from scipy.stats import norm

    expected = norm.isf(threshold_of(2, 3, 10, 0.05)) * math.sqrt(2 * 0.25**2 / 3 / 4000)
    assert added == pytest.approx(expected, rel=0.1)


def test_the_best_for_other_images_is_among_the_ties() -> None:
    generator, rule = np.random.default_rng(9), RacingRule(seeds=10)
    gaps, kept = -0.002 * np.arange(10), 0
    for _ in range(40):
        hits = drawn_hits(generator, gaps, 600)
        accuracies = np.array([one.mean(1) for one in hits])
        here, wide = (standings(NAMES[:10], accuracies, rule, given) for given in (None, hits))
        assert ties(here) <= ties(wide)
        kept += "0" in ties(wide)
        by_name = {one.name: one for one in wide}
        assert [by_name[name].seeds for name in NAMES[:10]] == list(race(accuracies, rule).seeds)
    assert kept >= 0.95 * 40


def test_standings_before_the_first_round_are_unknown() -> None:
    accuracies = np.full((3, 10), np.nan)
    accuracies[0, 0] = 0.5
    ranked = standings(["a", "b", "c"], accuracies, RacingRule())
    assert {one.verdict for one in ranked} == {"unknown"}
    assert ranked[0].mean == 0.5
    assert ranked[0].interval is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"level": 0.9}, "level"),
        ({"first": 1}, "first"),
        ({"first": 11}, "seeds"),
        ({"seeds": 1}, "seeds"),
        ({"budget": 0}, "budget"),
    ],
)
def test_rules_that_cannot_be(fields: dict[str, float], message: str) -> None:
    with pytest.raises(MnasError, match=f"^{message}: "):
        RacingRule(**fields)


def test_tables_that_cannot_be() -> None:
    rule, good = RacingRule(), np.full((3, 10), 0.5)
    with pytest.raises(MnasError, match=r"^budget: 8 trainings are too few for 3 seeds of 3 candidates; use 9 or more"):
        race(good, replace(rule, budget=8))
    with pytest.raises(MnasError, match=r"^accuracies: 63.2 is not a fraction"):
        race(np.full((3, 10), 63.2), rule)
    with pytest.raises(MnasError, match=r"^accuracies: expected 2 to 1000 candidates"):
        race(good[:1], rule)
    with pytest.raises(MnasError, match=r"^names: expected 3"):
        standings(["a"], good, rule)
    with pytest.raises(MnasError, match=r"^hits: the shape"):
        standings(["a", "b", "c"], good, rule, [np.ones((2, 8), dtype=bool)] * 3)
    with pytest.raises(MnasError, match=r"^hits: 1 of them are hits where the accuracies say 0.5"):
        standings(["a", "b", "c"], good, rule, [np.ones((10, 8), dtype=bool)] * 3)


def test_half_of_pairs_is_that_of_the_intervals() -> None:
    """With two candidates there is one pair, and the interval of the one that ties ends half of it above its mean."""
    generator = np.random.default_rng(3)
    hits = [generator.random((6, 500)) < 0.5 for _ in range(2)]
    table = np.array([one.mean(1) for one in hits])
    rule = RacingRule(first=6, seeds=6)
    tie = next(one for one in standings(("a", "b"), table, rule, hits) if one.verdict == "tie")
    assert tie.interval is not None
    assert half_of_pairs(table, rule, hits) == pytest.approx(tie.interval[1] - tie.difference)
