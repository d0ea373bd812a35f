"""The exact distribution of a space's networks over MACs, and uniform samples of the networks inside a band.

A network's MACs are a sum over its stages. A stage's share depends on its own choices and on its input channels. So the
networks are counted by dynamic programming over (channels, MACs so far), forward from the stem and backward from the
head, until the two meet. A network is a pair of partial networks, one from each side, with the same channels at the
split. All sums are exact integers; equal sums are merged and their networks counted. Each network is counted once,
however many genotypes it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from search_spaces.errors import MnasError
from search_spaces.space import Indices
from search_spaces.stage_space import StageSpace

# Limit on the partial sums of one step, before equal ones are merged: about 3 GB at the peak.
MAX_SUMS = 100_000_000


@dataclass(frozen=True)
class _Sums:
    """The distinct MACs of a set of partial networks, ascending, and the number of networks with each."""

    macs: Indices
    counts: Indices

    @cached_property
    def cumulative(self) -> Indices:
        """Number of partial networks before position i; one entry more than there are sums."""
        return np.concatenate([[0], np.cumsum(self.counts)])

    def below(self, limits: Indices) -> Indices:
        """Return how many partial networks have fewer MACs than each limit."""
        return self.cumulative[np.searchsorted(self.macs, limits)]

    def counts_of(self, macs: Indices) -> Indices:
        """Return how many partial networks have exactly each of these MACs."""
        position = np.minimum(np.searchsorted(self.macs, macs), len(self.macs) - 1)
        return np.where(self.macs[position] == macs, self.counts[position], 0)


_NOTHING = _Sums(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


class MacsDistribution:
    """The distribution of a space's networks over MACs.

    Args:
        space: search space of fewer than 2**62 networks.

    Raises:
        MnasError: the space has too many networks, or too many distinct partial sums for memory.
    """

    def __init__(self, space: StageSpace) -> None:
        self.space = space
        if space.num_networks >= 2**62:
            raise MnasError(
                f"space: {space.name!r} has {space.num_networks:.3g} networks; at most {2**62:.3g} can be counted"
            )
        self._options = space.canonical_options()
        head = self._options.pop()
        # Sums of the stages before index i, and of those from index i on, by the option for the channels between them.
        self._before = {0: [_Sums(np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64))]}
        last = len(self._options)
        self._after = {last: [_Sums(option.macs, np.ones(1, dtype=np.int64)) for option in head]}
        first = 0
        while first < last:
            if _num_sums(self._before[first]) <= _num_sums(self._after[last]):
                self._before[first + 1] = self._forward(first)
                first += 1
            else:
                last -= 1
                self._after[last] = self._backward(last)
        self._split = first

    @property
    def total(self) -> int:
        """Number of networks in the space."""
        return self.count(*self.space.macs_range)

    def count(self, low: int, high: int) -> int:
        """Return the exact number of networks with ``low`` to ``high`` MACs, both included."""
        return self._pairs_below(high + 1) - self._pairs_below(low)

    def histogram(self, edges: Sequence[int]) -> list[int]:
        """Return how many networks lie between consecutive edges: the lower edge is included, the upper one is not."""
        below = [self._pairs_below(edge) for edge in edges]
        return [high - low for low, high in pairwise(below)]

    def round_edges(self, bands: int = 20) -> list[int]:
        """Return the edges of about ``bands`` bands of equal, round width that cover all networks."""
        low, high = self.space.macs_range
        rough = max(1, (high - low) // bands)
        power = 10 ** (len(str(rough)) - 1)
        width = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
        return list(range(low // width * width, high // width * width + 2 * width, width))

    def sample_indices(self, rng: np.random.Generator, count: int, low: int, high: int) -> Indices:
        """Sample ``count`` networks uniformly from those with ``low`` to ``high`` MACs, as canonical rows.

        The shape is (count, choices). No samples are rejected, so sampling from a band of one network is as fast as
        from the whole space.

        Raises:
            MnasError: the band holds no network.
        """
        weights = [
            side.counts * (other.below(high + 1 - side.macs) - other.below(low - side.macs))
            for side, other in self._sides()
        ]
        ends = np.cumsum(np.concatenate(weights))
        inside = int(ends[-1])
        if not inside:
            raise MnasError(f"no network of the space {self.space.name!r} has {low:,} to {high:,} MACs; widen the band")
        rows = np.zeros((count, len(self.space.decisions)), dtype=np.int64)
        starts = np.cumsum([0, *(len(weight) for weight in weights)])
        for row, ticket in zip(rows, rng.integers(0, inside, count).tolist(), strict=True):
            position = int(np.searchsorted(ends, ticket, side="right"))
            option = int(np.searchsorted(starts, position, side="right")) - 1
            side, other = list(self._sides())[option]
            macs = int(side.macs[position - starts[option]])
            first = int(other.below(np.array([low - macs]))[0])
            width = int(other.below(np.array([high + 1 - macs]))[0]) - first
            rank = first + (int(ends[position]) - 1 - ticket) % width
            partner = int(other.macs[np.searchsorted(other.cumulative, rank, side="right") - 1])
            before, after = (macs, partner) if self._narrow_is_before else (partner, macs)
            self._fill_before(rng, row, option, before)
            self._fill_after(rng, row, option, after)
        if len(self.space.activation) > 1:
            rows[:, -1] = rng.integers(0, len(self.space.activation), count)
        return rows

    # --- pairs of partial networks --------------------------------------------------------------------------------

    @property
    def _narrow_is_before(self) -> bool:
        return _num_sums(self._before[self._split]) <= _num_sums(self._after[self._split])

    def _sides(self) -> Iterator[tuple[_Sums, _Sums]]:
        """Yield, for each option of the channels at the split, the sums of the smaller side and of the larger side."""
        before, after = self._before[self._split], self._after[self._split]
        narrow, wide = (before, after) if self._narrow_is_before else (after, before)
        return zip(narrow, wide, strict=True)

    def _pairs_below(self, limit: int) -> int:
        pairs = sum(int((side.counts * other.below(limit - side.macs)).sum()) for side, other in self._sides())
        return pairs * len(self.space.activation)

    # --- dynamic programming --------------------------------------------------------------------------------------

    def _forward(self, stage: int) -> list[_Sums]:
        given = list(zip(self._before[stage], self._options[stage], strict=True))
        return [
            _merged([(sums, option.macs[option.out == out]) for sums, option in given])
            for out in range(self.space.channel_options(stage))
        ]

    def _backward(self, stage: int) -> list[_Sums]:
        return [
            _merged([(sums, option.macs[option.out == out]) for out, sums in enumerate(self._after[stage + 1])])
            for option in self._options[stage]
        ]

    def _fill_before(self, rng: np.random.Generator, row: Indices, out: int, macs: int) -> None:
        """Choose stages before the split uniformly among those that sum to ``macs``, and write them into ``row``."""
        for stage in range(self._split - 1, -1, -1):
            candidates = []
            for given, option in enumerate(self._options[stage]):
                fits = np.flatnonzero(option.out == out)
                counts = self._before[stage][given].counts_of(macs - option.macs[fits])
                candidates += [(int(n), given, int(i)) for n, i in zip(counts, fits, strict=True) if n]
            given, chosen = _weighted_choice(rng, candidates)
            option = self._options[stage][given]
            self.space.write_stage(row, stage, int(option.codes[chosen]))
            out, macs = given, macs - int(option.macs[chosen])

    def _fill_after(self, rng: np.random.Generator, row: Indices, given: int, macs: int) -> None:
        """Choose stages after the split uniformly among those that sum to ``macs``, and write them into ``row``."""
        for stage in range(self._split, len(self._options)):
            option = self._options[stage][given]
            candidates = []
            for out, sums in enumerate(self._after[stage + 1]):
                fits = np.flatnonzero(option.out == out)
                counts = sums.counts_of(macs - option.macs[fits])
                candidates += [(int(n), out, int(i)) for n, i in zip(counts, fits, strict=True) if n]
            given, chosen = _weighted_choice(rng, candidates)
            self.space.write_stage(row, stage, int(option.codes[chosen]))
            macs -= int(option.macs[chosen])


def _num_sums(sums: Sequence[_Sums]) -> int:
    return sum(len(one.macs) for one in sums)


def _weighted_choice(rng: np.random.Generator, candidates: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Draw one of the candidates (weight, channels, position) with probability proportional to its weight."""
    ends = np.cumsum([weight for weight, _, _ in candidates])
    ticket = rng.integers(0, ends[-1])
    _, channels, position = candidates[int(np.searchsorted(ends, ticket, side="right"))]
    return channels, position


def _merged(parts: Sequence[tuple[_Sums, Indices]]) -> _Sums:
    """Return the sums of partial networks extended by one option, with equal sums merged."""
    steps = [(sums, *np.unique(macs, return_counts=True)) for sums, macs in parts]
    size = sum(len(sums.macs) * len(options) for sums, options, _ in steps)
    if size > MAX_SUMS:
        raise MnasError(
            f"space: {size:,} partial sums of MACs do not fit into memory (limit {MAX_SUMS:,}); "
            "use a space with fewer options per stage"
        )
    if not size:
        return _NOTHING
    macs = np.concatenate([np.add.outer(options, sums.macs).ravel() for sums, options, _ in steps])
    counts = np.concatenate([np.multiply.outer(times, sums.counts).ravel() for sums, _, times in steps])
    order = np.argsort(macs, kind="stable")
    macs = macs[order]
    starts = np.flatnonzero(np.concatenate([[True], macs[1:] != macs[:-1]]))
    return _Sums(macs[starts], np.add.reduceat(counts[order], starts))
