"""How close do searches come to published B0? Each controller runs with many seeds, under the reward that found B0.

Recorded for every search: after how many evaluations it passes B0's reward, whether it finds networks that dominate B0
(at least as accurate and as small, and better in one), and how many choices its best network shares with B0 and
MnasNet-A1. Accuracy is the evaluator's, so this measures searches *on that evaluator*, not how networks train.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines.files import file_name
from baselines.registry import load
from baselines.statistics import half_of_student, wilson
from baselines.text import Count, Names, command
from nas.evaluators.registry import load_evaluator
from nas.evidence import PUBLISHED_OBJECTIVE, Agreement, Rank, agreement, random_rewards, rank
from nas.executors.base import Execution
from nas.search_loop import SearchSettings
from nas.studies.engine import Call, Job, Study, run_study
from nas.studies.journal import StudyJournal, check_kind
from nas.studies.searches import search_in
from nas.trial import best_trial
from search_spaces import MnasError, architecture_cost, load_stage_space
from search_spaces.architecture import check_int
from search_spaces.plugins import OBJECT, code_options, located, refuse_code
from search_spaces.serialization import from_dict

REFERENCES = ("efficientnet_b0", "mnasnet_a1")
KIND = "rediscovery"


@dataclass(frozen=True)
class SeededSearch:
    """The result of one search.

    Attributes:
        controller, seed: controller and seed of the search.
        best_rewards: best reward after each evaluation, of shape (trials,); nan before the first success.
        passed: number of evaluations until a reward above the reference's; None if there was none.
        dominates: whether a network of the run is at least as accurate and small as the reference, and better in one.
        dominates_beyond_noise: whether it is also more accurate by more than the σ of the difference.
        accuracy, macs, reward: figures of the best network.
        agreements: agreements of the best network with each of `REFERENCES`.
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
    """The searches of one controller together; intervals are at 95 %.

    Attributes:
        controller: name of the controller.
        seeds: number of searches.
        passed: share of the searches that passed the reference's reward, with its interval (Wilson).
        evaluations: median number until then, searches that never passed count as the longest; None if most never did.
        evaluations_interval: interval of that median, by order statistics; None for fewer than six searches.
        quartiles: quartiles of the evaluations; None where too few searches passed.
        dominates, dominates_beyond_noise: share of the searches, with its interval.
        agreements: mean share of equal choices with each of `REFERENCES`, its interval (None for fewer than six
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
class Rediscovery:
    """A whole study.

    Attributes:
        space, evaluator: names.
        trials: number of trials of each search.
        reference_reward: reward of published B0 with the same evaluator.
        reference_rank: rank of that reward among random members of the space.
        searches: results of the searches.
        summaries: summaries, one per controller.
    """

    space: str
    evaluator: str
    trials: int
    reference_reward: float
    reference_rank: Rank
    searches: tuple[SeededSearch, ...]
    summaries: tuple[Summary, ...]


@dataclass(frozen=True)
class RediscoverySettings:
    """The settings of a rediscovery.

    Attributes:
        controllers: controllers to compare, names separated by commas.
        seeds: number of searches of each controller, with seeds from 0.
        trials: number of trials of each search.
        evaluator: source of accuracy.
        space: search space; B0 must be a member of it.

    Raises:
        MnasError: a name is unknown, or a number breaks its rule.
    """

    controllers: Names = ("bayesian", "ppo", "reinforce", "nni:regularized-evolution", "random")
    seeds: Count = 20
    trials: Count = 500
    evaluator: str = "imagenet"
    space: str = "efficientnet"

    def __post_init__(self) -> None:
        check_int("seeds", self.seeds, 1, 100_000)
        if not self.controllers or len(set(self.controllers)) != len(self.controllers):
            raise MnasError(f"controllers: {', '.join(self.controllers)!r}: expected one or more different names")
        for name in self.controllers:
            self.search(name, 0)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that may stand for a plug-in."""
        return (self.space, self.evaluator, *self.controllers)

    def search(self, controller: str, seed: int) -> SearchSettings:
        """The settings of one search."""
        return SearchSettings(self.space, self.evaluator, controller, PUBLISHED_OBJECTIVE, self.trials, seed)


def read_rediscovery(folder: Path, *, allow_code: bool = False) -> RediscoverySettings:
    """The settings of a rediscovery in a folder.

    Raises:
        MnasError: the folder holds no rediscovery, or its settings name a Python file that may not run.
    """
    with StudyJournal.open(folder) as journal:
        check_kind(journal, KIND)
        stored = {name: value for name, value in journal.plain_settings.items() if name != "kind"}
    if not allow_code:
        controllers = stored.get("controllers")
        names = [*stored.values(), *(controllers if isinstance(controllers, list) else [])]
        refuse_code(names, f"run: {folder}")
    return from_dict(RediscoverySettings, stored, "settings")


