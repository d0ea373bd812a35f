"""`mnas family`: a baseline scaled into a family; with --train, its accuracy on images."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import SPEC, add_json, add_options, add_page, given, refuse, refuse_options
from baselines.views.terminal import print_json, show
from nas.commands.trainings import SHARED, add_trainings, run_trainings
from nas.executors.base import Execution
from scaling.families import Family, FamilyMembers, family
from scaling.rules import RULES
from scaling.studies.baseline import StudyOptions
from scaling.studies.family_training import FAMILY, FamilyPlan, create_family, run_family
from scaling.views import family as view
from scaling.views import trained_family as trained_view
from search_spaces import MnasError

MEMBERS = ("presets", "rule", "macs", "alpha", "beta", "gamma")
TRAINED = ("comparators", "seeds", "equal")
OF_TRAINING = ("data", "html", "out", *TRAINED)


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
    parser.add_argument("--train", action="store_true", help="train all members on --data instead of writing specs")
    add_trainings(parser, "family", StudyOptions, FamilyPlan, TRAINED, title="trainings", condition=" with --train")
    add_page(parser, "tables, curves and the paper's Figure 1")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write a family, or train it."""
    if arguments.train or arguments.resume:
        _train(arguments)
        return
    refuse(arguments, OF_TRAINING, "{} needs --train")
    refuse(arguments, (name for name in SHARED if name != "activation"), "{} needs --train")
    refuse_options(arguments, Execution, "{} needs --train")
    if not arguments.spec:
        raise MnasError("family: expected SPEC")
    found = family(arguments.spec, **given(arguments, family))
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
    way = "--resume" if arguments.resume else "--train"
    if arguments.latency:
        raise MnasError(
            f"latency: --latency cannot be combined with {way}; measure the trained networks with mnas latency"
        )
    refuse(arguments, ("specs",), f"{{}} cannot be combined with {way}")
    run_trainings(
        arguments,
        FAMILY,
        trained_view,
        fixed=("spec", *MEMBERS, *TRAINED, *SHARED),
        expected="SPEC and --data with --train",
        create=lambda folder, where: create_family(
            folder,
            arguments.spec,
            arguments.data,
            FamilyPlan(**given(arguments, FamilyPlan)),
            StudyOptions(**given(arguments, StudyOptions)),
            where,
        ),
        run=run_family,
    )
