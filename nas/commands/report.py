"""`mnas report`: a search as text, as data, or as a page."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_json, add_run
from baselines.files import check_new
from baselines.views.terminal import pointer, print_json, show
from nas.journal import Journal
from nas.views import report as view


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Report a search: what was asked, what was found and how certain it is, what each choice is worth, and how to "
        "reproduce it. Nothing is trained, and the search may still be running."
    )
    add_run(parser)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with figures to a new file")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Report a search."""
    if arguments.html:
        check_new(arguments.html, field="html")
    with Journal.open(arguments.folder, allow_code=arguments.allow_code) as journal:
        found = view.report(journal)
    if arguments.html:
        view.page(found).write(arguments.html)
    if arguments.json:
        print_json(view.data(found))
    elif arguments.html:
        show(pointer("Written:", str(arguments.html)))
    else:
        show(*view.text(found))
