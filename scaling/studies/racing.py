"""Racing: which candidates of a search deserve more seeds.

All candidates are trained with seeds 0, 1, 2, … and judged on the same images. A round gives one more seed to every
candidate that still races; then those that are worse than another one stop. What is assumed is a two-way layout: an
accuracy is the candidate's mean, plus an effect of the seed that all candidates share, plus a normal residual.

The error level covers the whole race, all rounds and all rivals together: the probability that the truly best candidate
is ever stopped. If several are exactly equally good, it holds for each of them. It is kept where all candidates have
the same spread; simulated races kept it with other spreads and shapes too, but for one candidate among equals that has
three times the spread of all others, which was stopped in 7 % of races.

The race is about other seeds on these images, since more seeds answer nothing else. What it says about other images of
the same kind is in `scaling.studies.standings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from baselines.text import Count
from search_spaces.architecture import check_int, check_number
from search_spaces.errors import MnasError

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Simulated races behind the threshold: their error level is known to 0.15 points at a level of 5 %.
SIMULATIONS = 20_000
# Differences up to this are rounding, where accuracies have no spread at all.
ROUNDING = 1e-12


@dataclass(frozen=True)
class RacingRule:
    """When candidates stop, and when the race ends.

    Attributes:
        level: largest probability that the truly best candidate is ever stopped, from 0.001 to 0.5.
        first: number of seeds that all candidates get before the first decision. With two, a candidate whose own spread
            is much larger than that of the others is stopped more often (LOG.md, "Racing").
        seeds: largest number of seeds of a candidate.
        budget: largest number of trainings; half of all candidates times all seeds by default, but no less than
            ``first`` seeds for each.

    Raises:
        MnasError: a field breaks its rule.
    """

    level: float = 0.05
    first: Count = 3
    seeds: Count = 10
    budget: Count | None = None

    def __post_init__(self) -> None:
        check_number("level", self.level, 0.001, 0.5)
        check_int("seeds", self.seeds, 2, 1000)
        check_int("first", self.first, 2, 1000)
        if self.first > self.seeds:
            raise MnasError(
                f"seeds: {self.seeds} is fewer than the {self.first} that every candidate gets first; use {self.first} "
                f"or more, or --first {self.seeds}"
            )
        if self.budget is not None:
            check_int("budget", self.budget, 1, 10**9)

    def trainings(self, candidates: int) -> int:
        """Largest number of trainings for some candidates.

        Raises:
            MnasError: the budget is too small for the first round.
        """
        needed = self.first * candidates
        if self.budget is None:
            return max(needed, candidates * self.seeds // 2)
        if self.budget < needed:
            raise MnasError(
                f"budget: {self.budget} trainings are too few for {self.first} seeds of {candidates} candidates; "
                f"use {needed} or more, or fewer candidates"
            )
        return self.budget


@dataclass(frozen=True)
class Race:
    """The state of a race: a function of the accuracies so far, so that it can be resumed.

    Attributes:
        racing: indices of the candidates that still race; of those that were never stopped when it has ended.
        seeds: number of seeds of each candidate in complete rounds.
        due: trainings that the current round lacks, as (candidate, seed), by seed; empty when it has ended.
        ended: why it ended: ``one left``, ``seeds`` or ``budget``; None while it goes on.
    """

    racing: tuple[int, ...]
    seeds: tuple[int, ...]
    due: tuple[tuple[int, int], ...]
    ended: str | None

    @property
    def spent(self) -> int:
        """Number of trainings in complete rounds."""
        return sum(self.seeds)


def race(accuracies: Numbers, rule: RacingRule) -> Race:
    """Decide which candidates get another seed.

    Accuracies that the race has not asked for (of stopped candidates, or of seeds ahead) change nothing. A training
    that fails has to be given an accuracy, or its candidate left out; nan is a training still to come.

    Args:
        accuracies: fractions of shape (candidates, seeds), nan where not trained.
        rule: rule of the race.

    Returns:
        The state of the race.

    Raises:
        MnasError: the accuracies are not such a table, or the budget is too small.
    """
    return replay(checked_table(accuracies, rule), rule).race


def checked_table(accuracies: Numbers, rule: RacingRule) -> Numbers:
    """The accuracies of the rule's seeds, with a column for each."""
    table = np.asarray(accuracies, dtype=float)
    if table.ndim != 2 or not 2 <= len(table) <= 1000:
        raise MnasError(f"accuracies: expected 2 to 1000 candidates × seeds, not the shape {table.shape}")
    wrong = table[~np.isnan(table) & ~((table >= 0) & (table <= 1))]
    if len(wrong):
        raise MnasError(f"accuracies: {wrong[0]:g} is not a fraction from 0 to 1; use nan for a training still to come")
    missing = max(0, rule.seeds - table.shape[1])
    return np.pad(table, ((0, 0), (0, missing)), constant_values=np.nan)[:, : rule.seeds]


