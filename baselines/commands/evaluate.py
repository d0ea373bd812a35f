"""`mnas evaluate`: accuracy of a trained network on images that it was not trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import add_json
from baselines.training.data.folders import PARTS
from baselines.training.folder import course_of, load_other_data, load_training_data, trained_network
from baselines.training.settings import network_of
from baselines.views import evaluation as view
from baselines.views.terminal import print_json, show
from search_spaces.errors import unknown_name


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Evaluate a trained network on images that it was not trained on, with one crop per image, as in published "
        "results."
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of a training")
    parser.add_argument("--data", help="other images of the same classes (default: those of the training)")
    parser.add_argument("--part", default="test", help=f"{', '.join(PARTS)} (default: test)")
    raw = "use the weights of the last step, not their average or those of the best epoch"
    parser.add_argument("--raw", action="store_true", help=raw)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate the network of a training."""
    from baselines.training.evaluate import evaluate

    if arguments.part not in PARTS:
        raise unknown_name("part", arguments.part, PARTS)
    subject, settings, network = trained_network(arguments.folder, raw=arguments.raw)
    other = arguments.data
    data = load_other_data(other, settings, arguments.part) if other else load_training_data(settings)
    found = evaluate(network, getattr(data, arguments.part), network_of(subject).resolution, at_once=settings.at_once)
    course = course_of(arguments.folder, settings) if settings.recipe.keep == "best" else None
    epoch = course and (course.epochs if arguments.raw else course.kept)
    if arguments.json:
        about = {"spec": subject.name, "data": data.about(), "part": arguments.part}
        print_json({**about, **({"epoch": epoch} if course else {}), **found.as_dict()})
        return
    show(*view.text(found, subject.name, data, arguments.part, settings))
    if course:
        which = "the last" if arguments.raw else "the best on the validation part"
        show(f"The weights are those of epoch {epoch} of {course.epochs}, {which}.")
