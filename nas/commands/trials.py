"""`mnas trials`: the trials of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_forms, argument
from baselines.text import positive_int
from baselines.views.terminal import print_json, show, write_csv
from nas.journal import Journal
from nas.views import trials as view

TOP = 20


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Show the trials of a run, best first, or those that failed; as JSON or CSV, all of them by number."
    )
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--top", type=argument(positive_int), default=TOP, help=f"trials to show (default: {TOP})")
    parser.add_argument("--failed", action="store_true", help="show the trials that failed, with their errors")
    add_forms(parser, "trial")


def run(arguments: argparse.Namespace) -> None:
    """Show the trials of a run."""
    with Journal.open(arguments.folder) as journal:
        records = list(journal.records())
        if arguments.json:
            print_json({"run": str(arguments.folder), "trials": [view.data(record) for record in records]})
        elif arguments.csv:
            write_csv(*view.rows(journal, records))
        elif arguments.failed:
            show(*view.failed_text(records))
        else:
            show(*view.text(journal, records, arguments.top))
