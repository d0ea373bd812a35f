"""Networks compared side by side: cost, predicted accuracy and its noise, reward, agreement, rank.

Nothing here is a verdict on full training: accuracies are the evaluator's, and a difference inside its noise is a tie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from baselines.comparators import Comparator, Subject
from baselines.spec import BaselineSpec, Figure
from baselines.statistics import wilson
from baselines.threads import ThreadLimit
from nas.evaluators.base import Evaluator, Metrics
from nas.objective import Objective, make_objective
from search_spaces import SPACES, Architecture, FieldError, Genotype, StageSpace, architecture_cost, load_stage_space
from search_spaces.errors import reason_of

# The reward with which B0 was found: EfficientNet (arXiv 1905.11946) section 4.
PUBLISHED_OBJECTIVE: Objective = make_objective("soft", 400_000_000)
RANDOM_MEMBERS = 20_000
NOT_MEASURED = "the search did not measure it"


@dataclass(frozen=True)
class Rank:
    """Rank of a reward among random members of a space.

    Attributes:
        percentile: share of the members with a lower reward, in percent.
        low, high: 95 % interval of the percentile in the whole space (Wilson).
        members: number of members that were drawn.
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
        shared: number of choices with equal values.
        choices: number of choices for which the space offers the reference's value.
        chance: number of these that a random member shares with the reference, on average.
    """

    shared: int
    choices: int
    chance: float


def agreement(space: StageSpace, member: Architecture, reference: Architecture) -> Agreement:
    """Compare a member of a space choice by choice with a reference, which may lie outside the space in some choices.

    Raises:
        FieldError: the first is not a member of the space.
    """
    own, others = space.encode(member), offered_values(space, reference)
    chance = sum(1 / len(choice.values) for choice in space.decisions if choice.label in others)
    return Agreement(sum(own[label] == value for label, value in others.items()), len(others), chance)


def offered_values(space: StageSpace, architecture: Architecture) -> Genotype:
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
    """A network with the evaluator's metrics, or the reason why there are none.

    Attributes:
        name: name of the spec or comparator.
        spec: spec of the network; None for a comparator, with only its cost and published accuracy known.
        macs, params: exact counts at the network's own resolution.
        metrics: metrics of the evaluator; None if it refuses.
        refusal: reason why there are no metrics; None otherwise.
        figures: published figures of the network.
    """

    name: str
    spec: BaselineSpec | None
    macs: int
    params: int
    metrics: Metrics | None
    refusal: str | None
    figures: tuple[Figure, ...] = ()

    @property
    def reward(self) -> float | None:
        """The published soft reward."""
        return None if self.metrics is None else PUBLISHED_OBJECTIVE.reward(self.metrics.accuracy, [self.macs])


def judge(subject: Subject, evaluator: Evaluator, known: Mapping[str, Metrics] | None = None) -> Judged:
    """Cost of a network, and the evaluator's metrics if it can judge it; ``known`` as in `Comparison.of`."""
    if isinstance(subject, Comparator):
        macs, params = subject.counts
        return Judged(subject.name, None, macs, params, None, "it has no spec", subject.figures)
    cost = architecture_cost(subject.architecture)
    figures = tuple(figure for figure in subject.figures if figure.kind == "published")
    if known is not None and (subject.name in known or not evaluator.instant):
        refusal = None if subject.name in known else NOT_MEASURED
        return Judged(subject.name, subject, cost.macs, cost.params, known.get(subject.name), refusal, figures)
    try:
        evaluator.check(subject.architecture)
        (metrics,) = evaluator.evaluate([subject.architecture])
    except FieldError as error:
        return Judged(subject.name, subject, cost.macs, cost.params, None, str(error), figures)
    except Exception as error:  # a user's code may fail in any way
        return Judged(subject.name, subject, cost.macs, cost.params, None, reason_of(error), figures)
    return Judged(subject.name, subject, cost.macs, cost.params, metrics, None, figures)


