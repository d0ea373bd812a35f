"""`mnas family`: a baseline scaled into a family; with --train, its accuracy on images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from baselines.commands.options import (
    SPEC,
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
from nas.commands.compare import DEFAULTS, SHARED
from nas.executors.base import EXECUTORS, Execution
from scaling.families import Family, FamilyMembers, family
from scaling.rules import RULES
from scaling.studies.baseline import StudyOptions
from scaling.studies.family_training import FamilyPlan, create_family, resume_command, run_family
from scaling.views import family as view
from scaling.views import trained_family as trained_view
from search_spaces import MnasError
from search_spaces.architecture import ACTIVATIONS

MEMBERS = ("presets", "rule", "macs")
TRAINED = ("comparators", "seeds", "equal")
OF_TRAINING = ("data", "resume", "html", "out", *TRAINED)


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Scale a baseline into a family: write the specs of all members, and show their costs in one table; with "
        "--train, train them on your images with the same recipe."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="?", help=SPEC)
    add_options(parser, FamilyMembers, MEMBERS, choices={"rule": RULES})
    parser.add_argument("--latency", action="store_true", help="also measure all members side by side, as mnas latency")
    parser.add_argument("--specs", type=Path, metavar="FOLDER", help="folder of the spec files (default: specs)")
    group = parser.add_argument_group("training with --train")
    group.add_argument("--train", action="store_true", help="train all members on --data instead of writing specs")
    add_data(group)
    add_options(group, FamilyPlan, TRAINED)
    add_options(group, StudyOptions, SHARED, choices={"recipe": RECIPES, "activation": ACTIVATIONS})
    add_place(group, "family")
    add_page(group, "tables, curves and the paper's Figure 1")
    where = "where trainings run, with --train"
    add_options(parser, Execution, title=where, choices={"executor": EXECUTORS}, defaults=DEFAULTS)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write a family, or train it."""
    if arguments.train:
        _train(arguments)
        return
    refuse(arguments, OF_TRAINING, "{} needs --train")
    refuse(arguments, SHARED, "{} needs --train")
    refuse_options(arguments, Execution, "{} needs --train")
    if not arguments.spec:
        raise MnasError("family: expected SPEC")
    found = family(arguments.spec, **given(arguments, FamilyMembers))
    files = found.write(arguments.specs)
    measured = _measured(found) if arguments.latency else None
    if arguments.json:
        print_json(view.data(found, files, measured))
    else:
        show(*view.text(found, files, measured))


def _measured(found: Family) -> view.Measured:
    """The latencies of all members, measured side by side."""
    from baselines.latency import Protocol, Subject, measure
    from search_spaces.network import build_network

    subjects = [
        Subject(spec.name, build_network(spec.architecture), spec.architecture.resolution) for spec in found.specs
    ]
    return subjects, measure(subjects, Protocol()), Protocol()


def _train(arguments: argparse.Namespace) -> None:
    """Train a family, or the rest of it."""
    if arguments.latency:
        raise MnasError(
            "latency: --latency cannot be combined with --train; measure the trained networks with mnas latency"
        )
    refuse(arguments, ("specs",), "{} cannot be combined with --train")
    if arguments.html:
        check_new(arguments.html, field="html")
    if arguments.resume:
        reason = "{} cannot be combined with --resume, which uses the options of the family"
        refuse(arguments, ("spec", "data", "out", *MEMBERS, *TRAINED, *SHARED), reason)
        folder: Path = arguments.resume
    else:
        folder = _created(arguments)
    try:
        found = run_family(folder, given(arguments, Execution))
    except KeyboardInterrupt:
        print(f"mnas: resume with: {resume_command(folder)}", file=sys.stderr)
        raise
    if arguments.html:
        trained_view.page(found).write(arguments.html)
    if arguments.json:
        print_json(trained_view.data(found))
        return
    show(*trained_view.text(found))
    if arguments.html:
        show(pointer("Written:", str(arguments.html)))


def _created(arguments: argparse.Namespace) -> Path:
    """The folder of a new family to train."""
    if not arguments.spec or not arguments.data:
        raise MnasError("family: expected SPEC and --data with --train, or --resume FOLDER")
    plan = FamilyPlan(**given(arguments, FamilyPlan))
    options = StudyOptions(**given(arguments, StudyOptions))
    folder: Path = arguments.out or new_folder("family")
    data = create_family(folder, arguments.spec, arguments.data, plan, options, given(arguments, Execution))
    for line in skipped_lines(data):
        print(f"mnas: {line}", file=sys.stderr)
    return folder
