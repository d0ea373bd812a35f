"""`mnas check`: whether a plug-in keeps the rules."""

from __future__ import annotations

import argparse

from baselines.commands.options import add_json
from baselines.text import counted
from baselines.views.terminal import print_json, show
from nas.check import check_plugins
from nas.views import check as view
from search_spaces import MnasError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Check your own spaces, evaluators and controllers against the rules: what a Python file defines as space, "
        "evaluator and controller, or FILE.py:NAME."
    )
    parser.add_argument("name", metavar="PLUGIN", help="FILE.py, FILE.py:NAME, or the name of an installed plug-in")
    parser.add_argument(
        "--space", default="efficientnet", help="space to try evaluators and controllers on (default: efficientnet)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Check plug-ins; a broken rule is an error."""
    checked = check_plugins(arguments.name, arguments.space)
    if arguments.json:
        print_json(view.data(checked))
    else:
        show(*view.text(checked))
    problems = view.problems(checked)
    if problems:
        raise MnasError(f"check: {counted(problems, 'rule')} {'does' if problems == 1 else 'do'} not hold; see above")