def rediscover(folder: Path, settings: RediscoverySettings, execution: Mapping[str, Any] | None = None) -> Rediscovery:
    """Run the study, or the rest of it.

    Args:
        folder: folder of the study, in which each search has its own.
        settings: settings of the study.
        execution: fields of the execution; one process per core by default.

    Raises:
        KeyboardInterrupt: it was stopped; it can be resumed.
        MnasError: the evaluator cannot judge B0, a search fails, or the folder holds something else.
    """
    settings = replace(
        settings,
        space=located(settings.space),
        evaluator=located(settings.evaluator),
        controllers=tuple(map(located, settings.controllers)),
    )
    reference = _reference(settings.evaluator, settings.space)
    study = rediscovery_study(folder, settings)
    here = any(name.startswith(OBJECT) for name in settings.names)
    defaults = {"workers": 1} if here else {"executor": "processes", "workers": os.cpu_count() or 1}
    outcomes = run_study(folder, study, defaults, execution, allow_code=True)
    searches: list[SeededSearch] = [outcome.result for outcome in outcomes]
    searches.sort(key=lambda search: (settings.controllers.index(search.controller), search.seed))
    summaries = [
        summarise([search for search in searches if search.controller == name]) for name in settings.controllers
    ]
    space, evaluator = load_stage_space(settings.space), load_evaluator(settings.evaluator, settings.space)
    return Rediscovery(
        settings.space,
        settings.evaluator,
        settings.trials,
        reference.reward,
        rank(reference.reward, random_rewards(space, evaluator)),
        tuple(searches),
        tuple(summaries),
    )


def resume_command(folder: Path, settings: RediscoverySettings) -> str:
    """The command that resumes a study; it allows the Python files that the settings name to run."""
    return command("rediscover", "--resume", folder, *code_options(settings.names))


def rediscovery_study(folder: Path, settings: RediscoverySettings) -> Study:
    """The study of a folder: each job is a search, with a `SeededSearch` as its result."""
    return Study(
        kind=KIND,
        settings=asdict(settings),
        jobs=[
            Job(f"{file_name(name)}-seed{seed}", f"{name}, seed {seed}", {"controller": name, "seed": seed})
            for seed in range(settings.seeds)
            for name in settings.controllers
        ],
        perform=run_seeded_search,
        resume=resume_command(folder, settings),
        describe=_passing,
        read=_search_of,
    )


def _passing(found: Mapping[str, Any]) -> str:
    passed = found["passed"]
    return "B0 not passed" if passed is None else f"B0 passed after {passed}"


def _search_of(data: Mapping[str, Any]) -> SeededSearch:
    """A search from its data in the journal, where nan is null."""
    rewards = [math.nan if reward is None else reward for reward in data["best_rewards"]]
    return from_dict(SeededSearch, {**data, "best_rewards": rewards}, "search")


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


def run_seeded_search(call: Call) -> dict[str, Any]:
    """Run one search. Returns its result as plain data."""
    study = from_dict(RediscoverySettings, call.settings, "settings")
    controller, seed = call.payload["controller"], call.payload["seed"]
    done = search_in(call.folder, study.search(controller, seed), Execution(), call.stop, call.report)
    reference, space = _reference(study.evaluator, study.space), load_stage_space(study.space)
    best = best_trial(done, PUBLISHED_OBJECTIVE)
    if best is None or best.metrics is None or best.reward is None:
        raise MnasError(f"evaluator {study.evaluator!r}: no trial of {controller}, seed {seed}, succeeded")
    rewards = np.array([np.nan if trial.reward is None else trial.reward for trial in done])
    above = np.flatnonzero(rewards > reference.reward)
    gains = [
        (trial.metrics.accuracy - reference.accuracy, math.hypot(trial.metrics.accuracy_std or 0, reference.std or 0))
        for trial in done
        if trial.metrics is not None
        and trial.cost.macs <= reference.macs
        and (trial.metrics.accuracy, -trial.cost.macs) > (reference.accuracy, -reference.macs)
    ]
    found = SeededSearch(
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
    curve = [None if math.isnan(reward) else reward for reward in found.best_rewards]
    return {**asdict(found), "best_rewards": curve}


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
    """Positions (from 0) of the ordered values between which the median lies with at least 95 % confidence.

    The number of values below the median is binomial with p = 1/2. None if no two values give that confidence.
    """
    below = np.cumsum([math.comb(count, i) / 2**count for i in range(count + 1)])
    cut = int(np.searchsorted(below, 0.025, side="right")) - 1
    return None if cut < 0 else (cut, count - 1 - cut)


def _agreements(searches: Sequence[SeededSearch]) -> Iterator[tuple[float, tuple[float, float] | None, float]]:
    for pairs in zip(*(search.agreements for search in searches), strict=True):
        shares = np.array([one.shared / one.choices for one in pairs])
        interval = None
        if median_ranks(len(shares)) is not None:
            # Student's t: shares of a few dozen choices, averaged, are close enough to normal.
            half = half_of_student(shares)
            interval = (float(shares.mean()) - half, float(shares.mean()) + half)
        yield float(shares.mean()), interval, pairs[0].chance / pairs[0].choices


def _share(found: Sequence[bool]) -> tuple[float, float, float]:
    share = sum(found) / len(found)
    return (share, *wilson(share, len(found)))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
