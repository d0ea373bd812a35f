"""`mnas show`: a network as a table, with its exact costs."""

from __future__ import annotations

import argparse
from dataclasses import replace

from baselines.commands.options import NETWORK, add_json, argument
from baselines.comparators import Comparator
from baselines.counts import COUNTERS
from baselines.subjects import load_subject
from baselines.text import positive_int
from baselines.views import spec as view
from baselines.views.terminal import labelled, print_json, show
from search_spaces import MnasError
from search_spaces.errors import unknown_name


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = "Show a network in the form of the paper's Table 1, with exact parameters and MACs."
    parser.add_argument("spec", metavar="SPEC", help=NETWORK)
    parser.add_argument("--per-layer", action="store_true", help="list every convolution and linear layer too")
    parser.add_argument(
        "--resolution", type=argument(positive_int), help="side of the image in pixels (default: that of SPEC)"
    )
    parser.add_argument("--classes", type=argument(positive_int), help="number of classes (default: that of SPEC)")
    parser.add_argument("--count-with", metavar="TOOL", help=f"count as another tool does: {', '.join(COUNTERS)}")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Show a network."""
    spec = load_subject(arguments.spec)
    if isinstance(spec, Comparator):
        _show_comparator(spec, arguments)
        return
    net = spec.architecture
    changed = replace(
        net, resolution=arguments.resolution or net.resolution, num_classes=arguments.classes or net.num_classes
    )
    # Figures are valid only for the network that they were stated for.
    spec = spec if changed == net else replace(spec, architecture=changed, figures=())
    if arguments.count_with not in (None, *COUNTERS):
        raise unknown_name("counter", arguments.count_with, COUNTERS)
    other = COUNTERS[arguments.count_with](spec.architecture) if arguments.count_with else None
    if arguments.json:
        print_json(view.data(spec, per_layer=arguments.per_layer, counted_with=other))
        return
    show(*view.text(spec, per_layer=arguments.per_layer, counted_with=other))


def _show_comparator(network: Comparator, arguments: argparse.Namespace) -> None:
    if arguments.classes or arguments.count_with or arguments.per_layer:
        raise MnasError(f"{network.name}: it has no spec; remove --classes, --count-with and --per-layer")
    if arguments.resolution:
        network = replace(network, resolution=arguments.resolution)
    macs, params = network.counts
    if arguments.json:
        print_json({"name": network.name, "resolution": network.resolution, "macs": macs, "params": params})
        return
    show(
        labelled(network.name, f"at {network.resolution} px: {macs:,} MACs, {params:,} params"),
        "Counted on torchvision's module with torch.utils.flop_counter. It has no spec, so it cannot be scaled.",
    )
