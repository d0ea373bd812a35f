"""`mnas show` and `mnas baselines`."""

from __future__ import annotations

import argparse

from baselines.console import Commands, labelled, millions, print_json, show, titled_table
from baselines.registry import load, names
from baselines.report import describe, layer_table, notes, spec_table
from search_spaces import MnasError, architecture_cost


def register(commands: Commands) -> None:
    """Add this package's commands."""
    text = "Show a network as the paper's Table 1 does, with exact parameters and MACs."
    parser = commands.add_parser("show", help="a spec as a table with its exact cost", description=text)
    parser.add_argument("spec", metavar="SPEC", help="name of a baseline, or path of a spec file")
    parser.add_argument("--per-layer", action="store_true", help="list every convolution and linear layer too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_show)

    text = "List the baselines that come with the package, and those in specs/ of the current directory."
    parser = commands.add_parser("baselines", help="list the baselines", description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_baselines)


def run_show(arguments: argparse.Namespace) -> None:
    """Show a spec."""
    spec = load(arguments.spec)
    if arguments.json:
        print_json(describe(spec, per_layer=arguments.per_layer))
        return
    layers = [layer_table(spec)] if arguments.per_layer else []
    show(*layers, spec_table(spec), *notes(spec))


def run_baselines(arguments: argparse.Namespace) -> None:
    """List the baselines."""
    specs, problems = [], []
    for name in names():
        try:
            specs.append(load(name))
        except MnasError as error:  # one broken file in specs/ must not hide the others
            problems.append(str(error))
    if arguments.json:
        print_json({"baselines": [describe(spec) for spec in specs], "problems": problems})
        return
    headers = [("name", "left"), ("px", "right"), ("MACs", "right"), ("params", "right"), ("source", "left")]
    table = titled_table("Baselines", headers)
    for spec in specs:
        cost = architecture_cost(spec.architecture)
        counts = (str(spec.architecture.resolution), millions(cost.macs), millions(cost.params))
        table.add_row(spec.name, *counts, spec.provenance.source)
    show(table, *(labelled("Unusable:", problem) for problem in problems))
