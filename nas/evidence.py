"""What can be said of networks side by side: cost, predicted accuracy and its noise, reward, agreement, rank.

Nothing here is a verdict on full training: accuracies are the evaluator's, and a difference inside its noise is a tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from baselines.comparators import Comparator
from baselines.intervals import wilson
from baselines.spec import BaselineSpec
from nas.evaluators.base import Evaluator, Metrics
from nas.objective import Objective, make_objective
from search_spaces import SPACES, Architecture, FieldError, Genotype, SearchSpace, architecture_cost, load_space

# The reward with which B0 was found: EfficientNet (arXiv 1905.11946) section 4.
PUBLISHED_OBJECTIVE: Objective = make_objective("soft", 400_000_000)
RANDOM_MEMBERS = 20_000


@dataclass(frozen=True)
class Rank:
    """Where a reward stands among random members of a space.

    Attributes:
        percentile: share of the members with a lower reward, in percent.
        low, high: 95 % interval of the percentile in the whole space (Wilson).
        members: how many were drawn.
    """

    percentile: float
    low: float
    high: float
    members: int


def rank(reward: float, rewards: np.ndarray[Any, np.dtype[np.float64]]) -> Rank:
    """The rank of a reward among those of random members."""
    count = len(rewards)
    share = float((rewards < reward).mean())
    low, high = wilson(share, count)
    return Rank(100 * share, 100 * low, 100 * high, count)


@dataclass(frozen=True)
class Agreement:
    """How many choices of a space a network shares with a reference.

    Attributes:
        shared: choices with equal values.
        choices: of the space, in which the reference has a value that the space offers.
        chance: how many of these a random member shares with the reference, on average.
    """

    shared: int
    choices: int
    chance: float


def agreement(space: SearchSpace, member: Architecture, reference: Architecture) -> Agreement:
    """Compare a member of a space choice by choice with a reference, which may lie outside the space in some choices.

    Raises:
        FieldError: the first is no member.
    """
    own, others = space.encode(member), offered_values(space, reference)
    chance = sum(1 / len(choice.values) for choice in space.decisions if choice.label in others)
    return Agreement(sum(own[label] == value for label, value in others.items()), len(others), chance)


def offered_values(space: SearchSpace, architecture: Architecture) -> Genotype:
    """What an architecture has in each choice of a space, where the space offers that value."""
    try:
        return space.encode(architecture)
    except FieldError:
        pass
    found: Genotype = {}
    for choice in space.decisions:
        if choice.stage is None:
            value = getattr(architecture, choice.field)
        elif choice.stage < len(architecture.stages):
            stage = architecture.stages[choice.stage]
            value = {**vars(stage.block), **vars(stage)}.get(choice.field)
        else:
            continue
        if value in choice.values:
            found[choice.label] = value
    return found


@dataclass(frozen=True)
class Judged:
    """A network with what the evaluator says of it, or why it says nothing.

    Attributes:
        name: of the spec, or of the comparator.
        spec: None for a network of another kind, of which only cost and published accuracy are known.
        macs, params: exact, at the network's own resolution.
        metrics: of the evaluator; None where it refuses, for the reason in ``refusal``.
    """

    name: str
    spec: BaselineSpec | None
    macs: int
    params: int
    metrics: Metrics | None
    refusal: str | None

    @property
    def reward(self) -> float | None:
        """The published soft reward."""
        return None if self.metrics is None else PUBLISHED_OBJECTIVE.reward(self.metrics.accuracy, [self.macs])


def judge(
    subject: BaselineSpec | Comparator, evaluator: Evaluator, known: Mapping[str, Metrics] | None = None
) -> Judged:
    """Cost of a network, and the evaluator's metrics where it can judge it; ``known`` as of `Comparison`."""
    if isinstance(subject, Comparator):
        macs, params = subject.counts
        return Judged(subject.name, None, macs, params, None, "no spec")
    cost = architecture_cost(subject.architecture)
    if known is not None and (subject.name in known or not evaluator.instant):
        refusal = None if subject.name in known else f"mnas compare --evaluator {evaluator.name} asks for it"
        return Judged(subject.name, subject, cost.macs, cost.params, known.get(subject.name), refusal)
    try:
        evaluator.check(subject.architecture)
        (metrics,) = evaluator.evaluate([subject.architecture])
    except FieldError as error:
        return Judged(subject.name, subject, cost.macs, cost.params, None, str(error))
    except Exception as error:
        return Judged(subject.name, subject, cost.macs, cost.params, None, f"{type(error).__name__}: {error}")
    return Judged(subject.name, subject, cost.macs, cost.params, metrics, None)


