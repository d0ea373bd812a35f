"""`mnas compare`: networks side by side; with --train, their accuracy on images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nas.api
from baselines.commands.options import (
    NETWORK,
    add_json,
    add_options,
    add_page,
    given,
    refuse,
    refuse_options,
    show_found,
)
from baselines.files import check_new
from baselines.training.data.sources import ImageData
from nas.commands.trainings import SHARED, add_trainings, run_trainings
from nas.executors.base import Execution
from nas.studies.trained_comparison import COMPARISON, ComparisonOptions, Plan, create_comparison, run_comparison
from nas.views import comparison as view
from nas.views import trained_comparison as trained_view
from nas.views.comparison_page import comparison_page

WITHOUT_TRAINING = ("evaluator", "space")
OF_PLAN = ("seeds", "equal")
OF_TRAINING = (*OF_PLAN, *SHARED, "out")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Put networks side by side: structure, cost, predicted accuracy and its noise; with --train, their accuracy on "
        "your images. The last one is the reference."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="*", help=f"two or more: {NETWORK}")
    add_options(parser, nas.api.compare, ("evaluator", "space"))
    parser.add_argument(
        "--reference", metavar="SPEC", help="network that the others are compared with (default: the last)"
    )
    parser.add_argument("--train", action="store_true", help="train every SPEC on --data, and compare their accuracies")
    add_trainings(parser, "comparison", ComparisonOptions, Plan, OF_PLAN, title="trainings", condition=" with --train")
    add_page(parser, "the comparison and figures, such as the paper's Figure 1")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Put networks side by side."""
    if arguments.train or arguments.resume:
        _run_trained(arguments)
        return
    refuse(arguments, ("data", *OF_TRAINING), "{} needs --train")
    refuse_options(arguments, Execution, "{} needs --train")
    if arguments.html:
        check_new(arguments.html, field="html")
    judges = given(arguments, nas.api.compare)
    names = {name: judges[name] for name in ("evaluator", "space") if name in judges}
    comparison = nas.api.compare(arguments.spec, reference=arguments.reference, **names)
    show_found(arguments, view, comparison, comparison_page)


def _run_trained(arguments: argparse.Namespace) -> None:
    """Train networks side by side, or resume, and show what their differences mean."""
    way = "--resume" if arguments.resume else "--train"
    refuse(arguments, WITHOUT_TRAINING, f"{{}} cannot be combined with {way}")
    run_trainings(
        arguments,
        COMPARISON,
        trained_view,
        fixed=("spec", "reference", *OF_PLAN, *SHARED),
        expected="two or more SPEC and --data with --train",
        create=lambda folder, where: _created(arguments, folder, where),
        run=run_comparison,
    )


def _created(arguments: argparse.Namespace, folder: Path, where: Mapping[str, Any]) -> ImageData:
    """Create the folder of a comparison. Returns the images."""
    subjects = nas.api.side_by_side(arguments.spec, arguments.reference)
    plan = Plan(tuple(subject.name for subject in subjects), **given(arguments, Plan))
    options = ComparisonOptions(**given(arguments, ComparisonOptions))
    data = COMPARISON.images(folder, arguments.data, options, where)
    create_comparison(folder, plan, subjects, data, options, where)
    return data
