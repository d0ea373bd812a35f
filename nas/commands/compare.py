"""`mnas compare`: networks side by side; with --train, their accuracy on images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nas.api
from baselines.commands.options import (
    NETWORK,
    add_data,
    add_json,
    add_options,
    add_page,
    add_place,
    given,
    refuse,
    refuse_options,
)
from baselines.files import check_new, new_folder
from baselines.training.recipe import RECIPES
from baselines.views.evaluation import skipped_lines
from baselines.views.terminal import pointer, print_json, show
from nas.executors.base import EXECUTORS, Execution
from nas.studies.trained_comparison import (
    ComparisonOptions,
    Plan,
    create_comparison,
    resume_command,
    run_comparison,
)
from nas.views import comparison as view
from nas.views import trained_comparison as trained_view
from nas.views.comparison_page import comparison_page
from search_spaces import MnasError
from search_spaces.architecture import ACTIVATIONS

# Options of a training that are the same for all networks.
SHARED = ("recipe", "epochs", "resolution", "width", "activation", "batch", "learning_rate", "memory")
WITHOUT_TRAINING = ("evaluator", "space", "html")
DEFAULTS = {"executor": "in-process; with several workers or limits, processes"}
OF_PLAN = ("seeds", "equal")
OF_TRAINING = (*OF_PLAN, *SHARED, "out")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Put networks side by side: structure, cost, predicted accuracy and its noise; with --train, their accuracy on "
        "your images. The last one is the reference."
    )
    parser.add_argument("specs", metavar="SPEC", nargs="*", help=f"two or more: {NETWORK}")
    add_options(parser, nas.api.compare, ("evaluator", "space"))
    parser.add_argument(
        "--reference", metavar="SPEC", help="network that the others are compared with (default: the last)"
    )
    add_page(parser, "the comparison and the paper's Figure 1")
    group = parser.add_argument_group("training with --train")
    group.add_argument("--train", action="store_true", help="train every SPEC on --data, and compare their accuracies")
    add_data(group)
    add_options(group, Plan, OF_PLAN)
    add_options(group, ComparisonOptions, SHARED, choices={"recipe": RECIPES, "activation": ACTIVATIONS})
    add_place(group, "comparison")
    where = "where trainings run, with --train"
    add_options(parser, Execution, title=where, choices={"executor": EXECUTORS}, defaults=DEFAULTS)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Put networks side by side."""
    if arguments.train:
        _run_trained(arguments)
        return
    refuse(arguments, ("data", "resume", *OF_TRAINING), "{} needs --train")
    refuse_options(arguments, Execution, "{} needs --train")
    if arguments.html:
        check_new(arguments.html, field="html")
    judges = given(arguments, nas.api.compare)
    names = {name: judges[name] for name in ("evaluator", "space") if name in judges}
    comparison = nas.api.compare(arguments.specs, reference=arguments.reference, **names)
    if arguments.html:
        comparison_page(comparison).write(arguments.html)
    if arguments.json:
        print_json(view.data(comparison))
        return
    show(*view.text(comparison))
    if arguments.html:
        show(pointer("Written:", str(arguments.html)))


def _run_trained(arguments: argparse.Namespace) -> None:
    """Train networks side by side, or resume, and show what their differences mean."""
    refuse(arguments, WITHOUT_TRAINING, "{} cannot be combined with --train")
    if arguments.resume:
        reason = "{} cannot be combined with --resume, which uses the options of the comparison"
        refuse(arguments, ("specs", "data", "reference", *OF_TRAINING), reason)
        folder: Path = arguments.resume
    else:
        folder = _created(arguments)
    try:
        compared = run_comparison(folder, given(arguments, Execution))
    except KeyboardInterrupt:
        print(f"mnas: resume with: {resume_command(folder)}", file=sys.stderr)
        raise
    if arguments.json:
        print_json(trained_view.data(compared))
    else:
        show(*trained_view.text(compared))


def _created(arguments: argparse.Namespace) -> Path:
    """The folder of a new comparison."""
    if not arguments.specs or not arguments.data:
        raise MnasError("compare: expected two or more SPEC and --data with --train, or --resume FOLDER")
    subjects = nas.api.side_by_side(arguments.specs, arguments.reference)
    plan = Plan(tuple(subject.name for subject in subjects), **given(arguments, Plan))
    options = ComparisonOptions(**given(arguments, ComparisonOptions))
    folder: Path = arguments.out or new_folder("compare")
    data = create_comparison(folder, plan, subjects, arguments.data, options, given(arguments, Execution))
    for line in skipped_lines(data):
        print(f"mnas: {line}", file=sys.stderr)
    return folder
