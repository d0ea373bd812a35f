"""Costs that can be targets of a search: exact counts, predicted throughput and latency, columns of a table."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from nas.predictors.hardware import COLUMNS, SPACE, Floats, hardware_predictor
from search_spaces import FieldError, MnasError, Space, StageSpace, load_stage_space
from search_spaces.errors import shorten, unknown_name
from search_spaces.space import Indices

CostFunction = Callable[[Indices], Floats]

# The range of a predicted cost in a space is estimated from this many random members.
SAMPLED_MEMBERS = 20_000


@dataclass(frozen=True)
class CostMetric:
    """One kind of cost.

    Attributes:
        name: name of the cost, as in ``--target name=value``.
        unit: unit of its values.
        higher_is_better: whether more is better, as for throughput; a target is then a minimum.
        predicted: whether a fitted model predicts it; otherwise it is counted exactly.
    """

    name: str
    unit: str
    higher_is_better: bool = False
    predicted: bool = False

    @property
    def std(self) -> float | None:
        """Relative σ of a predicted cost; None for a counted one."""
        return hardware_predictor(self.name).std if self.predicted else None

    def ratio(self, values: Floats, target: float) -> Floats:
        """Return costs relative to their target; a value above 1 misses the target."""
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


# Words that mark a column's name as a cost, and units that the name may end with.
_COST_WORDS = {"macs", "madds", "flops", "mflops", "gflops", "params", "parameters", "latency", "energy", "memory"}
_MORE_IS_BETTER = {"throughput", "fps"}
_UNITS = {"ms": "ms", "us": "µs", "ns": "ns", "mj": "mJ", "kb": "kB", "mb": "MB", "gb": "GB", "fps": "images/s"}


def is_cost_name(name: str) -> bool:
    """Whether a column of this name is a cost: ``latency_ms``, ``macs``, ``edgegpu_energy``, ``a100-throughput``."""
    words = _words(name)
    return bool(set(words) & (_COST_WORDS | _MORE_IS_BETTER)) or words[-1] in _UNITS


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.lower()) or [""]


@cache
def named_metric(name: str) -> CostMetric:
    """Return the cost of a name for any space: one of `COSTS`, or a column of a table.

    Raises:
        FieldError: the name cannot be that of a cost.
    """
    if name in COSTS:
        return COSTS[name]
    if not name.strip() or not name.isprintable() or "=" in name or len(name) > 200:
        raise FieldError(
            "target", f"{shorten(name)}: expected the name of a cost: {', '.join(COSTS)}, or a table's column"
        )
    words = _words(name)
    unit = _UNITS.get(words[-1], name)
    return CostMetric(name, unit, higher_is_better=bool(set(words) & _MORE_IS_BETTER))


def cost_metric(name: str, space: Space) -> CostMetric:
    """Return a cost of a space. Raises `MnasError` for an unknown name, with the nearest name as a suggestion."""
    known = (*space.cost_names, *(COSTS if isinstance(space, StageSpace) else ()))
    if name not in known:
        if name in space.labels:
            raise MnasError(
                f"target: {name} is a choice of the space {space.name!r}; if it is a cost, name the column cost:{name}"
            )
        if not known:
            raise MnasError(f"target: {name}: the space {space.name!r} has no cost; use --target none instead")
        raise unknown_name("target", name, set(known))
    if isinstance(space, StageSpace):
        return COSTS[name]
    metric = named_metric(name)  # a column is measured, even if this project has a predictor of the same name
    return CostMetric(name, metric.unit, metric.higher_is_better)


def cost_function(name: str, space: Space) -> CostFunction:
    """Return the function from rows of a space to this cost, an array of shape (count,).

    Raises:
        MnasError: the space has no such cost, or its predictor does not cover the networks of the space.
    """
    cost_metric(name, space)
    if name in space.cost_names or not isinstance(space, StageSpace):
        return lambda rows: space.cost(name, rows)
    predictor = hardware_predictor(name)
    try:
        convert = space.converter(load_stage_space(SPACE))
    except FieldError as error:
        raise MnasError(
            f"target {name}: predicted for the space {SPACE!r} only ({error}); use macs or params, or that space"
        ) from None
    return lambda rows: predictor.predict(convert(rows))


def check_target(name: str, value: float, space: Space) -> None:
    """Raise `MnasError` unless a target lies within the space's range of that cost; the message gives the range."""
    metric = cost_metric(name, space)
    about = ""
    if name in space.cost_names:
        low, high = map(float, space.cost_range(name))
    else:
        ends = np.stack([np.zeros_like(space.cardinalities), space.cardinalities - 1])
        rows = np.concatenate([ends, space.sample_indices(np.random.default_rng(0), SAMPLED_MEMBERS)])
        found = cost_function(name, space)(rows)
        low, high = float(found.min()), float(found.max())
        about = f", as predicted for {SAMPLED_MEMBERS:,} random members"
    if not low <= value <= high:
        side = "below the smallest" if value < low else "above the largest"
        digits = ".0f" if isinstance(space, StageSpace) and not metric.predicted else ".6g"
        digits = ".4g" if metric.predicted else digits
        given, first, last = (f"{number:,{digits}}" for number in (value, low, high))
        raise MnasError(
            f"target {name}: {given} is {side} of the space {space.name!r}, which has {first} to {last} "
            f"{metric.unit}{about}; choose a target in that range"
        )
