"""Measured latency, as data and as text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from baselines.latency import Protocol, Subject, Timing, machine, quartiles
from baselines.text import counted
from baselines.views.terminal import Table

if TYPE_CHECKING:
    from rich.console import RenderableType


def text(subjects: Sequence[Subject], timings: Sequence[Timing], protocol: Protocol) -> list[RenderableType]:
    """A table of the measured times, and how they were measured."""
    numbers = ("px", "median ms", "quartiles", "images/s", "MiB")
    columns = [("name", "left"), *((name, "right") for name in numbers)]
    if len(timings) > 1:
        columns.append((f"against {timings[-1].name}", "left"))
    table = Table("Latency", columns)
    for subject, timing in zip(subjects, timings, strict=True):
        low, high = timing.spread()
        peak = "-" if timing.peak_bytes is None else f"{timing.peak_bytes / 2**20:.1f}"
        times = (f"{1e3 * timing.median:.2f}", f"{1e3 * low:.2f}–{1e3 * high:.2f}")
        against = [] if len(timings) == 1 else ["" if timing is timings[-1] else _against(timing)]
        rate = f"{protocol.batch / timing.median:,.1f}"
        table.add_row(timing.name, str(subject.resolution), *times, rate, peak, *against)
    how = f"batch {protocol.batch}, {counted(protocol.threads, 'thread')}, "
    how += f"{counted(protocol.runs, 'round')} after {protocol.warmup} to warm up"
    return [
        table,
        f"Measured on {machine(protocol)}; {how}; networks interleaved; fresh weights, float32.",
        "MiB: peak memory of tensors in one run, without weights.",
        *_note(timings),
    ]


def _note(timings: Sequence[Timing]) -> Iterator[str]:
    """The meaning of the last column, if there is one."""
    against = [_against(timing) for timing in timings[:-1]]
    if against:
        tie = "; in a tie, the quartiles include 1" if any(text.endswith("tie") for text in against) else ""
        yield f"Against: median and quartiles of the ratio within a round{tie}."


def _against(timing: Timing) -> str:
    """A subject's ratio to the reference, with its quartiles, and whether it is a tie."""
    low, high = quartiles(timing.ratios)
    ratio = f"×{statistics.median(timing.ratios):.2f} ({low:.2f}–{high:.2f})"
    return f"{ratio} tie" if low <= 1 <= high else ratio


def data(timings: Sequence[Timing], protocol: Protocol) -> Mapping[str, Any]:
    """Measurements as plain data, in seconds and bytes."""
    return {
        "machine": machine(protocol),
        "protocol": vars(protocol),
        "reference": timings[-1].name,
        "timings": [
            {
                "name": timing.name,
                "median_seconds": timing.median,
                "quartiles_seconds": timing.spread(),
                "images_per_second": protocol.batch / timing.median,
                "ratio": statistics.median(timing.ratios),
                "ratio_quartiles": quartiles(timing.ratios),
                "peak_bytes": timing.peak_bytes,
                "seconds": timing.seconds,
            }
            for timing in timings
        ],
    }
