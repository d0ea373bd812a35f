"""`mnas ablate`: depth, width, resolution and compound rules at the same real cost, trained and compared."""

from __future__ import annotations

import argparse

from baselines.commands.options import SPEC, add_json, add_options, add_page, given
from nas.commands.trainings import SHARED, add_trainings, run_trainings
from scaling.studies.ablation import ABLATION, AblationPlan, create_ablation, run_ablation
from scaling.studies.baseline import StudyOptions
from scaling.views import ablation as view

PLAN = ("target", "rules", "equal", "seeds", "regularise")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Scale a baseline in depth alone, width alone, resolution alone and by compound rules to the same real cost, "
        "train all with the same recipe and seeds, and tell which is better, or that they cannot be told apart. "
        "--resolution and --width are those of the baseline."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="?", help=f"baseline: {SPEC}")
    add_options(parser, AblationPlan, PLAN, defaults={"rules": ",".join(AblationPlan().rules)}, title="variants")
    add_trainings(parser, "ablation", StudyOptions, title="trainings")
    add_page(parser, "tables, curves and maps")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run an ablation, or resume one, and tell which variants cannot be told from the best."""
    run_trainings(
        arguments,
        ABLATION,
        view,
        fixed=("spec", *PLAN, *SHARED),
        expected="SPEC and --data",
        create=lambda folder, where: create_ablation(
            folder,
            arguments.spec,
            arguments.data,
            AblationPlan(**given(arguments, AblationPlan)),
            StudyOptions(**given(arguments, StudyOptions)),
            where,
        ),
        run=run_ablation,
    )
