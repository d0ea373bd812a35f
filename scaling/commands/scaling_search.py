"""`mnas scaling-search`: the best depth, width and resolution of a baseline at one budget, by training candidates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from baselines.commands.options import SPEC, add_data, add_json, add_options, add_place, given, refuse, refuse_options
from baselines.files import new_folder
from baselines.training.recipe import RECIPES
from baselines.views.evaluation import skipped_lines
from baselines.views.terminal import print_json, show
from nas.commands.compare import DEFAULTS, SHARED
from nas.executors.base import EXECUTORS, Execution
from scaling.studies.baseline import StudyOptions
from scaling.studies.candidates import Grid
from scaling.studies.coefficient_search import create_search, run_search
from scaling.studies.racing import RacingRule
from scaling.studies.search_result import resume_command
from scaling.views import coefficient_search as view
from search_spaces import MnasError
from search_spaces.architecture import ACTIVATIONS


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Search for the best depth, width and resolution of a baseline at one budget: every candidate of a grid is "
        "trained with the same recipe and seeds, then only those that may still be the best get more seeds."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="?", help=f"baseline: {SPEC}")
    add_data(parser)
    add_options(parser, Grid, title="grid of candidates")
    usual = {"budget": "half of all candidates with all seeds"}
    add_options(parser, RacingRule, title="racing", defaults=usual)
    group = parser.add_argument_group("trainings")
    add_options(group, StudyOptions, SHARED, choices={"recipe": RECIPES, "activation": ACTIVATIONS})
    add_place(group, "search")
    add_options(parser, Execution, title="where trainings run", choices={"executor": EXECUTORS}, defaults=DEFAULTS)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Search, or resume a search, and show where the candidates stand."""
    if arguments.resume:
        reason = "{} cannot be combined with --resume, which uses the options of the search"
        refuse(arguments, ("spec", "data", "out"), reason)
        for source in (Grid, RacingRule, StudyOptions):
            refuse_options(arguments, source, reason)
        folder: Path = arguments.resume
    else:
        folder = _created(arguments)
    try:
        found = run_search(folder, given(arguments, Execution))
    except KeyboardInterrupt:
        print(f"mnas: resume with: {resume_command(folder)}", file=sys.stderr)
        raise
    if arguments.json:
        print_json(view.data(found))
    else:
        show(*view.text(found))


def _created(arguments: argparse.Namespace) -> Path:
    """The folder of a new search."""
    if not arguments.spec or not arguments.data:
        raise MnasError("scaling-search: expected SPEC and --data, or --resume FOLDER")
    folder: Path = arguments.out or new_folder("scaling-search")
    data = create_search(
        folder,
        arguments.spec,
        arguments.data,
        Grid(**given(arguments, Grid)),
        RacingRule(**given(arguments, RacingRule)),
        StudyOptions(**given(arguments, StudyOptions)),
        given(arguments, Execution),
    )
    for line in skipped_lines(data):
        print(f"mnas: {line}", file=sys.stderr)
    return folder
