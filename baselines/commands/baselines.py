"""`mnas baselines`: the baselines of the package, and those in specs/ of the current directory."""

from __future__ import annotations

import argparse

from baselines.commands.options import add_json
from baselines.registry import load, names
from baselines.text import millions
from baselines.views import spec as view
from baselines.views.terminal import Table, labelled, print_json, show
from search_spaces import MnasError, architecture_cost


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = "List the baselines that come with the package, and those in specs/ of the current directory."
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """List the baselines."""
    specs, problems = [], []
    for name in names():
        try:
            specs.append(load(name))
        except MnasError as error:  # one broken file in specs/ must not hide the others
            problems.append(str(error))
    if arguments.json:
        print_json({"baselines": [view.data(spec) for spec in specs], "problems": problems})
        return
    headers = [("name", "left"), ("px", "right"), ("MACs", "right"), ("params", "right"), ("source", "left")]
    table = Table("Baselines", headers)
    for spec in specs:
        cost = architecture_cost(spec.architecture)
        counts = (str(spec.architecture.resolution), millions(cost.macs), millions(cost.params))
        table.add_row(spec.name, *counts, spec.provenance.source)
    show(table, *(labelled("Unusable:", problem) for problem in problems))
