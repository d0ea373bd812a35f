"""The networks around a baseline under the rounding of a rule, and their exact costs by the thousand.

Layers, channels and pixels are whole numbers, so a range of depths gives the same layers, and a range of widths the
same channels. A *cell* is such a range of depths, a range of widths and a resolution: one network.

The *growth* of a cell says how its dimensions really multiply MACs: depth alone, width alone and resolution alone. It
differs from d, w² and r² because layers and channels are rounded and odd feature maps cost more.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scaling.compound import HIGHEST_FACTOR, LOWEST_FACTOR, Coefficients, scaled_channels, scaled_layers
from scaling.pixels import EXACT_COSTS, Integers, PixelCosts, pixel_costs, pixels
from scaling.rules import Factors, Rule
from search_spaces import Architecture
from search_spaces.architecture import MAX_RESOLUTION

# Below this growth in log MACs, shares of it mean nothing.
LEAST_GROWTH = 0.02

Whole = tuple[int, ...]


class Growth(NamedTuple):
    """How depth, width and resolution multiply MACs, each alone."""

    depth: float
    width: float
    resolution: float

    def shares(self) -> Growth | None:
        """Share of each dimension in the growth of log MACs; None for hardly any growth."""
        logs = [math.log(value) for value in self]
        whole = sum(logs)
        return None if abs(whole) < LEAST_GROWTH else Growth(*(value / whole for value in logs))

    def distance(self, other: Growth) -> float:
        """Euclidean distance from another one, in log MACs."""
        return math.dist([math.log(value) for value in self], [math.log(value) for value in other])


@dataclass(frozen=True)
class Range:
    """All values of a factor that give the same layers, or the same channels.

    Attributes:
        low, high: ends of the range, which may give other ones.
        inside: a value in it.
        result: layers of all stages, or channels of stem, stages and head.
    """

    low: float
    high: float
    inside: float
    result: Whole

    def short(self, wanted: float, result: Callable[[float], Whole]) -> float:
        """The value in the range nearest to another one, with as few digits as the range allows, but two or more.

        Args:
            wanted: the other value.
            result: function from a value to what it gives.
        """
        nearest = min(max(wanted, self.low), self.high)
        for digits in range(2, 12):
            unit = 10.0**-digits
            near = (round(nearest + shift * unit, digits) for shift in (0, 1, -1))
            inside = [value for value in near if self.low <= value <= self.high and result(value) == self.result]
            if inside:
                return min(inside, key=lambda value: abs(value - wanted))
        return self.inside


@dataclass(frozen=True)
class Lattice:
    """The cells of a baseline under the rounding of a rule.

    Attributes:
        base: baseline.
        rule: rule whose rounding and kept parts are used.
    """

    base: Architecture
    rule: Rule
    _tables: dict[Whole, PixelCosts] = field(default_factory=dict, repr=False, compare=False)

    def channels(self, width: float) -> Whole:
        """Channels of stem, stages and head for a width."""
        return scaled_channels(self.base, width, self.rule.keep, self.rule.rounding)

    def layers(self, depth: float) -> Whole:
        """Layers of all stages for a depth."""
        return scaled_layers(self.base, depth, self.rule.keep, self.rule.rounding)

    def table(self, channels: Whole) -> PixelCosts:
        """Costs per pixel of the network with some channels."""
        if channels not in self._tables:
            self._tables[channels] = pixel_costs(self.base, channels)
        return self._tables[channels]

    def costs(
        self, layers: Sequence[Whole], channels: Sequence[Whole], sides: Sequence[int], cost: str = "macs"
    ) -> Integers:
        """One of `EXACT_COSTS` of all combinations, of shape (layers, channels, sides).

        Args:
            layers: layers of all stages.
            channels: channels of stem, stages and head.
            sides: resolutions in pixels.
            cost: name of the cost.
        """
        row, tables = EXACT_COSTS.index(cost), [self.table(each) for each in channels]
        maps = pixels(self.base, sides).T  # Shape: (maps, sides)
        once = np.array([table.once[row] for table in tables]) @ maps  # Shape: (channels, sides)
        repeated = np.array([table.repeated[row] for table in tables]) @ maps  # Shape: (channels, stages, sides)
        more = np.array(layers, dtype=np.int64) - 1  # Shape: (layers, stages)
        found: Integers = once + np.einsum("ls,csr->lcr", more, repeated)
        return found

    def cost(self, coefficients: Coefficients, cost: str = "macs") -> int:
        """One of `EXACT_COSTS` of the network of some coefficients with this rule's rounding."""
        layers, channels = self.layers(coefficients.depth), self.channels(coefficients.width)
        return self._one(cost, layers, channels, coefficients.resolution)

    @cached_property
    def macs(self) -> int:
        """MACs of the baseline."""
        return self._one("macs", self.layers(1), self.channels(1), self.base.resolution)

    def growth(self, coefficients: Coefficients) -> Growth:
        """How each dimension of a network multiplies MACs on its own."""
        layers, channels, side = self.layers(1), self.channels(1), self.base.resolution
        alone = (
            self._one("macs", self.layers(coefficients.depth), channels, side),
            self._one("macs", layers, self.channels(coefficients.width), side),
            self._one("macs", layers, channels, coefficients.resolution),
        )
        return Growth(*(macs / self.macs for macs in alone))

    def _one(self, cost: str, layers: Whole, channels: Whole, side: int) -> int:
        return int(self.costs([layers], [channels], [side], cost)[0, 0, 0])

    def around(self, wanted: Growth, step: int) -> Surroundings:
        """The networks of which each dimension may grow as wanted.

        Args:
            wanted: growth of each dimension.
            step: resolutions are multiples of this many pixels, or the baseline's own.
        """
        own_layers, own_channels, side = self.layers(1), self.channels(1), self.base.resolution
        # At a width of 1, channels stay as they are even where the rounding would change them.
        own = Range(1, 1, 1, own_channels)
        sides = self._sides(math.sqrt(wanted.resolution), step)
        return Surroundings(
            self,
            Axis(
                self._depth_edges(wanted.depth),
                self.layers,
                lambda layers: self._one("macs", layers, own_channels, side),
            ),
            Axis(
                self._width_edges(math.sqrt(wanted.width)),
                self.channels,
                lambda channels: self._one("macs", own_layers, channels, side),
                own,
            ),
            sides,
            self.costs([own_layers], [own_channels], sides)[0, 0] if sides else np.zeros(0, dtype=np.int64),
        )

    def _depth_edges(self, wanted: float) -> list[float]:
        """Depths at which layers may change; rounding multiplies layers by less than 2."""
        low, high = max(LOWEST_FACTOR, wanted / 2.1), min(HIGHEST_FACTOR, wanted * 2.1)
        layers = {stage.num_layers for stage in self.base.stages}
        # Numbers of layers change at halves or at whole numbers.
        edges = [half / 2 / n for n in layers for half in range(math.floor(2 * low * n), math.ceil(2 * high * n) + 1)]
        return _between(low, high, edges)

    def _width_edges(self, wanted: float) -> list[float]:
        """Widths at which channels may change."""
        low, high = max(LOWEST_FACTOR, wanted / 1.5), min(HIGHEST_FACTOR, wanted * 1.5)
        channels = set(self.channels(1))
        # Channels change halfway between multiples of 8, or, for few channels, where a multiple becomes too few.
        edges = [1.0] + [few / 0.9 / c for c in channels for few in (8, 16, 24, 32, 40)]
        for c in channels:
            edges += [(8 * eight + 4) / c for eight in range(math.floor(low * c / 8) - 1, math.ceil(high * c / 8) + 1)]
        return _between(low, high, edges)

    def _sides(self, wanted: float, step: int) -> list[int]:
        """Sides of the image in pixels."""
        own, low, high = self.base.resolution, wanted / 1.4, wanted * 1.4
        sides = {step * number for number in range(math.ceil(own * low / step), math.floor(own * high / step) + 1)}
        sides |= {own} if low <= 1 <= high else set()
        return sorted(side for side in sides if self.base.total_stride <= side <= MAX_RESOLUTION)


