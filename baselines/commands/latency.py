"""`mnas latency`: latency of networks, measured side by side."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from baselines.commands.options import NETWORK, add_json, add_options, given
from baselines.comparators import Comparator
from baselines.latency import RUNTIMES, Protocol, Subject, measure
from baselines.spec import BaselineSpec
from baselines.subjects import load_subject
from baselines.views import latency as view
from baselines.views.terminal import print_json, progress_bar, show

if TYPE_CHECKING:
    from torch import nn


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Measure the latency of networks side by side; the last one is the reference. The defaults are those of the "
        "EfficientNet paper: one thread, batch 1, 20 runs."
    )
    parser.add_argument("specs", metavar="SPEC", nargs="+", help=f"one or more: {NETWORK}")
    add_options(parser, Protocol, choices={"runtime": RUNTIMES})
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measure networks side by side."""
    protocol = Protocol(**given(arguments, Protocol))
    specs = [load_subject(name) for name in arguments.specs]
    subjects = [Subject(*_built(spec)) for spec in specs]
    with progress_bar(protocol.warmup + protocol.runs, "rounds") as advance:
        timings = measure(subjects, protocol, advance)
    if arguments.json:
        print_json(view.data(timings, protocol))
        return
    show(*view.text(subjects, timings, protocol))


def _built(spec: BaselineSpec | Comparator) -> tuple[str, nn.Module, int]:
    if isinstance(spec, Comparator):
        return spec.name, spec.build(), spec.resolution
    from search_spaces.network import build_network

    return spec.name, build_network(spec.architecture), spec.architecture.resolution
