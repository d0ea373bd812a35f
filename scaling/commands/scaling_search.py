"""`mnas scaling-search`: the best depth, width and resolution of a baseline at one budget, by training candidates."""

from __future__ import annotations

import argparse

from baselines.commands.options import SPEC, add_json, add_options, add_page, documented, given
from nas.commands.trainings import SHARED, add_trainings, run_trainings
from scaling.studies.baseline import StudyOptions
from scaling.studies.candidates import Grid
from scaling.studies.coefficient_search import create_search, run_search
from scaling.studies.racing import RacingRule
from scaling.studies.search_result import SEARCH
from scaling.views import coefficient_search as view


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Search for the best depth, width and resolution of a baseline at one budget: every candidate of a grid is "
        "trained with the same recipe and seeds, then only those that may still be the best get more seeds. "
        "--resolution and --width are those of the baseline."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="?", help=f"baseline: {SPEC}")
    add_options(parser, Grid, title="grid of candidates")
    add_options(parser, RacingRule, title="racing")
    add_trainings(parser, "search", StudyOptions, title="trainings")
    add_page(parser, "the table and a figure")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Search, or resume a search, and show where the candidates stand."""
    run_trainings(
        arguments,
        SEARCH,
        view,
        fixed=("spec", *documented(Grid), *documented(RacingRule), *SHARED),
        expected="SPEC and --data",
        create=lambda folder, where: create_search(
            folder,
            arguments.spec,
            arguments.data,
            Grid(**given(arguments, Grid)),
            RacingRule(**given(arguments, RacingRule)),
            StudyOptions(**given(arguments, StudyOptions)),
            where,
        ),
        run=run_search,
    )
