"""Where the candidates of a race stand: the best, all that cannot be told from it, and those that are worse.

The race is about other seeds on the same images. The intervals here are for other seeds and, where hits are given, for
*other images of the same kind* too. They are wider, so a candidate that was stopped may be a tie in the end: more seeds
would not settle it, only more images would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.studies.racing import ROUNDING, Flags, Numbers, RacingRule, Replay, checked_table, replay
from search_spaces.errors import MnasError


@dataclass(frozen=True)
class Standing:
    """Where a candidate stands.

    Attributes:
        name: name of the candidate.
        seeds: number of seeds that count.
        mean: mean accuracy over these seeds, a fraction. Where numbers of seeds differ, compare ``difference`` instead,
            which is paired.
        difference: difference from the best of the other candidates, over the seeds that both have; from the one shown
            as best, or for that one from the runner-up.
        interval: interval of that difference; the intervals of all candidates hold at once with a confidence of one
            minus the level. An end of 0 says that the sign is settled. None before the first round is complete.
        verdict: ``best``, ``tie`` (cannot be told from the best), ``worse``, or ``unknown`` without an interval.
    """

    name: str
    seeds: int
    mean: float
    difference: float
    interval: tuple[float, float] | None
    verdict: str


def standings(
    names: Sequence[str],
    accuracies: Numbers,
    rule: RacingRule,
    hits: Sequence[Flags] | None = None,
) -> tuple[Standing, ...]:
    """Compare all candidates with the best, with the trainings of complete rounds.

    The intervals are Hsu's multiple comparisons with the best (Annals of Statistics 12, 1984): for each candidate, its
    mean minus the largest mean of the others. Half of each comparison is the root of a sum of two squares, one for the
    seeds and one for the choice of images, as in `nas.studies.trained_comparison.paired_difference`; the spread of
    single trainings, which is in both, is counted once.

    Args:
        names: names of the candidates.
        accuracies: as in `race`.
        rule: rule of the race.
        hits: whether each image was recognised, for each candidate of shape (seeds, images). Without them the intervals
            are for other seeds on the same images only.

    Returns:
        The standings: the best first, then by their difference from it.

    Raises:
        MnasError: as in `race`, or names or hits do not fit the accuracies.
    """
    table = checked_table(accuracies, rule)
    if len(names) != len(table):
        raise MnasError(f"names: expected {len(table)}, one for each row of accuracies, not {len(names)}")
    found = replay(table, rule)
    seeds = np.array(found.race.seeds)
    if not seeds.all():
        return tuple(_unknown(name, row) for name, row in zip(names, table, strict=True))
    means = np.array([row[:count].mean() for row, count in zip(table, seeds, strict=True)])
    difference, squares = _paired(found, table)
    if hits is not None:
        squares = squares + _image_squares(hits, means, seeds, found.threshold)
    low, high, possible = with_the_best(difference, np.sqrt(squares))
    best = int(np.lexsort((-means, -seeds))[0])
    shown = difference[:, best].copy()
    longest = np.delete(seeds, best)
    shown[best] = np.delete(difference[best], best)[longest == longest.max()].min()
    verdicts = np.where(possible, "tie", "worse").tolist()
    verdicts[best] = "best"
    ranked = sorted(range(len(names)), key=lambda i: (i != best, -shown[i]))
    return tuple(
        Standing(
            names[i], int(seeds[i]), float(means[i]), float(shown[i]), (float(low[i]), float(high[i])), verdicts[i]
        )
        for i in ranked
    )


def half_of_pairs(accuracies: Numbers, rule: RacingRule, hits: Sequence[Flags]) -> float:
    """The half of the simultaneous intervals of pairs of candidates, a fraction: the root of the mean square of all.

    Args:
        accuracies, rule, hits: as in `standings`, with all candidates trained with equally many seeds.
    """
    table = checked_table(accuracies, rule)
    found = replay(table, rule)
    seeds = np.array(found.race.seeds)
    squares = _paired(found, table)[1] + _image_squares(hits, table[:, : seeds[0]].mean(1), seeds, found.threshold)
    return float(np.sqrt(squares[~np.eye(len(table), dtype=bool)].mean()))


def _unknown(name: str, row: Numbers) -> Standing:
    """The standing of a candidate before the first round is complete."""
    done = row[~np.isnan(row)]
    return Standing(name, len(done), float(done.mean()) if len(done) else float("nan"), float("nan"), None, "unknown")


def _paired(found: Replay, table: Numbers) -> tuple[Numbers, Numbers]:
    """Differences of all pairs over common seeds, and squared halves of their intervals for other seeds.

    Both are of shape (candidates, candidates). A pair is compared as it was after the last round that it shared.
    """
    from scipy.stats import t

    seeds = np.array(found.race.seeds)
    common = np.minimum.outer(seeds, seeds)
    sums = np.cumsum(np.nan_to_num(table), axis=1)
    rows = np.arange(len(table))
    mean, variance = sums[rows[:, None], common - 1] / common, found.variances[common, rows[:, None]]
    quantile = t.isf(found.threshold, found.freedom[common])
    return mean - mean.T, quantile**2 * (variance + variance.T) / common


def _image_squares(hits: Sequence[Flags], means: Numbers, seeds: NDArray[np.int64], threshold: float) -> Numbers:
    """Squared halves of the intervals of all pairs for the choice of images, of shape (candidates, candidates).

    The variance between images of a pair's mean difference, less what single trainings contribute to it (the
    interaction of seeds and images in a crossed layout), which is in the spread of seeds already.
    """
    from scipy.stats import norm

    if len(hits) != len(seeds):
        raise MnasError(f"hits: expected {len(seeds)}, one for each row of accuracies, not {len(hits)}")
    tables = [np.asarray(one, dtype=float) for one in hits]
    images = tables[0].shape[-1]
    for one, count, mean in zip(tables, seeds, means, strict=True):
        if one.ndim != 2 or len(one) < count or one.shape[1] != images or images < 2:
            raise MnasError(
                f"hits: the shape {one.shape} is not seeds × images, with {count} seeds and the same images"
            )
        if abs(one[:count].mean() - mean) > 1e-4:
            raise MnasError(
                f"hits: {one[:count].mean():g} of them are hits where the accuracies say {mean:g}; use the same"
            )
    squares = np.zeros((len(seeds), len(seeds)))
    for count in np.unique(seeds):
        rows = np.flatnonzero(seeds >= count)
        part = np.stack([tables[i][:count] for i in rows])
        between = part.mean(1) - part.mean((1, 2))[:, None]
        single = (part - part.mean(2, keepdims=True) - between[:, None, :]).reshape(len(rows), -1)
        product = between @ between.T - single @ single.T / (count * (count - 1))
        variance = (np.diag(product)[:, None] + np.diag(product) - 2 * product) / (images - 1)
        pairs = np.minimum.outer(seeds[rows], seeds[rows]) == count
        squares[np.ix_(rows, rows)] += np.where(pairs, np.maximum(variance, 0) / images, 0)
    return float(norm.isf(threshold)) ** 2 * squares


def with_the_best(difference: Numbers, half: Numbers) -> tuple[Numbers, Numbers, Flags]:
    """Hsu's intervals of each mean minus the largest of the others, and whether each may be the largest of all.

    They hold whenever no rival's lead over the truly best candidate is overestimated by more than half: the same event
    that keeps it in the race.

    Args:
        difference: row minus column, of shape (candidates, candidates).
        half: half of the interval of each pair.
    """
    others = ~np.eye(len(difference), dtype=bool)
    high = np.where(others, difference + half, np.inf).min(1)
    possible: Flags = high >= -ROUNDING
    low = np.where(others & possible, difference - half, np.inf).min(1)
    return np.minimum(low, 0.0), np.maximum(high, 0.0), possible
