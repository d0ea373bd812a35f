"""Races on simulated accuracies with known means: is the best found, for how many trainings, and under which rule?

python benchmarks/racing.py [settings] [rules] [images] [pairs]

Points are percent points of top-1. A race has 25 candidates, at most 10 seeds, and half of the full grid as its
budget.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from scaling.studies.racing import RacingRule, race, threshold_of
from scaling.studies.standings import standings

Numbers = NDArray[np.float64]
CANDIDATES, SEEDS, LEVEL = 25, 10, 0.05
BUDGET = CANDIDATES * SEEDS // 2
NAMES = [str(i) for i in range(CANDIDATES)]


def settings(races: int) -> Iterator[tuple[str, bool, Numbers, Numbers]]:
    """Name, whether normal with one spread, true means (races, candidates) and residuals (races, candidates, seeds).

    Candidate 0 is always the best, or one of those. Effects of seeds, which all candidates share, are added later.
    """
    generator = np.random.default_rng(5)
    shape = (races, CANDIDATES, SEEDS)
    even = np.broadcast_to(np.linspace(0, -2.5, CANDIDATES), shape[:2])
    hill = -np.sort(generator.uniform(0, 1.6, shape[:2]) ** 2, axis=1)
    hill -= hill[:, :1]
    equal = np.zeros(shape[:2])
    noise = generator.standard_normal
    for spread in (0.3, 0.5, 1.0):
        yield f"2.5 points, evenly; spread {spread}", True, even, spread * noise(shape)
    for spread in (0.3, 0.5, 1.0):
        yield f"2.5 points, many near the best; spread {spread}", True, hill, spread * noise(shape)
    for spread in (0.3, 1.0):
        yield f"all equal; spread {spread}", True, equal, spread * noise(shape)
    yield "evenly; spreads 0.3 to 1.0", False, even, generator.uniform(0.3, 1, (races, CANDIDATES, 1)) * noise(shape)
    own = np.full((1, CANDIDATES, 1), 0.4)
    own[0, 0] = 1.2
    yield "evenly; the best's spread 1.2, others' 0.4", False, even, own * noise(shape)
    yield "all equal; one spread 1.2, others' 0.4", False, equal, own * noise(shape)
    mixed = np.where(generator.random((races, CANDIDATES, 1)) < 0.5, 0.4, 1.2)
    yield "all equal; spread 0.4 or 1.2", False, equal, mixed * noise(shape)
    yield "evenly; Student's t with 3 degrees", False, even, 0.5 / np.sqrt(3) * generator.standard_t(3, shape)
    yield "all equal; Student's t with 3 degrees", False, equal, 0.5 / np.sqrt(3) * generator.standard_t(3, shape)
    yield "all equal; skewed (exponential), 0.5", False, equal, 0.5 * (1 - generator.exponential(1, shape))
    failing = 0.24 - 8.0 * (generator.random(shape) < 0.03)
    yield "evenly; 0.4, and 3 % lose 8 points", False, even, 0.4 * noise(shape) + failing
    yield "all equal; 0.4, and 3 % lose 8 points", False, equal, 0.4 * noise(shape) + failing


def table(means: Numbers, residuals: Numbers) -> Numbers:
    """Accuracies as fractions, with an effect of the seed of 0.5 points."""
    shared = np.random.default_rng(6).standard_normal((len(means), 1, SEEDS)) * 0.5
    return 0.7 + (means[:, :, None] + residuals + shared) / 100


def print_settings(races: int) -> None:
    """The rule of the package in every setting."""
    rule, everything = RacingRule(), RacingRule(first=SEEDS, budget=CANDIDATES * SEEDS)
    print("| simulated accuracies | the best is a tie | trainings | ties | ties of the full grid | off by | ended |")
    print("|---|---|---|---|---|---|---|")
    for name, _, means, residuals in settings(races):
        rows = []
        ended: dict[str, int] = {}
        for accuracies, true in zip(table(means, residuals), means, strict=True):
            result, ranked = race(accuracies, rule), standings(NAMES, accuracies, rule)
            ended[str(result.ended)] = ended.get(str(result.ended), 0) + 1
            ties = [int(one.name) for one in ranked if one.verdict != "worse"]
            rows.append((0 in ties, result.spent, len(ties), len(race(accuracies, everything).racing), -true[ties[0]]))
        held, spent, ties, full, off = np.array(rows, dtype=float).T
        share = 100 * spent / CANDIDATES / SEEDS
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(ended.items()))
        print(
            f"| {name} | {100 * held.mean():.1f} % | {share.mean():.0f} % (at most {share.max():.0f}) | "
            f"{ties.mean():.1f} | {full.mean():.1f} | {off.mean():.2f} | {why} |",
            flush=True,
        )


@dataclass(frozen=True)
class Tried:
    """A rule to compare: the quantile from seeds and degrees of freedom, the variance used, the first decision."""

    quantile: Callable[[int, Numbers], Numbers]
    variance: str = "pooled"
    first: int = 2


def student(p: float, seeds: int, freedom: Numbers) -> Numbers:
    return np.asarray(t.isf(p, freedom))


def mixture(seeds: int, freedom: Numbers) -> Numbers:
    """Robbins's normal mixture, a confidence sequence; its one constant is best near the fifth seed."""
    level = 2 * LEVEL / (CANDIDATES - 1)
    return np.full_like(freedom, np.sqrt((seeds + 1) / seeds * np.log((seeds + 1) / level**2)))


