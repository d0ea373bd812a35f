"""`mnas freeze`: a network of a run as a spec."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_json, add_run, argument
from baselines.registry import own_file
from baselines.spec import write_spec
from baselines.text import non_negative_int
from baselines.views import spec as view
from nas.found import frozen
from nas.journal import Journal


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = "Write the best network of a run, or that of another trial, as a spec in specs/."
    add_run(parser)
    parser.add_argument("--name", required=True, help="name of the spec, written to specs/NAME.yaml")
    parser.add_argument("--trial", type=argument(non_negative_int), help="number of a trial other than the best")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: specs/NAME.yaml)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write a trial of a run as a spec."""
    with Journal.open(arguments.folder, allow_code=arguments.allow_code) as journal:
        spec = frozen(journal, arguments.trial, arguments.name)
    file = arguments.out or own_file(spec.name)
    view.show_written(spec, file, new=write_spec(spec, file), as_json=arguments.json)