@dataclass(frozen=True)
class Difference:
    """Difference of a network from the reference.

    Attributes:
        macs_ratio, params_ratio: network over reference.
        accuracy: difference of predicted accuracies; None if one of them is unknown.
        accuracy_std: σ of that difference, from both networks' σ, taken as independent.
    """

    macs_ratio: float
    params_ratio: float
    accuracy: float | None
    accuracy_std: float | None

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the difference is larger than its σ; None if that is unknown."""
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


@dataclass(frozen=True)
class Comparison:
    """Networks side by side, the last one the reference.

    Attributes:
        judged: two or more networks with the evaluator's metrics.
        evaluator: source of the accuracies.
        objective: reward that networks are ranked by.
        how_to_measure: command that measures the unmeasured networks; empty if there are none, or no such command.
    """

    judged: tuple[Judged, ...]
    evaluator: Evaluator
    objective: Objective = PUBLISHED_OBJECTIVE
    how_to_measure: str = ""

    @classmethod
    def of(
        cls,
        subjects: Sequence[Subject],
        evaluator: Evaluator,
        known: Mapping[str, Metrics] | None = None,
        how_to_measure: str = "",
    ) -> Comparison:
        """Judge networks and put them side by side.

        Args:
            subjects: specs and comparators, two or more; the last one is the reference.
            evaluator: source of the accuracies.
            known: metrics that are already known, by name. An evaluator that is not instant is then not asked for the
                others.
            how_to_measure: command that measures the others.
        """
        judged = tuple(judge(subject, evaluator, known) for subject in subjects)
        needed = any(item.refusal == NOT_MEASURED for item in judged)
        return cls(judged, evaluator, how_to_measure=how_to_measure if needed else "")

    @property
    def reference(self) -> Judged:
        """The network that the others are compared with."""
        return self.judged[-1]

    @cached_property
    def differences(self) -> list[Difference]:
        """Difference of each other network from the reference."""
        return [difference(judged, self.reference) for judged in self.judged[:-1]]

    @cached_property
    def space(self) -> StageSpace | None:
        """The first space that has the reference as a member."""
        return next((space for space in map(load_stage_space, SPACES) if _member(space, self.reference)), None)

    @cached_property
    def agreements(self) -> list[Agreement | None]:
        """Agreement of each other network with the reference; None if it is not a member of the space."""
        return [self._agreement(judged) for judged in self.judged[:-1]]

    def _agreement(self, judged: Judged) -> Agreement | None:
        reference, space = self.reference.spec, self.space
        if space is None or reference is None or judged.spec is None or not _member(space, judged):
            return None
        return agreement(space, judged.spec.architecture, reference.architecture)

    @cached_property
    def ranks(self) -> list[Rank | None]:
        """Rank of each network's soft reward among random members; None if it has none, or members fail."""
        if self.space is None or self.reference.metrics is None or not self.evaluator.instant:
            return [None for _ in self.judged]
        try:
            rewards = random_rewards(self.space, self.evaluator)
        except Exception:  # a user's evaluator need not judge every network that it was not asked for
            return [None for _ in self.judged]
        return [None if judged.reward is None else rank(judged.reward, rewards) for judged in self.judged]

    def __repr__(self) -> str:
        names = ", ".join(judged.name for judged in self.judged)
        return f"Comparison({names}; evaluator {self.evaluator.name})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from nas.views.comparison import text

        return as_html(*text(self))


def random_rewards(space: StageSpace, evaluator: Evaluator) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The published soft reward of random members of a space, or of all known ones if the evaluator lists them."""
    known = evaluator.known_members(space)
    rows = space.sample_indices(np.random.default_rng(0), RANDOM_MEMBERS) if known is None else known
    with ThreadLimit(1):
        metrics = evaluator.evaluate(space.decode_indices(rows))
    accuracy = np.array([metric.accuracy for metric in metrics])
    result: np.ndarray[Any, np.dtype[np.float64]] = PUBLISHED_OBJECTIVE.reward(accuracy, [space.costs(rows)[0]])
    return result


def _member(space: StageSpace, judged: Judged) -> bool:
    if judged.spec is None:
        return False
    try:
        space.encode(judged.spec.architecture)
    except FieldError:
        return False
    return True
