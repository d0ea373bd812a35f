"""`mnas front`: a run's Pareto front, and its best network for another target."""

from __future__ import annotations

import argparse

from baselines.commands.options import add_json, add_options, add_run, add_targets, given, given_targets, refuse
from baselines.views.terminal import print_json, show
from nas.costs.metrics import COSTS
from nas.front import fronted
from nas.journal import Journal
from nas.objective import FORMS
from nas.views import front as view

DEFAULTS = {"cost": "macs; for a table, its target or its first cost"}
OF_TARGET = ("objective", "exponent")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Show the Pareto front of a run, and the best of its networks for another target; nothing is evaluated."
    )
    add_run(parser)
    choices = {"cost": (*COSTS, "or a cost column of the run's table"), "objective": FORMS}
    add_options(parser, fronted, ("cost",), choices=choices, defaults=DEFAULTS)
    add_targets(parser, COSTS)
    add_options(parser, fronted, OF_TARGET, choices=choices)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Show the Pareto front of a run, and the best trial for another target."""
    targets = given_targets(arguments)
    if targets is None:
        refuse(arguments, OF_TARGET, "{} needs a target; add --target-macs or --target")
    options = {**given(arguments, fronted), "targets": targets}
    with Journal.open(arguments.folder, allow_code=arguments.allow_code) as journal:
        found = fronted(journal, **options)
    if arguments.json:
        print_json(view.data(found))
    else:
        show(*view.text(found, arguments.folder, allow_code=arguments.allow_code))