def _between(low: float, high: float, edges: Iterable[float]) -> list[float]:
    return sorted({low, high, *(edge for edge in edges if low < edge < high)})


class Axis:
    """Ranges of one factor in order, each computed where it is needed.

    Args:
        edges: values at which the result may change; others do no harm.
        result: function from a factor to what it gives, such as the layers of all stages.
        macs: function from a result to the MACs of the network, which grow with the factor.
        single: a value of its own among the ranges, which replaces those of the same result.
    """

    def __init__(
        self,
        edges: Sequence[float],
        result: Callable[[float], Whole],
        macs: Callable[[Whole], int],
        single: Range | None = None,
    ) -> None:
        # An edge is a range of its own: where halves are rounded to even numbers, it may give what neither side gives.
        self._parts = [part for low, high in pairwise(edges) for part in ((low, high), (high, high))]
        self._result, self._macs, self._single = result, macs, single
        self._single_macs = macs(single.result) if single else 0
        self._known: dict[int, tuple[Whole, int]] = {}

    def within(self, low: float, high: float) -> tuple[list[Range], Integers]:
        """The ranges whose MACs lie between two values, and their MACs."""
        places = range(len(self._parts))
        chosen = places[
            bisect_left(places, low, key=lambda place: self._at(place)[1]) : bisect_right(
                places, high, key=lambda place: self._at(place)[1]
            )
        ]
        found: dict[Whole, tuple[Range, int]] = {}
        for place in chosen:
            (left, right), (result, macs) = self._parts[place], self._at(place)
            if result in found:
                left = found[result][0].low
            found[result] = Range(left, right, (left + right) / 2, result), macs
        single = self._single
        if single and self._parts and self._parts[0][0] <= single.inside <= self._parts[-1][1]:
            found.pop(single.result, None)
            if low <= self._single_macs <= high:
                found[single.result] = single, self._single_macs
        return [part for part, _ in found.values()], np.array([macs for _, macs in found.values()], dtype=np.int64)

    def _at(self, place: int) -> tuple[Whole, int]:
        """Result and MACs between two edges."""
        if place not in self._known:
            low, high = self._parts[place]
            result = self._result((low + high) / 2)
            self._known[place] = result, self._macs(result)
        return self._known[place]


