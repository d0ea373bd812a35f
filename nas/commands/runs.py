"""`mnas runs`: all runs, with their progress."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_forms
from baselines.views.terminal import print_json, show, write_csv
from nas.runs import Run, runs_in
from nas.views import runs as view
from search_spaces import MnasError
from search_spaces.errors import printable


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "List searches, trainings and studies: their state, progress and best result so far. Nothing is changed, and "
        "no code that a run names is loaded."
    )
    parser.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="*", help="runs, or folders of runs (default: runs/)"
    )
    add_forms(parser, "run")


def run(arguments: argparse.Namespace) -> None:
    """List runs."""
    folders: list[Path] = arguments.folders or [Path("runs")]
    for folder in arguments.folders:
        if not folder.is_dir():
            raise MnasError(f"runs: {folder} is not a folder; expected folders of runs")
    runs = list(runs_in(folders))
    if arguments.json:
        print_json({"runs": [view.data(run) for run in runs]})
    elif arguments.csv:
        write_csv([view.row(run) for run in runs], list(view.row(Run(Path(), "search", "unreadable"))))
    elif runs:
        show(*view.text(runs))
    else:
        show(printable(f"No runs in {', '.join(map(str, folders))}."))
