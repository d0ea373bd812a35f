"""How near do searches come to published B0? Each controller with many seeds, under the reward that found B0.

Of every search: after how many evaluations it passes B0's reward, whether it finds networks that dominate B0 (at least
as accurate and as small, and better in one), and how many choices its best network shares with B0 and MnasNet-A1.
Accuracy is the evaluator's, so this says how a search does *on that evaluator*, not how networks train.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from scipy import stats

from baselines.intervals import wilson
from baselines.registry import load
from nas.evaluators.registry import load_evaluator
from nas.evidence import PUBLISHED_OBJECTIVE, Agreement, Rank, agreement, random_rewards, rank
from nas.search import SearchSettings, run_search
from nas.trial import best_trial
from search_spaces import MnasError, architecture_cost, load_space

REFERENCES = ("efficientnet_b0", "mnasnet_a1")


@dataclass(frozen=True)
class SeededSearch:
    """What came of one search.

    Attributes:
        controller, seed: of the search.
        best_rewards: the best reward after each evaluation, shape (trials,); nan before the first success.
        passed: evaluations until a reward above the reference's; None where none was.
        dominates: whether a network of the run is at least as accurate and small as the reference, and better in one.
        dominates_beyond_noise: whether it is also more accurate by more than the σ of the difference.
        accuracy, macs, reward: of the best network.
        agreements: of the best network with each of `REFERENCES`.
    """

    controller: str
    seed: int
    best_rewards: tuple[float, ...]
    passed: int | None
    dominates: bool
    dominates_beyond_noise: bool
    accuracy: float
    macs: int
    reward: float
    agreements: tuple[Agreement, ...]


@dataclass(frozen=True)
class Summary:
    """The searches of one controller together; intervals are of 95 %.

    Attributes:
        controller: by name.
        seeds: how many searches.
        passed: share of the searches that passed the reference's reward, with its interval (Wilson).
        evaluations: median until then, searches that never passed counted as the longest; None where most never did.
        evaluations_interval: of that median, by order statistics; None of fewer than six searches, which give none.
        quartiles: of the evaluations; None where a quarter never passed.
        dominates, dominates_beyond_noise: share of the searches, with its interval.
        agreements: mean share of equal choices with each of `REFERENCES`, its interval (None of fewer than six
            searches), and that of a random member.
        accuracy, macs, reward: medians of the best networks.
    """

    controller: str
    seeds: int
    passed: tuple[float, float, float]
    evaluations: float | None
    evaluations_interval: tuple[float | None, float | None] | None
    quartiles: tuple[float | None, float | None]
    dominates: tuple[float, float, float]
    dominates_beyond_noise: tuple[float, float, float]
    agreements: tuple[tuple[float, tuple[float, float] | None, float], ...]
    accuracy: float
    macs: float
    reward: float


@dataclass(frozen=True)
class Study:
    """A whole study.

    Attributes:
        space, evaluator: by name.
        trials: of each search.
        reference_reward: of published B0, by the same evaluator.
        reference_rank: of that reward among random members of the space.
        searches: one by one.
        summaries: a controller each.
    """

    space: str
    evaluator: str
    trials: int
    reference_reward: float
    reference_rank: Rank
    searches: tuple[SeededSearch, ...]
    summaries: tuple[Summary, ...]


def rediscover(
    controllers: Sequence[str],
    seeds: int,
    trials: int,
    workers: int,
    evaluator: str = "imagenet",
    space: str = "efficientnet",
    progress: Callable[[SeededSearch], None] = lambda search: None,
) -> Study:
    """Run the study.

    Args:
        controllers: by name.
        seeds: searches of each, with seeds from 0.
        trials: of each search.
        workers: processes.
        evaluator, space: by name; B0 must be a member of both.
        progress: called after each search.

    Raises:
        MnasError: a name is unknown, or the evaluator cannot judge B0.
    """
    jobs = [(name, seed, trials, evaluator, space) for seed in range(seeds) for name in controllers]
    for name in controllers:
        _settings(name, 0, trials, evaluator, space)  # says what is wrong before anything runs
    reference = _reference(evaluator, space)
    searches = []
    # Fresh processes: a fork of one that has threads, such as NNI's, may hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures: list[Future[SeededSearch]] = [pool.submit(_search, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                searches.append(future.result())
                progress(searches[-1])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    searches.sort(key=lambda search: (controllers.index(search.controller), search.seed))
    summaries = [summarise([search for search in searches if search.controller == name]) for name in controllers]
    own_rank = rank(reference.reward, random_rewards(load_space(space), load_evaluator(evaluator, space)))
    return Study(space, evaluator, trials, reference.reward, own_rank, tuple(searches), tuple(summaries))


@dataclass(frozen=True)
class _Reference:
    accuracy: float
    std: float | None
    macs: int
    reward: float


def _reference(evaluator: str, space: str) -> _Reference:
    b0 = load(REFERENCES[0]).architecture
    (metrics,) = load_evaluator(evaluator, space).evaluate([b0])
    macs = architecture_cost(b0).macs
    reward = PUBLISHED_OBJECTIVE.reward(metrics.accuracy, [macs])
    return _Reference(metrics.accuracy, metrics.accuracy_std, macs, reward)


def _settings(controller: str, seed: int, trials: int, evaluator: str, space: str) -> SearchSettings:
    return SearchSettings(space, evaluator, controller, PUBLISHED_OBJECTIVE, trials, seed)


def _search(controller: str, seed: int, trials: int, evaluator: str, space_name: str) -> SeededSearch:
    settings = _settings(controller, seed, trials, evaluator, space_name)
    done = run_search(settings)
    reference, space = _reference(evaluator, space_name), load_space(space_name)
    best = best_trial(done, PUBLISHED_OBJECTIVE)
    if best is None or best.metrics is None or best.reward is None:
        raise MnasError(f"evaluator {evaluator!r}: no trial of {controller}, seed {seed}, succeeded")
    rewards = np.array([np.nan if trial.reward is None else trial.reward for trial in done])
    above = np.flatnonzero(rewards > reference.reward)
    gains = [
        (trial.metrics.accuracy - reference.accuracy, math.hypot(trial.metrics.accuracy_std or 0, reference.std or 0))
        for trial in done
        if trial.metrics is not None
        and trial.cost.macs <= reference.macs
        and (trial.metrics.accuracy, -trial.cost.macs) > (reference.accuracy, -reference.macs)
    ]
    return SeededSearch(
        controller=controller,
        seed=seed,
        best_rewards=tuple(np.fmax.accumulate(rewards).tolist()),
        passed=int(above[0]) + 1 if len(above) else None,
        dominates=bool(gains),
        dominates_beyond_noise=any(gain > noise for gain, noise in gains),
        accuracy=best.metrics.accuracy,
        macs=best.cost.macs,
        reward=best.reward,
        agreements=tuple(agreement(space, best.architecture, load(name).architecture) for name in REFERENCES),
    )


def summarise(searches: Sequence[SeededSearch]) -> Summary:
    """The searches of one controller together."""
    count = len(searches)
    passed = np.sort([math.inf if search.passed is None else search.passed for search in searches])
    ends = median_ranks(count)
    share = float(np.isfinite(passed).mean())
    return Summary(
        controller=searches[0].controller,
        seeds=count,
        passed=(share, *wilson(share, count)),
        evaluations=_finite(np.median(passed)),
        evaluations_interval=None if ends is None else (_finite(passed[ends[0]]), _finite(passed[ends[1]])),
        quartiles=(_finite(passed[(count - 1) // 4]), _finite(passed[-1 - (count - 1) // 4])),
        dominates=_share([search.dominates for search in searches]),
        dominates_beyond_noise=_share([search.dominates_beyond_noise for search in searches]),
        agreements=tuple(_agreements(searches)),
        accuracy=float(np.median([search.accuracy for search in searches])),
        macs=float(np.median([search.macs for search in searches])),
        reward=float(np.median([search.reward for search in searches])),
    )


def median_ranks(count: int) -> tuple[int, int] | None:
    """Positions (from 0) of the ordered values between which the median lies with 95 % confidence at least.

    The number of values below the median is binomial with one half. None where no two values give the confidence.
    """
    below = np.cumsum([math.comb(count, i) / 2**count for i in range(count + 1)])
    cut = int(np.searchsorted(below, 0.025, side="right")) - 1
    return None if cut < 0 else (cut, count - 1 - cut)


def _agreements(searches: Sequence[SeededSearch]) -> Iterator[tuple[float, tuple[float, float] | None, float]]:
    for pairs in zip(*(search.agreements for search in searches), strict=True):
        shares = np.array([one.shared / one.choices for one in pairs])
        interval = None
        if median_ranks(len(shares)) is not None:
            # Student's t: shares of a few dozen choices, averaged, are near enough to normal.
            half = float(stats.t.ppf(0.975, len(shares) - 1) * shares.std(ddof=1) / math.sqrt(len(shares)))
            interval = (float(shares.mean()) - half, float(shares.mean()) + half)
        yield float(shares.mean()), interval, pairs[0].chance / pairs[0].choices


def _share(found: Sequence[bool]) -> tuple[float, float, float]:
    share = sum(found) / len(found)
    return (share, *wilson(share, len(found)))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
