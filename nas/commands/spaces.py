"""`mnas spaces`: the search spaces, and the number of their networks."""

from __future__ import annotations

import argparse

from baselines.commands.options import add_json, argument
from baselines.text import quantity
from baselines.views.terminal import print_json, show, working
from nas.views import spaces as view
from search_spaces import SPACES, load_space, load_stage_space


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "List the search spaces with their size and the MACs of their smallest and largest network, or count the "
        "networks of one space by their MACs, exactly."
    )
    parser.add_argument("name", metavar="SPACE", nargs="?", help=f"{', '.join(SPACES)}, or FILE.py:NAME")
    parser.add_argument("--histogram", action="store_true", help="count the networks in each band of MACs")
    parser.add_argument(
        "--near", type=argument(quantity), metavar="MACS", help="count the networks within 2 %% of this figure"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """List the spaces, or count the networks of one."""
    if arguments.histogram or arguments.near is not None:
        space = load_stage_space(arguments.name or "efficientnet")
        with working(f"counting the networks of {space.name}"):
            counted = view.counted_networks(space, histogram=arguments.histogram, near=arguments.near)
        if arguments.json:
            print_json(view.counted_data(counted))
        else:
            show(*view.counted_text(counted))
        return
    spaces = [load_space(name) for name in ([arguments.name] if arguments.name else SPACES)]
    if arguments.json:
        print_json({"spaces": [view.data(space) for space in spaces]})
    else:
        show(*view.text(spaces))
