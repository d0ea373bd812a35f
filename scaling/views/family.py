"""A family as data and as text: coefficients, exact costs, and measured latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.latency import Protocol, Subject, Timing
from baselines.text import millions
from baselines.views import latency
from baselines.views.terminal import Table, pointer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scaling.families import Family, Member

MEMORY = "Memory: weights and feature maps for the inference of one image, float32."
Measured = tuple[Sequence[Subject], Sequence[Timing], Protocol]


def data(found: Family, files: Sequence[Path], measured: Measured | None) -> dict[str, Any]:
    """Everything about a family, as plain data."""
    return {
        "baseline": {"name": found.baseline.name, "digest": found.baseline.digest},
        "members": [
            {**asdict(member), "digest": spec.digest, "file": str(file)}
            for member, spec, file in zip(found.members, found.specs, files, strict=True)
        ],
        "latency": None if measured is None else latency.data(measured[1], measured[2]),
    }


def text(found: Family, files: Sequence[Path] = (), measured: Measured | None = None) -> list[RenderableType]:
    """A row for each member, and the files."""
    parts: list[RenderableType] = [members_table(found.baseline.name, found.members), MEMORY]
    if measured is not None:
        parts += ["", *latency.text(*measured)]
    return [*parts, *(pointer("Written:", str(file)) for file in files)]


def members_table(baseline: str, members: Sequence[Member]) -> Table:
    """Coefficients and costs, a row for each member."""
    columns = [("network", "left"), ("depth", "right"), ("width", "right"), ("px", "right"), ("MACs", "right")]
    columns += [("params", "right"), ("activations", "right"), ("memory", "right")]
    table = Table(f"A family of {baseline}", columns)
    for one in members:
        counts = (millions(one.params), millions(one.activations), f"{millions(one.memory)}B")
        factors = (f"{one.depth:.4g}", f"{one.width:.4g}", str(one.resolution))
        table.add_row(one.name, *factors, millions(one.macs), *counts)
    return table
