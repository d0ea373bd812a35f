"""Search spaces as data and as text, and the number of their networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from baselines.text import millions
from baselines.views.terminal import Table
from search_spaces import Space, StageSpace
from search_spaces.space import power

if TYPE_CHECKING:
    from rich.console import RenderableType


def data(space: Space) -> dict[str, Any]:
    """A space as plain data: its size, its range of MACs, and its choices."""
    return {
        "name": space.name,
        "size": space.size,
        "networks": space.num_networks,
        "macs_range": space.macs_range if isinstance(space, StageSpace) else None,
        "choices": {choice.label: choice.values for choice in space.decisions},
    }


def text(spaces: Sequence[Space]) -> list[RenderableType]:
    """A table of spaces."""
    columns = ("choices", "genotypes", "networks", "smallest", "largest")
    table = Table("Spaces", [("name", "left"), *((column, "right") for column in columns)])
    for space in spaces:
        low, high = map(millions, space.macs_range) if isinstance(space, StageSpace) else ("", "")
        table.add_row(space.name, str(len(space.labels)), power(space.size), power(space.num_networks), low, high)
    return [table, "Genotypes that build the same layers are one network. MACs are those of one image."]


@dataclass(frozen=True)
class CountedNetworks:
    """Exact counts of the networks of a space by their MACs.

    Attributes:
        space: name of the space.
        networks: number of all networks.
        edges, counts: edges of the bands of a histogram and networks in each band; empty without a histogram.
        near: MACs around which networks are counted; None for no such count.
        inside: number of networks within 2 % of ``near``.
    """

    space: str
    networks: int
    edges: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    near: int | None = None
    inside: int = 0

    @property
    def band(self) -> tuple[int, int]:
        """Smallest and largest MACs within 2 % of ``near``."""
        return math.ceil(0.98 * (self.near or 0)), math.floor(1.02 * (self.near or 0))


def counted_networks(space: StageSpace, *, histogram: bool, near: int | None) -> CountedNetworks:
    """Count the networks of a space by their MACs. Raises `MnasError` if there are too many to count."""
    from search_spaces.sampling import MacsDistribution

    distribution = MacsDistribution(space)
    edges = tuple(distribution.round_edges()) if histogram else ()
    counts = tuple(distribution.histogram(edges)) if histogram else ()
    found = CountedNetworks(space.name, space.num_networks, edges, counts, near)
    if near is None:
        return found
    return CountedNetworks(space.name, space.num_networks, edges, counts, near, distribution.count(*found.band))


def counted_data(counted: CountedNetworks) -> dict[str, Any]:
    """The counts as plain data."""
    found: dict[str, Any] = {"space": counted.space, "networks": counted.networks}
    if counted.edges:
        found |= {"edges": counted.edges, "counts": counted.counts}
    if counted.near is not None:
        low, high = counted.band
        found["near"] = {"macs": counted.near, "low": low, "high": high, "networks": counted.inside}
    return found


def counted_text(counted: CountedNetworks) -> list[RenderableType]:
    """The histogram as a table, and a sentence on the networks near a figure."""
    lines: list[RenderableType] = []
    if counted.edges:
        headers = [("MACs", "right"), ("networks", "right"), ("share", "right"), ("", "left")]
        table = Table(f"{counted.networks:,} networks of {counted.space} by MACs", headers)
        widest = max(counted.counts)
        for (low, high), inside in zip(pairwise(counted.edges), counted.counts, strict=True):
            bar = "█" * round(24 * inside / widest)
            share = _share(inside, counted.networks)
            table.add_row(f"{millions(low)} – {millions(high)}", f"{inside:,}", share, bar)
        lines.append(table)
    if counted.near is not None:
        share = _share(counted.inside, counted.networks)
        lines.append(
            f"{counted.inside:,} of {counted.networks:,} networks of {counted.space} ({share}) lie within 2 % of "
            f"{millions(counted.near)} MACs."
        )
    return lines


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{percent:.3g} %" if percent >= 0.001 or not part else "< 0.001 %"