@dataclass(frozen=True)
class Difference:
    """One spec against the reference.

    Attributes:
        macs_ratio, params_ratio: spec over reference.
        accuracy: difference of predicted accuracies; None where one of them is unknown.
        accuracy_std: σ of that difference: both networks' σ, taken as independent.
    """

    macs_ratio: float
    params_ratio: float
    accuracy: float | None
    accuracy_std: float | None

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the difference is larger than its σ; None where that is unknown."""
        if self.accuracy is None or self.accuracy_std is None:
            return None
        return abs(self.accuracy) > self.accuracy_std


def difference(judged: Judged, reference: Judged) -> Difference:
    """``judged`` minus (or over) ``reference``."""
    accuracy = std = None
    if judged.metrics is not None and reference.metrics is not None:
        accuracy = judged.metrics.accuracy - reference.metrics.accuracy
        if judged.metrics.accuracy_std is not None and reference.metrics.accuracy_std is not None:
            std = math.hypot(judged.metrics.accuracy_std, reference.metrics.accuracy_std)
    return Difference(judged.macs / reference.macs, judged.params / reference.params, accuracy, std)


class Comparison:
    """Networks side by side, the last one the reference.

    Args:
        subjects: specs and networks of other kinds, at least two.
        evaluator: whose accuracies are shown.
        known: metrics that are known already, by name. Where they are given, an evaluator that does not answer at once
            is not asked for others.
    """

    def __init__(
        self,
        subjects: Sequence[BaselineSpec | Comparator],
        evaluator: Evaluator,
        known: Mapping[str, Metrics] | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.judged = [judge(subject, evaluator, known) for subject in subjects]
        self.reference = self.judged[-1]
        self.differences = [difference(judged, self.reference) for judged in self.judged[:-1]]

    @cached_property
    def space(self) -> SearchSpace | None:
        """The first space that has the reference as a member."""
        return next((space for space in map(load_space, SPACES) if _member(space, self.reference)), None)

    @cached_property
    def agreements(self) -> list[Agreement | None]:
        """Of each network but the reference with the reference; None where it is no member of the space."""
        return [self._agreement(judged) for judged in self.judged[:-1]]

    def _agreement(self, judged: Judged) -> Agreement | None:
        reference, space = self.reference.spec, self.space
        if space is None or reference is None or judged.spec is None or not _member(space, judged):
            return None
        return agreement(space, judged.spec.architecture, reference.architecture)

    @cached_property
    def ranks(self) -> list[Rank | None]:
        """Of each spec's soft reward among random members of the space; None where it has no reward."""
        if self.space is None or self.reference.metrics is None or not self.evaluator.instant:
            return [None for _ in self.judged]
        rewards = random_rewards(self.space, self.evaluator)
        return [None if judged.reward is None else rank(judged.reward, rewards) for judged in self.judged]


def random_rewards(space: SearchSpace, evaluator: Evaluator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The published soft reward of random members of a space, or of all that the evaluator knows, where few."""
    known = evaluator.known_members(space)
    rows = space.sample_indices(np.random.default_rng(0), RANDOM_MEMBERS) if known is None else known
    with threadpool_limits(1):  # as in `nas.search.run_search`
        metrics = evaluator.evaluate(space.decode_indices(rows))
    accuracy = np.array([metric.accuracy for metric in metrics])
    result: np.ndarray[Any, np.dtype[np.float64]] = PUBLISHED_OBJECTIVE.reward(accuracy, [space.costs(rows)[0]])
    return result


def _member(space: SearchSpace, judged: Judged) -> bool:
    if judged.spec is None:
        return False
    try:
        space.encode(judged.spec.architecture)
    except FieldError:
        return False
    return True
