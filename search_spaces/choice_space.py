"""`ChoiceSpace`: choices without architectures, such as those of a published table of measurements.

Any number of choices, ops of any name, several layers per stage and ``skip`` are allowed, since nothing here knows what
a choice builds. So costs cannot be counted, only measured: there is a column for each cost, with a value for each
measured network (a *member*).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import FieldError, shorten, unknown_name
from search_spaces.rows import RowIndex
from search_spaces.space import Choice, Genotype, Indices, Space, Value

Floats = NDArray[np.float64]

# Rows that are turned into features at once: with a few hundred features, some 20 MB.
_CHUNK = 10_000


@dataclass(frozen=True)
class Selection:
    """A network that is known by its choices alone: what a `ChoiceSpace` decodes to and an evaluator judges.

    Attributes:
        values: label and value of each choice, in the order of the space.
    """

    values: tuple[tuple[str, Value], ...]

    @property
    def genotype(self) -> Genotype:
        """The choices as a dict."""
        return dict(self.values)

    @property
    def digest(self) -> str:
        """SHA-256 of the choices, 16 hexadecimal digits: equal for equal choices, on any machine."""
        return hashlib.sha256(json.dumps(self.values).encode()).hexdigest()[:16]


class ChoiceSpace(Space):
    """A set of networks that are known by their choices alone.

    Args:
        name: name of the space.
        choices: values of each choice, by label.
        members: genotypes of the networks that can be tried, or their rows of indices, each once; empty for all.
        costs: costs by name, as a number above 0 for each of ``members``.

    Raises:
        FieldError: there is no choice, a choice has no value or the same value twice, a member is not in the space or
            is given twice, or a cost is not one finite number above 0 for each member.

    Example:
        >>> from search_spaces import ChoiceSpace
        >>> space = ChoiceSpace(
        ...     "tiny",
        ...     {"layer1": ("conv3", "conv5"), "layer2": ("conv3", "skip")},
        ...     members=[{"layer1": "conv3", "layer2": "skip"}, {"layer1": "conv5", "layer2": "conv3"}],
        ...     costs={"latency_ms": (1.5, 4.0)},
        ... )
        >>> space.size, space.cost_range("latency_ms")
        (4, (1.5, 4.0))
        >>> space.decode({"layer1": "conv5", "layer2": "conv3"}).genotype
        {'layer1': 'conv5', 'layer2': 'conv3'}
        >>> space.cost("latency_ms", space.indices([{"layer1": "conv5", "layer2": "conv3"}])).tolist()
        [4.0]
    """

    def __init__(
        self,
        name: str,
        choices: Mapping[str, Sequence[Value]],
        members: Sequence[Mapping[str, Value]] | Indices = (),
        costs: Mapping[str, Sequence[float] | Floats] | None = None,
    ) -> None:
        if not choices:
            raise FieldError("choices", "{}: expected one or more choices")
        for label, values in choices.items():
            if not values or len(set(values)) < len(values):
                raise FieldError(label, f"{shorten(values)}: expected one or more different values")
        super().__init__(name, [Choice(label, tuple(values)) for label, values in choices.items()])
        self._rows = members if isinstance(members, np.ndarray) else self.indices(members)
        self.members = self._rows if 0 < len(members) < self.size else None
        self._index = RowIndex(self._rows, self.cardinalities)
        if len(self._index) < len(members):
            raise FieldError("members", "a network is given twice; remove one")
        self._columns = {cost: self._checked(cost, values) for cost, values in (costs or {}).items()}

    def _checked(self, name: str, values: Sequence[float] | Floats) -> Floats:
        column = np.asarray(values, dtype=np.float64)
        if column.shape != (len(self._rows),) or not len(column):
            raise FieldError(name, f"{len(values)} values for {len(self._rows)} members; give one for each member")
        valid = (column > 0) & (column < math.inf)  # not for nan
        if not valid.all():
            raise FieldError(name, f"{column[valid.argmin()]} is not a finite number above 0")
        return column

    def decode_indices(self, indices: Indices) -> list[Selection]:
        return [Selection(tuple(genotype.items())) for genotype in self.genotypes(indices)]

    def decode(self, genotype: Mapping[str, Value]) -> Selection:
        return self.decode_indices(self.indices([genotype]))[0]

    def encode(self, network: object) -> Genotype:
        if not isinstance(network, Selection):
            problem = f"a {type(network).__name__} is not in the space {self.name!r}, which has only choices"
            raise FieldError("network", problem)
        return self.genotypes(self.indices([network.genotype]))[0]

    # --- cost -----------------------------------------------------------------------------------------------------

    @property
    def cost_names(self) -> tuple[str, ...]:
        return tuple(self._columns)

    def costs(self, indices: Indices) -> list[Floats]:
        """Costs of each row: an array of shape (count,) for each of `cost_names`.

        Costs of a member are measured. Costs of any other network are estimates, which only guide a search: the sum
        over the choices that fits the members best, limited to the measured range.
        """
        positions = self._index.positions(indices)
        unknown = positions < 0
        found = [column[positions] if len(column) else np.empty(0) for column in self._columns.values()]
        if found and unknown.any():
            estimates = self._features(indices[unknown]) @ self._weights
            for column, estimate, measured in zip(found, estimates.T, self._columns.values(), strict=True):
                column[unknown] = np.clip(estimate, measured.min(), measured.max())
        return found

    def cost_range(self, name: str) -> tuple[float, float]:
        if name not in self._columns:
            raise unknown_name("cost", name, self._columns)
        return float(self._columns[name].min()), float(self._columns[name].max())

    def _features(self, indices: Indices) -> Floats:
        return np.concatenate([np.ones((len(indices), 1)), self.steps(indices)], axis=1)

    @cached_property
    def _weights(self) -> Floats:
        """Least squares on the members: shape (features, costs). A slight ridge decides what the members leave open."""
        width = 1 + int((self.cardinalities - 1).sum())
        squares, products = np.zeros((width, width)), np.zeros((width, len(self._columns)))
        targets = np.stack(list(self._columns.values()), axis=1)
        for start in range(0, len(self._rows), _CHUNK):
            features = self._features(self._rows[start : start + _CHUNK])
            squares += features.T @ features
            products += features.T @ targets[start : start + _CHUNK]
        squares[np.diag_indices(width)] += 1e-6 * len(self._rows)
        return np.asarray(np.linalg.solve(squares, products), dtype=np.float64)
