"""The costs that a search may aim at, by name: exact counts, and predicted throughput and latency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.costs.hardware_predictor import COLUMNS, SPACE, Floats, hardware_predictor
from search_spaces import FieldError, MnasError, SearchSpace, load_space
from search_spaces.errors import unknown_name
from search_spaces.space import Indices

CostFunction = Callable[[Indices], Floats]

# What a predicted cost of a space can be, as far as this many random members tell.
SAMPLED_MEMBERS = 20_000


@dataclass(frozen=True)
class CostMetric:
    """One kind of cost.

    Attributes:
        name: as in ``--target name=value``.
        unit: of its values.
        higher_is_better: such as throughput; a target is then the least that is wanted.
        predicted: by a fitted model; else counted exactly.
    """

    name: str
    unit: str
    higher_is_better: bool = False
    predicted: bool = False

    @property
    def std(self) -> float | None:
        """Relative σ of a predicted cost; None of a counted one."""
        return hardware_predictor(self.name).std if self.predicted else None

    def ratio(self, values: Floats, target: float) -> Floats:
        """How many times over its target a cost is: above 1 is worse than asked for."""
        return target / values if self.higher_is_better else values / target


COSTS: dict[str, CostMetric] = {
    "macs": CostMetric("macs", "MACs"),
    "params": CostMetric("params", "parameters"),
    **{
        name: CostMetric(name, "ms", predicted=True)
        if name.endswith("latency")
        else CostMetric(name, "images/s", higher_is_better=True, predicted=True)
        for name in COLUMNS
    },
}


def cost_metric(name: str) -> CostMetric:
    """A cost by name. Raises `MnasError` for an unknown name, with the nearest one."""
    if name not in COSTS:
        raise unknown_name("target", name, COSTS)
    return COSTS[name]


def cost_function(name: str, space: SearchSpace) -> CostFunction:
    """What gives this cost for rows of a space: an array of shape (count,).

    Raises:
        MnasError: the name is unknown, or its predictor does not know the networks of the space.
    """
    metric = cost_metric(name)
    if not metric.predicted:
        column = ("macs", "params").index(name)
        return lambda rows: space.costs(rows)[column].astype(np.float64)
    predictor = hardware_predictor(name)
    try:
        convert = space.converter(load_space(SPACE))
    except FieldError as error:
        raise MnasError(
            f"target {name}: predicted for the space {SPACE!r} only ({error}); choose macs or params, or that space"
        ) from None
    return lambda rows: predictor.predict(convert(rows))


def check_target(name: str, value: float, space: SearchSpace) -> None:
    """Raise `MnasError` where no network of the space comes near a target, with what the space offers."""
    metric = cost_metric(name)
    if not metric.predicted:
        low, high = map(float, space.cost_range(name))
        about = ""
    else:
        ends = np.stack([np.zeros_like(space.cardinalities), space.cardinalities - 1])
        rows = np.concatenate([ends, space.sample_indices(np.random.default_rng(0), SAMPLED_MEMBERS)])
        found = cost_function(name, space)(rows)
        low, high = float(found.min()), float(found.max())
        about = f", as predicted for {SAMPLED_MEMBERS:,} random members"
    if not low <= value <= high:
        side = "below the smallest" if value < low else "above the largest"
        digits = ".4g" if metric.predicted else ".0f"
        given, first, last = (f"{number:,{digits}}" for number in (value, low, high))
        raise MnasError(
            f"target {name}: {given} is {side} of the space {space.name!r}, which has {first} to {last} "
            f"{metric.unit}{about}; choose a target between"
        )
