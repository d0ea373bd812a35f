"""Coefficients for a budget: the network near a rule that costs what it should.

Layers, channels and pixels move in steps, so the networks of a rule jump over most budgets: from B0, no phi gives 1.0G
MACs within 2 %. Therefore the networks *near* the rule are searched too. The point where the rule crosses the budget is
found by bisection; among all networks within the tolerance around it, the one that departs least from that point is
taken, and its departure is reported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from baselines.text import cost_target, millions, seconds_text, signed, target_text
from scaling.compound import HIGHEST_FACTOR, Coefficients, compound_scale
from scaling.lattice import LEAST_GROWTH, Growth, Lattice
from scaling.nearest import by_departure, by_trial
from scaling.pixels import EXACT_COSTS
from scaling.ray import OutOfReachError, Priced, Ray
from scaling.rules import HIGHEST_SCALE, LOWEST_SCALE, Rule, published_range
from search_spaces import Architecture, MnasError, architecture_cost
from search_spaces.architecture import DEPTH_DIVISOR, check_int, check_number
from search_spaces.errors import FieldError, shorten, unknown_name
from search_spaces.memory import network_memory

TOLERANCE = 0.01
# Measurements of a latency differ by this much from one another on a quiet machine.
LATENCY_TOLERANCE = 0.05
COSTS = (*EXACT_COSTS, "memory", "latency")
FLOAT = 4
# Trials for a cost that is not known in closed form over a lattice. A latency takes seconds.
MOST_TRIALS = {"latency": 12, "memory": 300}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(µs|us|ms|s)")
_TIME_UNITS = {"µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Budget:
    """A cost and the value that it should have.

    Attributes:
        cost: one of `COSTS`: macs, params, activations, memory (bytes) or latency (seconds).
        value: value, in the unit of the cost, or as a multiple of the baseline's.
        relative: whether it is a multiple of the baseline's cost.
        batch: for memory: images in a step of a training; None for the inference of one image.

    Raises:
        MnasError: the cost is unknown, or a value breaks its rule.
    """

    cost: str
    value: float
    relative: bool = False
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise unknown_name("target", self.cost, COSTS)
        check_number(f"target {self.cost}", self.value, 1e-9, 1e18)
        if self.batch is not None:
            if self.cost != "memory":
                raise MnasError("batch: is for --target memory=…; remove it")
            check_int("batch", self.batch, 1, 1_000_000)

    def text(self) -> str:
        """The budget as typed in a command: ``macs=1G``, ``macs=2x``, ``latency=20ms``."""
        if self.relative:
            return f"{self.cost}={self.value:g}x"
        return f"latency={self.value * 1e3:g}ms" if self.cost == "latency" else target_text(self.cost, self.value)

    def show(self, value: float) -> str:
        """A value of this cost, for a person."""
        if self.cost == "latency":
            return seconds_text(value)
        return f"{millions(value)}B" if self.cost == "memory" else millions(value)


def read_budget(text: str) -> Budget:
    """Read ``macs=1G``, ``params=5M``, ``macs=2x`` (twice the baseline's), ``memory=500M`` or ``latency=20ms``.

    Raises:
        MnasError: the text is not such a budget.
    """
    name, equals, number = (part.strip() for part in text.partition("="))
    if equals and name not in COSTS:
        raise unknown_name("target", name, COSTS)
    if equals and (match := re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*[xX×]", number)):
        return _read(text, name, float(match[1]), relative=True)
    if name == "latency":
        found = _TIME.fullmatch(number)
        if found is None:
            raise MnasError(f"target: latency={shorten(number)}: expected a time with its unit, such as latency=20ms")
        return _read(text, name, float(found[1]) * _TIME_UNITS[found[2]])
    if name == "memory":  # bytes: 500M, 500MB; the suffix B alone does not mean billions
        number = number.removesuffix("B").removesuffix("b").strip()
    try:
        name, value = cost_target(f"{name}{equals}{number}")
    except MnasError:
        problem = f"target: {shorten(text)}: expected COST=VALUE, such as macs=1G, macs=2x or latency=20ms"
        raise MnasError(problem) from None
    return _read(text, name, value)


def _read(text: str, cost: str, value: float, *, relative: bool = False) -> Budget:
    """The budget that a text says. Raises `MnasError`, which quotes the text, if its value is out of range."""
    try:
        return Budget(cost, value, relative)
    except FieldError:
        size = "too small" if value < 1 else "too large"
        raise MnasError(
            f"target: {shorten(text)} is {size}; use a value such as macs=1G, macs=2x or latency=20ms"
        ) from None


@dataclass(frozen=True)
class Solution:
    """A network for a budget, and how far it departs from its rule.

    Attributes:
        base: baseline that was scaled.
        rule: rule.
        budget: budget.
        wanted: value of the budget, in the unit of its cost.
        found: cost of the network, in the same unit.
        coefficients: coefficients of the network.
        architecture: the network.
        growth: how each of its dimensions multiplies the baseline's MACs.
        scale: growth of MACs at which the rule crosses the budget.
        ideal: how each dimension should multiply MACs there, by the rule's shares.
        on_rule: whether the rule itself makes this network, at some phi or factor.
        published: whether the rule was published at this growth; None for a rule without points.
    """

    base: Architecture
    rule: Rule
    budget: Budget
    wanted: float
    found: float
    coefficients: Coefficients
    architecture: Architecture
    growth: Growth
    scale: float
    ideal: Growth
    on_rule: bool
    published: bool | None

    @property
    def error(self) -> float:
        """Difference from the budget, relative to it."""
        return self.found / self.wanted - 1

    @property
    def departure(self) -> float:
        """Distance of the growth from that of the rule, in log MACs: 0.1 is a tenth more in one dimension."""
        return self.growth.distance(self.ideal)

    def __repr__(self) -> str:
        found = f"found {self.budget.show(self.found)} ({signed(100 * self.error)} %)"
        where = "on the rule" if self.on_rule else f"departing by {self.departure:.3f}"
        return f"Solution({self.rule.name}, {self.budget.text()}: {found}, {where})"

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from scaling.views.solution import text

        return as_html(*text(self))


def solve(base: Architecture, rule: Rule, budget: Budget, tolerance: float = TOLERANCE) -> Solution:
    """Find a network within the tolerance of a budget: one of the rule, or the one that departs least from its shares.

    Args:
        base: baseline to scale, up or down.
        rule: rule to stay near.
        budget: cost and its value.
        tolerance: largest difference from the budget, relative to it; for a measured latency at least 5 %.

    Raises:
        MnasError: the rule does not reach the budget, or no network near it meets it; the message has the nearest ones.
    """
    lattice = Lattice(base, rule)
    cost = _cost_function(lattice, budget)
    wanted = budget.value * (cost(Coefficients(1.0, 1.0, base.resolution)) if budget.relative else 1)
    tolerance = max(tolerance, LATENCY_TOLERANCE) if budget.cost == "latency" else tolerance
    ray = Ray(lattice, cost, wanted, precision=0.01 if budget.cost == "latency" else 1e-6)
    try:
        crossing = ray.crossing()
    except OutOfReachError as error:
        raise _out_of_reach(lattice, budget, error, cost) from None
    scale = wanted / lattice.macs if budget.cost == "macs" else crossing
    ideal = _ideal(rule, base, scale)
    limits = published_range(rule, base)
    missed: list[Priced] = []
    for on_rule, candidates in ((True, ray.ends()), (False, _near(ray, ideal, scale, budget, tolerance))):
        for chosen, found in candidates:
            if abs(found / wanted - 1) <= tolerance:
                short = ray.shortened(chosen)
                return Solution(
                    base=base,
                    rule=rule,
                    budget=budget,
                    wanted=wanted,
                    found=found,
                    coefficients=short,
                    architecture=compound_scale(base, short),
                    growth=lattice.growth(short),
                    scale=scale,
                    ideal=ideal,
                    on_rule=on_rule,
                    published=None if limits is None else limits[0] <= scale <= limits[1],
                )
            missed.append((chosen, found))
    raise _nothing_near(rule, budget, wanted, tolerance, missed)


def _ideal(rule: Rule, base: Architecture, scale: float) -> Growth:
    """The growth of MACs by each dimension, if MACs grow by ``scale`` in the rule's shares."""
    shares = rule.factors(scale, base).shares if abs(math.log(scale)) > LEAST_GROWTH else None
    return Growth(*(scale**share for share in shares)) if shares else Growth(1.0, 1.0, 1.0)


def _near(ray: Ray, ideal: Growth, scale: float, budget: Budget, tolerance: float) -> Iterator[Priced]:
    """Yield networks near the point where the rule crosses the budget."""
    nominal = ray.lattice.rule.factors(scale, ray.lattice.base)
    if budget.cost in EXACT_COSTS:
        yield from by_departure(ray, ideal, nominal, budget.cost, tolerance)
    else:
        yield from by_trial(ray, ideal, nominal, tolerance, MOST_TRIALS[budget.cost])


def _out_of_reach(
    lattice: Lattice, budget: Budget, error: OutOfReachError, cost: Callable[[Coefficients], float]
) -> MnasError:
    chosen, found = error.end
    base, name = lattice.base, lattice.rule.name
    if found == cost(Coefficients(1.0, 1.0, base.resolution)):
        return MnasError(
            f"target: the rule {name} does not {'lower' if error.smallest else 'raise'} {budget.cost}, which stay at "
            f"{budget.show(found)}; choose another rule or another target"
        )
    word, other = ("smallest", "larger") if error.smallest else ("largest", "smaller")
    limits = f", where {' and '.join(reached)}" if (reached := _limits(lattice, chosen, error)) else ""
    unit = "MACs" if budget.cost == "macs" else budget.cost
    return MnasError(
        f"target: {budget.text()} is out of reach of the rule {name}: its {word} network has {budget.show(found)} "
        f"{unit} ({_words(chosen)}){limits}; use a {other} target or another rule"
    )


def _limits(lattice: Lattice, chosen: Coefficients, error: OutOfReachError) -> list[str]:
    """What keeps a network from becoming smaller or larger."""
    largest = 0.99 * HIGHEST_FACTOR
    limits = {
        "every stage has one layer": error.smallest and max(lattice.layers(chosen.depth)) == 1,
        "channels are at 8": error.smallest and min(lattice.channels(chosen.width)) == DEPTH_DIVISOR,
        "the resolution is at the total stride": error.smallest and chosen.resolution < 2 * lattice.base.total_stride,
        f"the depth is at its limit of {HIGHEST_FACTOR}": not error.smallest and chosen.depth > largest,
        f"the width is at its limit of {HIGHEST_FACTOR}": not error.smallest and chosen.width > largest,
        f"the factor is at its limit of {LOWEST_SCALE if error.smallest else HIGHEST_SCALE:g}": error.bounded,
    }
    return [text for text, reached in limits.items() if reached]


def _nothing_near(rule: Rule, budget: Budget, wanted: float, tolerance: float, missed: Sequence[Priced]) -> MnasError:
    """The error that no network meets the budget, with the nearest on both sides."""
    below = max((pair for pair in missed if pair[1] < wanted), key=lambda pair: pair[1], default=None)
    above = min((pair for pair in missed if pair[1] > wanted), key=lambda pair: pair[1], default=None)
    nearest = " and ".join(f"{budget.show(value)} ({_words(chosen)})" for chosen, value in filter(None, (below, above)))
    return MnasError(
        f"target: no network near the rule {rule.name} is within {100 * tolerance:g} % of {budget.text()}; the nearest "
        f"have {nearest or 'no such cost'}; use one of these values, or another rule"
    )


def _words(chosen: Coefficients) -> str:
    return f"depth {chosen.depth:.4g}, width {chosen.width:.4g}, {chosen.resolution} px"


# --- costs ------------------------------------------------------------------------------------------------------------


def _cost_function(lattice: Lattice, budget: Budget) -> Callable[[Coefficients], float]:
    """The function that gives the cost of a network by its coefficients."""
    if budget.cost in EXACT_COSTS:
        return lambda chosen: float(lattice.cost(chosen, budget.cost))

    @cache
    def of_network(network: Architecture) -> float:
        return measured_latency(network) if budget.cost == "latency" else memory_bytes(network, budget.batch)

    return lambda chosen: of_network(compound_scale(lattice.base, chosen))


def memory_bytes(architecture: Architecture, batch: int | None = None) -> int:
    """Bytes of memory in float32: weights and feature maps.

    Args:
        architecture: network.
        batch: images in a step of a training, which keeps weights, gradients, two values for the optimizer and the
            moving average for every parameter, and the feature maps of all images for the backward pass; None for the
            inference of one image.
    """
    memory, params = network_memory(architecture), architecture_cost(architecture).params
    if batch is None:
        return FLOAT * (params + memory.inference)
    return FLOAT * (5 * params + batch * memory.training)


def measured_latency(architecture: Architecture) -> float:
    """Seconds for one image with the protocol of `mnas latency`: the median of 20 runs on one core."""
    from baselines.latency import Protocol, Subject, measure
    from search_spaces.network import build_network

    (timing,) = measure([Subject("network", build_network(architecture), architecture.resolution)], Protocol())
    return timing.median