def range_threshold(races: int = 20_000) -> float:
    """As `threshold_of`, for the largest difference of any two: what Tukey's intervals of all pairs would need."""
    generator, smallest = np.random.default_rng(0), []
    for _ in range(races // 1000):
        draws = generator.standard_normal((1000, CANDIDATES, SEEDS))
        least = np.ones(1000)
        for seeds in range(2, SEEDS + 1):
            part = draws[:, :, :seeds]
            means = part.mean(2)
            rest = part - means[:, :, None] - part.mean(1, keepdims=True) + part.mean((1, 2), keepdims=True)
            freedom = (CANDIDATES - 1) * (seeds - 1)
            error = np.sqrt(2 * (rest**2).sum((1, 2)) / freedom / seeds)
            least = np.minimum(least, t.sf(np.ptp(means, axis=1) / error, freedom))
        smallest.append(least)
    return float(np.quantile(np.concatenate(smallest), LEVEL))


def tried() -> dict[str, Tried]:
    """The rules that were compared; the last is the package's."""
    union = LEVEL / (CANDIDATES - 1) / (SEEDS - 1)
    two, three = (threshold_of(CANDIDATES, first, SEEDS, LEVEL) for first in (2, 3))
    return {
        "t at 5 %, nothing corrected": Tried(partial(student, LEVEL)),
        "t of each pair alone, union bound": Tried(partial(student, union), "pair"),
        "confidence sequence (normal mixture)": Tried(mixture),
        "studentized range of all rounds": Tried(partial(student, range_threshold())),
        "common variance, union bound": Tried(partial(student, union)),
        "common variance, simulated threshold": Tried(partial(student, two)),
        "the same from the third seed": Tried(partial(student, three), first=3),
        "own variance if larger, union bound": Tried(partial(student, union), "own"),
        "own variance if larger, simulated": Tried(partial(student, two), "own"),
        "the same from the third seed (built)": Tried(partial(student, three), "own", 3),
    }


def run(draws: Numbers, rule: Tried) -> tuple[NDArray[np.bool_], Numbers]:
    """Run all races at once. Returns who was never stopped (races, candidates), and the trainings of each race."""
    races = len(draws)
    every = np.arange(races)
    racing, going = np.ones((races, CANDIDATES), dtype=bool), np.ones(races, dtype=bool)
    total, own = draws[:, :, 0].copy(), np.zeros((races, CANDIDATES))
    squares, freedom, spent = np.zeros(races), np.zeros(races), np.full(races, float(CANDIDATES))
    for seeds in range(2, SEEDS + 1):
        going &= (spent + racing.sum(1) <= BUDGET) & (racing.sum(1) > 1)
        now = racing & going[:, None]
        count = now.sum(1)
        contrasts = np.where(now, draws[:, :, seeds - 1] - total / (seeds - 1), 0)
        contrasts = np.where(now, contrasts - (contrasts.sum(1) / np.maximum(count, 1))[:, None], 0)
        new = (seeds - 1) / seeds * contrasts**2
        squares, freedom, spent = squares + new.sum(1), freedom + np.maximum(count - 1, 0), spent + count
        own += new * (count / np.maximum(count - 1, 1))[:, None]
        total = np.where(now, total + draws[:, :, seeds - 1], total)
        if seeds < rule.first:
            continue
        means = np.where(now, total / seeds, -np.inf)
        best = means.argmax(1)
        variance = np.broadcast_to((squares / freedom)[:, None], own.shape)
        if rule.variance == "own":
            variance = np.maximum(variance, own / (seeds - 1))
        pair, degrees = variance + variance[every, best][:, None], freedom
        if rule.variance == "pair":
            pair = (draws[:, :, :seeds] - draws[every, best][:, None, :seeds]).var(2, ddof=1)
            degrees = np.full(races, seeds - 1.0)
        half = rule.quantile(seeds, degrees)[:, None] * np.sqrt(pair / seeds)
        gap = np.where(now, np.where(going, means.max(1), 0)[:, None] - np.where(now, means, 0), -1)
        racing &= ~(now & (gap > half + 1e-12))
    return racing, spent


def print_rules(races: int) -> None:
    """All rules: the lowest share of races that keep the best, and what is left of the candidates."""
    print(
        "| rule | kept, normal with one spread | kept, others | left: evenly, 0.5 | left: many near, 0.5 | trainings |"
    )
    print("|---|---|---|---|---|---|")
    cases = [(normal, means, table(means, residuals)) for _, normal, means, residuals in settings(races)]
    for name, rule in tried().items():
        found = [run(draws, rule) for _, _, draws in cases]
        kept = [(normal, racing[:, 0].mean()) for (normal, _, _), (racing, _) in zip(cases, found, strict=True)]
        one, other = (100 * min(share for normal, share in kept if normal is kind) for kind in (True, False))
        left = [racing.sum(1).mean() for racing, _ in found]
        spent = 100 * np.mean([found[i][1].mean() for i in range(6)]) / CANDIDATES / SEEDS
        print(f"| {name} | {one:.1f} % | {other:.1f} % | {left[1]:.1f} | {left[4]:.1f} | {spent:.0f} % |", flush=True)


def judged(generator: np.random.Generator, gaps: Numbers, images: int) -> tuple[Numbers, list[NDArray[np.bool_]]]:
    """Hits of all candidates and seeds on a drawn set of images, and the accuracies.

    A hit means that a latent normal variable is positive: a sum of how easy the image is, how well it suits the
    candidate, what the seed does to the candidate, and the chance of a single training. ``gaps`` are true
    differences from the 70 % of the first candidate, in points.
    """
    easy = 1.5 * generator.standard_normal(images)
    taste = 0.35 * generator.standard_normal((len(gaps), 1, images))
    luck = 0.01 * generator.standard_normal((len(gaps), SEEDS, 1))
    single = 0.6 * generator.standard_normal((len(gaps), SEEDS, images))
    total = np.sqrt(1.5**2 + 0.35**2 + 0.01**2 + 0.6**2)
    shift = total * norm.ppf(0.7 + gaps / 100)[:, None, None]
    hits = easy + taste + luck + single + shift > 0
    return hits.mean(2), list(hits)


def print_images(races: int) -> None:
    """Races judged on drawn images: is the best for all images among the ties?"""
    generator, rule = np.random.default_rng(7), RacingRule()
    print("| images | means | kept by the race | a tie, these images | other images | ties | intervals hold |")
    print("|---|---|---|---|---|---|---|")
    for images in (500, 2000):
        for name, gaps in (("all equal", np.zeros(CANDIDATES)), ("5 points, evenly", np.linspace(0, -5, CANDIDATES))):
            rows = []
            for _ in range(races):
                accuracies, hits = judged(generator, gaps, images)
                here, wide = standings(NAMES, accuracies, rule), standings(NAMES, accuracies, rule, hits)
                ties = [{one.name for one in ranked if one.verdict != "worse"} for ranked in (here, wide)]
                truth = {str(i): gaps[i] - np.delete(gaps, i).max() for i in range(CANDIDATES)}
                held = all(
                    one.interval is not None
                    and 100 * one.interval[0] - 1e-9 <= truth[one.name] <= 100 * one.interval[1] + 1e-9
                    for one in wide
                )
                kept = 0 in race(accuracies, rule).racing
                rows.append((kept, "0" in ties[0], "0" in ties[1], len(ties[0]), len(ties[1]), held))
            kept, near, far, few, many, held = np.array(rows, dtype=float).mean(0)
            print(
                f"| {images} | {name} | {100 * kept:.1f} % | {100 * near:.1f} % | {100 * far:.1f} % | "
                f"{few:.1f}, {many:.1f} | {100 * held:.1f} % |",
                flush=True,
            )


def print_pairs(races: int) -> None:
    """Two equal candidates and one decision: how often the first is called worse, where the level is 5 %."""
    generator, rule = np.random.default_rng(8), RacingRule(first=5, seeds=5, budget=10)
    wrong = []
    for _ in range(races):
        accuracies, hits = judged(generator, np.zeros(2), 400)
        found = [standings(NAMES[:2], accuracies, rule, given) for given in (None, hits)]
        wrong.append([("0", "worse") in [(one.name, one.verdict) for one in ranked] for ranked in found])
    here, wide = 100 * np.mean(wrong, axis=0)
    print(f"two equal candidates, 400 images, called worse: {here:.1f} % for these images, {wide:.1f} % for others")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = {"settings": print_settings, "rules": print_rules, "images": print_images, "pairs": print_pairs}
    parser.add_argument("parts", nargs="*", help=f"from {', '.join(parts)}; all by default")
    parser.add_argument("--races", type=int, default=1000)
    arguments = parser.parse_args()
    for part in arguments.parts or parts:
        parts[part](arguments.races)
        print()


if __name__ == "__main__":
    main()
