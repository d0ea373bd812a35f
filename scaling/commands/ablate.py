"""`mnas ablate`: depth, width, resolution and compound rules at the same real cost, trained and compared."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from baselines.commands.options import SPEC, add_data, add_json, add_options, add_page, add_place, given, refuse
from baselines.files import check_new, new_folder
from baselines.training.recipe import RECIPES
from baselines.views.evaluation import skipped_lines
from baselines.views.terminal import pointer, print_json, show
from nas.commands.compare import DEFAULTS, SHARED
from nas.executors.base import EXECUTORS, Execution
from scaling.studies.ablation import AblationPlan, create_ablation, resume_command, run_ablation
from scaling.studies.baseline import StudyOptions
from scaling.views import ablation as view
from search_spaces import MnasError
from search_spaces.architecture import ACTIVATIONS

PLAN = ("target", "rules", "equal", "seeds", "regularise")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Scale a baseline in depth alone, width alone, resolution alone and by compound rules to the same real cost, "
        "train all with the same recipe and seeds, and tell which is better, or that they cannot be told apart. "
        "--resolution and --width are those of the baseline."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="?", help=SPEC)
    add_data(parser)
    add_options(parser, AblationPlan, PLAN, defaults={"rules": ",".join(AblationPlan().rules)})
    add_options(parser, StudyOptions, SHARED, choices={"recipe": RECIPES, "activation": ACTIVATIONS})
    add_place(parser, "ablation")
    add_page(parser, "tables, curves and maps")
    add_options(parser, Execution, title="where trainings run", choices={"executor": EXECUTORS}, defaults=DEFAULTS)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run an ablation, or the rest of it."""
    if arguments.html:
        check_new(arguments.html, field="html")
    if arguments.resume:
        reason = "{} cannot be combined with --resume, which uses the options of the ablation"
        refuse(arguments, ("spec", "data", "out", *PLAN, *SHARED), reason)
        folder: Path = arguments.resume
    else:
        folder = _created(arguments)
    try:
        found = run_ablation(folder, given(arguments, Execution))
    except KeyboardInterrupt:
        print(f"mnas: resume with: {resume_command(folder)}", file=sys.stderr)
        raise
    if arguments.html:
        view.page(found).write(arguments.html)
    if arguments.json:
        print_json(view.data(found))
        return
    show(*view.text(found))
    if arguments.html:
        show(pointer("Written:", str(arguments.html)))


def _created(arguments: argparse.Namespace) -> Path:
    """The folder of a new ablation."""
    if not arguments.spec or not arguments.data:
        raise MnasError("ablate: expected SPEC and --data, or --resume FOLDER")
    plan = AblationPlan(**given(arguments, AblationPlan))
    options = StudyOptions(**given(arguments, StudyOptions))
    folder: Path = arguments.out or new_folder("ablate")
    data = create_ablation(folder, arguments.spec, arguments.data, plan, options, given(arguments, Execution))
    for line in skipped_lines(data):
        print(f"mnas: {line}", file=sys.stderr)
    return folder
