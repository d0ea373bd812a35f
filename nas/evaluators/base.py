"""`Evaluator`: how good is an architecture? The interface that every source of accuracy has."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from search_spaces import Architecture, SearchSpace
from search_spaces.space import Indices


class Metrics(NamedTuple):
    """What an evaluator found.

    Attributes:
        accuracy: top-1, in [0, 1].
        accuracy_std: standard deviation of one training's accuracy around ``accuracy``; None where unknown.
    """

    accuracy: float
    accuracy_std: float | None = None

    def problem(self) -> str | None:
        """Why these metrics cannot be used, or None."""
        if not math.isfinite(self.accuracy) or not 0 <= self.accuracy <= 1:
            return f"accuracy {self.accuracy!r} is not in [0, 1]"
        if self.accuracy_std is not None and not 0 <= self.accuracy_std < math.inf:
            return f"accuracy_std {self.accuracy_std!r} is not a finite number from 0 up"
        return None


def checked(result: object) -> Metrics | str:
    """A result of an evaluator as metrics of plain numbers, or what is wrong with it."""
    if not isinstance(result, Metrics):
        return f"a result is a {type(result).__name__} and not Metrics"
    try:
        accuracy, std = result
        plain = Metrics(float(accuracy), None if std is None else float(std))
    except (TypeError, ValueError):
        return f"{result} holds what is no number"
    return plain.problem() or plain


class Evaluator(ABC):
    """Judges architectures.

    Attributes:
        name: what a person calls it.
        meaning: one sentence on what its accuracy is an accuracy of; shown wherever the accuracy is.
        kind: of its accuracies: ``predicted`` by a model, or ``measured`` on trained networks.
        instant: whether it answers at once, so that a report may ask it for thousands of random members.
        noisy: whether another seed gives another measurement of the same network.
    """

    name: str
    meaning: str
    kind: str = "predicted"
    instant: bool = False
    noisy: bool = False

    @abstractmethod
    def check(self, architecture: Architecture) -> None:
        """Raise `FieldError` for an architecture that this evaluator cannot judge, naming the field."""

    @abstractmethod
    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        """Metrics of each architecture, in order, as measured with a seed.

        A search measures with seed 0, finalists are measured again with 1, 2, … where the evaluator is noisy.

        Raises:
            FieldError: as `check` does, or there is no measurement with that seed.
        """

    def known_members(self, space: SearchSpace) -> Indices | None:
        """The canonical rows of a space that it can judge, where it cannot judge all: shape (count, choices)."""
        return None