@dataclass(frozen=True)
class Surroundings:
    """The axes of the networks around a growth.

    Attributes:
        lattice: their lattice.
        depths, widths: ranges of depths and of widths.
        sides: resolutions in pixels, in order.
        side_macs: MACs of the baseline at each of them.
    """

    lattice: Lattice
    depths: Axis
    widths: Axis
    sides: Sequence[int]
    side_macs: Integers

    def cells(self, wanted: Growth, radius: float) -> Cells:
        """All cells of which no dimension differs from a growth by more than a distance in log MACs."""
        macs = self.lattice.macs
        low, high = ([macs * goal * math.exp(end) for goal in wanted] for end in (-radius, radius))
        depths, by_depth = self.depths.within(low[0], high[0])
        widths, by_width = self.widths.within(low[1], high[1])
        sides = slice(bisect_left(self.side_macs, low[2]), bisect_right(self.side_macs, high[2]))
        growths = tuple(np.log(found / macs) for found in (by_depth, by_width, self.side_macs[sides]))
        return Cells(self.lattice, depths, widths, self.sides[sides], growths)


@dataclass(frozen=True)
class Cells:
    """Cells of a lattice: every combination of some depths, widths and resolutions.

    Attributes:
        lattice: their lattice.
        depths, widths: ranges of depths and of widths.
        resolutions: sides in pixels.
        growths: logarithms of the growth of MACs by each depth, by each width and by each resolution alone.
    """

    lattice: Lattice
    depths: Sequence[Range]
    widths: Sequence[Range]
    resolutions: Sequence[int]
    growths: tuple[NDArray[np.float64], ...]

    def costs(self, cost: str) -> Integers:
        """One of `EXACT_COSTS` of every cell, of shape (depths, widths, resolutions)."""
        layers, channels = [part.result for part in self.depths], [part.result for part in self.widths]
        return self.lattice.costs(layers, channels, self.resolutions, cost)

    def departures(self, wanted: Growth) -> NDArray[np.float64]:
        """Euclidean distance of every cell's growth from another, in log MACs; shape (depths, widths, resolutions)."""
        depth, width, side = (found - math.log(goal) for found, goal in zip(self.growths, wanted, strict=True))
        found: NDArray[np.float64] = np.sqrt(
            depth[:, None, None] ** 2 + width[None, :, None] ** 2 + side[None, None, :] ** 2
        )
        return found

    def coefficients(self, place: Sequence[Any], wanted: Factors) -> Coefficients:
        """The coefficients of a cell nearest to some factors, as short decimals."""
        depth, width, rule = self.depths[int(place[0])], self.widths[int(place[1])], self.lattice.rule
        return Coefficients(
            width.short(wanted.width, self.lattice.channels),
            depth.short(wanted.depth, self.lattice.layers),
            self.resolutions[int(place[2])],
            keep=rule.keep,
            rounding=rule.rounding,
        )
