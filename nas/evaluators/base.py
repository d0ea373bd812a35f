"""`Evaluator`: the interface of every source of accuracy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from search_spaces import Architecture, FieldError, Space
from search_spaces.errors import reason_of, shorten
from search_spaces.space import Indices

# What evaluators judge: networks as a space decodes them. Most evaluators judge an `Architecture`; that of a table also
# judges a `search_spaces.Selection`. The type is left open here so that each evaluator can narrow it.
Network = Any


class Metrics(NamedTuple):
    """The result of an evaluator.

    Attributes:
        accuracy: top-1, in [0, 1].
        accuracy_std: standard deviation of one training's accuracy around ``accuracy``; None if unknown.
    """

    accuracy: float
    accuracy_std: float | None = None

    def problem(self) -> str | None:
        """Why these metrics cannot be used, or None."""
        if not math.isfinite(self.accuracy) or not 0 <= self.accuracy <= 1:
            return f"accuracy {self.accuracy!r} is not in [0, 1]"
        if self.accuracy_std is not None and not 0 <= self.accuracy_std < math.inf:
            return f"accuracy_std {self.accuracy_std!r} is not a finite number of at least 0"
        return None


def checked(result: object) -> Metrics | str:
    """The result of an evaluator as metrics of plain numbers, or what is wrong with it."""
    if not isinstance(result, Metrics):
        return f"a result is a {type(result).__name__} and not Metrics"
    numbers: list[float | None] = []
    try:
        for name, value in zip(Metrics._fields, result, strict=True):
            given: Any = value
            if isinstance(given, bool | np.bool_ | str | bytes):
                return f"{name} {shorten(given)} is not a number"
            numbers.append(None if given is None and name == "accuracy_std" else float(given))
    except Exception as error:  # anybody's object may be converted
        return f"a result holds something that is not a number ({reason_of(error)})"
    plain = Metrics(*numbers)  # type: ignore[arg-type]
    return plain.problem() or plain


def check_architecture(name: str, network: object) -> None:
    """Raise `FieldError` if the network given to the evaluator ``name`` is not an architecture."""
    if not isinstance(network, Architecture):
        problem = f"{name} judges architectures, and the space has none; use table:FILE or your own evaluator"
        raise FieldError("evaluator", problem)


class Evaluator(ABC):
    """Judges networks, as `search_spaces.Space.decode` gives them: architectures, unless the space has none.

    Attributes:
        name: name of the evaluator.
        meaning: phrase that says what its accuracy is; shown wherever the accuracy is.
        kind: kind of its accuracies: ``predicted`` by a model, or ``measured`` on trained networks.
        instant: whether it answers at once, so that a report may ask it for thousands of random members.
        noisy: whether another seed gives another measurement of the same network.
        fingerprint: digest of the data that its answers depend on; a run is only continued with the same.
    """

    name: str
    meaning: str
    kind: str = "predicted"
    instant: bool = False
    noisy: bool = False
    fingerprint: str = ""

    def prepare(self) -> None:  # noqa: B027  (most need nothing)
        """Load what evaluating needs, before a search starts or is resumed; reading a run does not call it.

        Raises:
            MnasError: that is missing, or not what it was.
        """

    @abstractmethod
    def check(self, architecture: Network) -> None:
        """Raise `FieldError` for a network that this evaluator cannot judge, naming the field."""

    @abstractmethod
    def evaluate(self, architectures: Sequence[Network], seed: int = 0) -> list[Metrics]:
        """Metrics of each network, in order, measured with a seed.

        A search uses seed 0; finalists are measured again with 1, 2, … if the evaluator is noisy.

        Raises:
            FieldError: as in `check`, or there is no measurement with that seed.
        """

    def known_members(self, space: Space) -> Indices | None:
        """The canonical rows of a space that it can judge, of shape (count, choices); None if it can judge all."""
        return None

    def measurements(self, network: Network) -> int | None:
        """The number of different measurements of a network, with seeds from 0; None if there is no limit."""
        return None
