"""`Space`: a list of named choices, which is all that controllers and the search know about a space.

A *genotype* is a dict from the label of each choice to its value, like NNI's samples. Controllers work on *indices*: a
row of integers, one for each choice, because rows can be sampled, costed and modelled a hundred thousand at a time.

Two genotypes may stand for the same network. The first of them, in the order of the values, is their *canonical* form;
`Space.canonical` gives it.

The kinds of space:

- `search_spaces.stage_space.StageSpace`: architectures as a table of stages, with exact costs.
- `search_spaces.choice_space.ChoiceSpace`: choices alone, such as those of a published table of measurements.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.cost import Cost, architecture_cost
from search_spaces.errors import FieldError, shorten, unknown_name

if TYPE_CHECKING:
    from nni.mutable import MutableDict

Value = int | float | str
Genotype = dict[str, Value]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """One decision of a space.

    Attributes:
        label: name of the decision in a genotype.
        values: possible values, in order.
    """

    label: str
    values: tuple[Value, ...]

    @property
    def ordinal(self) -> bool:
        """Whether the values are numbers in ascending order, so that a step from one to the next means something."""
        numbers = [value for value in self.values if isinstance(value, int | float)]
        return len(numbers) == len(self.values) and numbers == sorted(numbers)


class Space(ABC):
    """A set of networks, each named by one value for every choice.

    A subclass says what a row of indices stands for (`decode_indices`), and what it costs (`cost_names`, `costs`,
    `cost_range`). Everything else is here.

    Args:
        name: name of the space.
        decisions: choices, in order.

    Attributes:
        members: rows of the only networks that can be tried, of shape (networks, choices); None if every row can. If
            another row is suggested, the nearest of these is tried instead.

    Example:
        >>> import numpy as np
        >>> from search_spaces import load_space
        >>> space = load_space("efficientnet")
        >>> (genotype,) = space.sample(np.random.default_rng(0), 1)
        >>> genotype in space
        True
        >>> space.decode(genotype).resolution
        224
        >>> [int(cost[0]) for cost in space.costs(space.indices([genotype]))]  # MACs and parameters
        [340806240, 3280964]
    """

    members: Indices | None = None

    def __init__(self, name: str, decisions: Sequence[Choice]) -> None:
        self.name = name
        self.decisions = tuple(decisions)
        self.labels = tuple(choice.label for choice in self.decisions)
        self.cardinalities: Indices = np.array([len(choice.values) for choice in self.decisions], dtype=np.int64)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.decisions)} choices, {power(self.size)} genotypes)"

    @property
    def size(self) -> int:
        """Number of genotypes; see `num_networks`."""
        return math.prod(int(count) for count in self.cardinalities)

    @property
    def num_networks(self) -> int:
        """Number of different networks: canonical genotypes, exactly."""
        return self.size

    @cached_property
    def choices(self) -> MutableDict:
        """The choices in NNI's form: a ``MutableDict`` of ``nni.choice``, by label."""
        from search_spaces.nni_import import import_nni

        nni = import_nni("nni.mutable")
        return nni.MutableDict({c.label: nni.Categorical(list(c.values), label=c.label) for c in self.decisions})

    # --- sampling and conversion ----------------------------------------------------------------------------------

    def sample(self, rng: np.random.Generator, count: int) -> list[Genotype]:
        """``count`` genotypes, each choice uniform and independent."""
        return self.genotypes(self.sample_indices(rng, count))

    def sample_indices(self, rng: np.random.Generator, count: int) -> Indices:
        """As `sample`, but as indices of shape (count, choices)."""
        return rng.integers(0, self.cardinalities, size=(count, len(self.cardinalities)), dtype=np.int64)

    def genotypes(self, indices: Indices) -> list[Genotype]:
        """Genotypes of indices of shape (count, choices)."""
        values = [choice.values for choice in self.decisions]
        return [
            {label: options[i] for label, options, i in zip(self.labels, values, row, strict=True)}
            for row in indices.tolist()
        ]

    def indices(self, genotypes: Sequence[Mapping[str, Value]]) -> Indices:
        """Indices of shape (count, choices) of genotypes.

        Raises:
            FieldError: a label is missing or unknown, or a value is not one of its choice; ``path`` is the label.
        """
        rows = np.empty((len(genotypes), len(self.decisions)), dtype=np.int64)
        for row, genotype in zip(rows, genotypes, strict=True):
            if len(genotype) != len(self.labels):
                for label in genotype:
                    if label not in self.labels:
                        raise FieldError(str(label), f"is not a choice of the space {self.name!r}")
            for column, choice in enumerate(self.decisions):
                if choice.label not in genotype:
                    raise FieldError(choice.label, f"missing; choose from {choice.values}")
                value = genotype[choice.label]
                if value not in choice.values:
                    raise FieldError(choice.label, f"{shorten(value)} is not one of {choice.values}")
                row[column] = choice.values.index(value)
        return rows

    def __contains__(self, genotype: object) -> bool:
        if not isinstance(genotype, Mapping):
            return False
        try:
            self.indices([genotype])
        except FieldError:
            return False
        return True

    def canonical(self, indices: Indices) -> Indices:
        """The canonical row of each row: rows of one network become one row. Shape (count, choices)."""
        return indices.copy()

    def steps(self, indices: Indices) -> NDArray[np.float64]:
        """Each choice as steps: column j of a choice is 1 if the index of its value is at least j + 1.

        Shape (count, sum of (values − 1)). These are the natural inputs of a model over ordered choices: the weight
        of a column is the worth of one step more.
        """
        columns = [indices[:, [i]] >= np.arange(1, count) for i, count in enumerate(self.cardinalities)]
        return np.concatenate([np.empty((len(indices), 0)), *columns], axis=1)

    # --- networks -------------------------------------------------------------------------------------------------

    # The type of a network is narrowed by each kind of space, and by the evaluators that judge it.

    @abstractmethod
    def decode_indices(self, indices: Indices) -> Sequence[Any]:
        """The networks of indices of shape (count, choices), in the form in which evaluators judge them.

        Each is an `Architecture`, or a `Selection` where only the choices are known.
        """

    @abstractmethod
    def encode(self, network: Any) -> Genotype:
        """The canonical genotype of a network. Raises `FieldError` if it is not in this space."""

    def decode(self, genotype: Mapping[str, Value]) -> Any:
        """The network of a genotype. Raises `FieldError` if the genotype is not in this space."""
        return self.decode_indices(self.indices([genotype]))[0]

    # --- cost -----------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def cost_names(self) -> tuple[str, ...]:
        """Names of the costs that the space itself knows, such as ``macs``; empty if it knows none."""

    @abstractmethod
    def costs(self, indices: Indices) -> Sequence[NDArray[Any]]:
        """Costs of each row: an array of shape (count,) for each of `cost_names`, every entry above 0."""

    @abstractmethod
    def cost_range(self, name: str) -> tuple[float, float]:
        """The smallest and the largest value of one of `cost_names`. Raises `MnasError` for another name."""

    def exact_costs(self, indices: Indices) -> Sequence[Cost | None]:
        """Cost of the architecture of each row, counted exactly; None for a network without an architecture."""
        networks = self.decode_indices(indices)
        return [architecture_cost(network) if isinstance(network, Architecture) else None for network in networks]

    def cost(self, name: str, indices: Indices) -> NDArray[np.float64]:
        """One cost of each row: shape (count,). Raises `MnasError` for a name that is not in `cost_names`."""
        if name not in self.cost_names:
            raise unknown_name("cost", name, self.cost_names)
        return np.asarray(self.costs(indices)[self.cost_names.index(name)], dtype=np.float64)


def power(count: int) -> str:
    """A count to four digits, even if it is too large for a float: ``1.045e+11``, ``10^512``."""
    return f"{count:.4g}" if count < 10**300 else f"10^{len(str(count)) - 1}"
