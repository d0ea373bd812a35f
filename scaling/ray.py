"""The networks of a rule, from the smallest to the largest, and where their cost crosses a value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from scaling.compound import Coefficients, compound_scale
from scaling.lattice import Lattice
from scaling.rules import HIGHEST_SCALE, LOWEST_SCALE
from search_spaces.errors import FieldError

Priced = tuple[Coefficients, float]


class OutOfReachError(Exception):
    """All networks of a rule cost less than a value, or all cost more.

    Attributes:
        end: coefficients and cost of the network nearest to the value.
        smallest: whether it is the smallest network rather than the largest.
        bounded: whether the growth of MACs is at its limit there.
    """

    def __init__(self, end: Priced, *, smallest: bool, bounded: bool) -> None:
        super().__init__()
        self.bounded = bounded
        self.end = end
        self.smallest = smallest


class Ray:
    """The networks of a rule beside a value of their cost.

    Args:
        lattice: baseline and rule.
        cost: function from coefficients to the cost of the network.
        wanted: value of the cost.
        precision: how near two positions may be, in log MACs. A latency takes seconds to measure and is noisy, so it is
            not bisected to the last bit.

    Attributes:
        before: the network of the largest cost below the value, of those seen.
        after: the network of the smallest cost above it, or at it.
    """

    def __init__(
        self, lattice: Lattice, cost: Callable[[Coefficients], float], wanted: float, precision: float = 1e-6
    ) -> None:
        self.lattice, self.cost, self.wanted = lattice, cost, wanted
        self._precision = precision
        self.before: Priced | None = None
        self.after: Priced | None = None

    def at(self, position: float) -> Coefficients:
        """The rounded coefficients for a growth of e**position, nominal or real as in `Rule.factors`."""
        base, rule = self.lattice.base, self.lattice.rule
        return rule.rounded(rule.factors(math.exp(position), base), base)

    def crossing(self) -> float:
        """The growth of real MACs at which the cost crosses the value.

        It is interpolated between the networks on both sides.

        Raises:
            OutOfReachError: all networks cost less or all cost more.
        """
        low, high = self._bracket()
        while high - low > self._precision:
            middle = (low + high) / 2
            if self._is_below(middle):
                low = middle
            else:
                high = middle
        own = Coefficients(1.0, 1.0, self.lattice.base.resolution)
        baseline = own, self.cost(own)
        below, above = self.before or baseline, self.after or baseline
        first, last = (self.lattice.cost(end[0]) / self.lattice.macs for end in (below, above))
        part = math.log(self.wanted / below[1]) / math.log(above[1] / below[1]) if above[1] > below[1] else 0.0
        return float(first ** (1 - part) * last**part)

    def ends(self) -> list[Priced]:
        """The networks of the rule below and above the value, the nearer one first."""
        found = [end for end in (self.before, self.after) if end is not None]
        return sorted(found, key=lambda end: abs(math.log(end[1] / self.wanted)))

    def shortened(self, chosen: Coefficients) -> Coefficients:
        """Coefficients with as few digits as give the same network."""
        lattice = self.lattice
        return replace(chosen, width=_short(chosen.width, lattice.channels), depth=_short(chosen.depth, lattice.layers))

    def _bracket(self) -> tuple[float, float]:
        """Positions of two networks with the value between them: from the baseline outwards, in steps that double.

        Networks far from the value are not costed, since one of 10,000 times the MACs can hardly be measured.
        """
        upwards = self._is_below(0.0)
        if self.after is not None and self.after[1] == self.wanted:  # the baseline itself
            return 0.0, 0.0
        inner, step = 0.0, 0.25 if upwards else -0.25
        end = math.log(HIGHEST_SCALE if upwards else LOWEST_SCALE)
        limit = self._limit(end)
        while True:
            outer = min(inner + step, limit) if upwards else max(inner + step, limit)
            if self._is_below(outer) != upwards:
                return (inner, outer) if upwards else (outer, inner)
            if outer == limit:
                chosen = self.at(outer)
                bounded = limit == end
                raise OutOfReachError((chosen, self.cost(chosen)), smallest=not upwards, bounded=bounded)
            inner, step = outer, 2 * step

    def _is_below(self, position: float) -> bool:
        """Whether the network at a position costs less than the value."""
        chosen = self.at(position)
        found = self.cost(chosen)
        if found < self.wanted:
            if self.before is None or found > self.before[1]:
                self.before = chosen, found
        elif self.after is None or found < self.after[1]:
            self.after = chosen, found
        return found < self.wanted

    def _limit(self, end: float) -> float:
        """The farthest position on the way to another: factors and resolution are bounded, also by the total stride."""

        def possible(position: float) -> bool:
            try:
                compound_scale(self.lattice.base, self.at(position))
            except FieldError:
                return False
            return True

        if possible(end):
            return end
        inside, outside = 0.0, end
        while abs(outside - inside) > 1e-6:
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if possible(middle) else (inside, middle)
        return inside


def _short(factor: float, result: Callable[[float], object]) -> float:
    """A factor with as few digits as give the same, but two or more."""
    rounded = (round(factor, digits) for digits in range(2, 12))
    return next((short for short in rounded if result(short) == result(factor)), factor)