@dataclass(frozen=True)
class Replay:
    """A race, with the spread that each of its decisions was based on.

    Attributes:
        race: state of the race.
        threshold: p-value below which a candidate stops.
        variances: variance of a training of each candidate as known after each number of seeds, of shape (seeds + 1,
            candidates); nan where there was no decision.
        freedom: degrees of freedom of the common variance, of shape (seeds + 1,).
    """

    race: Race
    threshold: float
    variances: Numbers
    freedom: NDArray[np.int64]


def replay(table: Numbers, rule: RacingRule) -> Replay:
    """Run the race over the accuracies so far, of shape (candidates, the rule's seeds)."""
    candidates = len(table)
    budget, threshold = rule.trainings(candidates), threshold_of(candidates, rule.first, rule.seeds, rule.level)
    racing, counted = np.arange(candidates), np.zeros(candidates, dtype=int)
    pooled, own, freedom = 0.0, np.zeros(candidates), np.zeros(rule.seeds + 1, dtype=np.int64)
    variances = np.full((rule.seeds + 1, candidates), np.nan)
    seeds = 0
    while True:
        after = max(seeds + 1, rule.first)
        ended = _ended(racing, counted, after, rule, budget)
        due: tuple[tuple[int, int], ...] = ()
        if ended is None:
            due = tuple((int(i), s) for s in range(seeds, after) for i in racing if np.isnan(table[i, s]))
        if ended or due:
            state = Race(tuple(racing.tolist()), tuple(counted.tolist()), due, ended)
            return Replay(state, threshold, variances, freedom)
        for count in range(max(seeds, 1) + 1, after + 1):
            new = _new_squares(table[racing, :count])
            pooled += new.sum()
            own[racing] += new * len(racing) / (len(racing) - 1)
            freedom[count] = freedom[count - 1] + len(racing) - 1
        seeds = counted[racing] = after
        # Each candidate's own variance, but never less than that of all: the spread need not be the same for all.
        variances[seeds, racing] = np.maximum(own[racing] / (seeds - 1), pooled / freedom[seeds])
        racing = racing[~_worse(table[racing, :seeds], variances[seeds, racing], threshold, int(freedom[seeds]))]


def _ended(
    racing: NDArray[np.int64], counted: NDArray[np.int64], after: int, rule: RacingRule, budget: int
) -> str | None:
    """Why a race ends before the round that gives every racing candidate ``after`` seeds; None if it goes on."""
    if len(racing) == 1:
        return "one left"
    if after > rule.seeds:
        return "seeds"
    return "budget" if counted.sum() + (after - counted[racing]).sum() > budget else None


def _worse(table: Numbers, variances: Numbers, threshold: float, freedom: int) -> Flags:
    """Which candidates are worse than another one, by Student's t.

    Args:
        table: accuracies of shape (candidates that race, seeds so far).
        variances: variance of a training of each.
        threshold: p-value below which a candidate stops.
        freedom: degrees of freedom of the common variance.
    """
    from scipy.stats import t

    means = table.mean(1)
    halves = t.isf(threshold, freedom) * np.sqrt(np.add.outer(variances, variances) / table.shape[1])
    found: Flags = (np.subtract.outer(means, means) > halves + ROUNDING).any(0)
    return found


def _new_squares(table: Numbers) -> Numbers:
    """What the last seed adds to each candidate's sum of squared residuals of the two-way layout.

    These are squares of Helmert contrasts (the last seed against the mean of the earlier ones) about their mean over
    candidates. Contrasts of a seed are independent of everything before it, also of who was stopped, so that the sum
    over seeds stays a multiple of chi-squared however the race went.

    Args:
        table: accuracies of shape (candidates that race, seeds so far).
    """
    count = table.shape[1]
    contrasts = table[:, -1] - table[:, :-1].mean(1)
    squares: Numbers = (count - 1) / count * (contrasts - contrasts.mean()) ** 2
    return squares


@lru_cache(maxsize=32)
def threshold_of(candidates: int, first: int, seeds: int, level: float) -> float:
    """The p-value below which a candidate stops, the same in all rounds.

    It is the ``level`` quantile of the smallest p-value that the best candidate meets in a race, over all rounds and
    rivals, if all candidates are equally good, which is the worst case. Rounds share their data and rivals the best
    candidate, so a union bound over both would be three times as strict. Simulated with a fixed seed, so that a race
    that is resumed decides the same.
    """
    from scipy.stats import t

    generator = np.random.default_rng(0)
    chunk = min(SIMULATIONS, max(1, 2_000_000 // (candidates * seeds)))
    smallest = []
    for start in range(0, SIMULATIONS, chunk):
        races = min(chunk, SIMULATIONS - start)
        total, squares = np.zeros((races, candidates)), np.zeros(races)
        least = np.ones(races)
        for count in range(1, seeds + 1):
            new = generator.standard_normal((races, candidates))
            if count > 1:
                contrasts = new - total / (count - 1)
                squares += (count - 1) / count * candidates * contrasts.var(axis=1)
            total += new
            if count >= first:
                freedom = (candidates - 1) * (count - 1)
                gap = (total.max(axis=1) - total[:, 0]) / count
                least = np.minimum(least, t.sf(gap / np.sqrt(2 * squares / freedom / count), freedom))
        smallest.append(least)
    return float(np.quantile(np.concatenate(smallest), level))
