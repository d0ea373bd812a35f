"""What the commands of all studies that are made of trainings have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from baselines.commands.options import add_data, add_options, add_place, given, refuse, show_found
from baselines.commands.train import CHOICES
from baselines.files import check_new, new_folder
from baselines.notices import say
from baselines.training.data.balance import recipe_lines
from baselines.training.data.sources import ImageData
from baselines.training.folder import read_training
from baselines.training.settings import TrainingOptions
from baselines.views.evaluation import data_lines, skipped_lines
from nas.executors.base import EXECUTORS, Execution
from nas.studies.comparability import enlarged_notes
from nas.studies.trainings import StudyKind
from search_spaces.errors import MnasError

# Options of a training that are the same for all networks.
SHARED = (
    *("recipe", "set", "epochs", "resolution", "width", "activation", "no_flip", "fit", "channels", "balance"),
    *("batch", "learning_rate", "keep", "patience", "memory"),
)


def add_trainings(
    parser: argparse.ArgumentParser,
    what: str,
    options: type[TrainingOptions],
    plan: Callable[..., Any] | None = None,
    names: Collection[str] = (),
    *,
    title: str,
    condition: str = "",
) -> None:
    """Add the options of a study's trainings.

    Args:
        parser: parser of the command.
        what: the study in a word.
        options: options of all trainings.
        plan: dataclass of the study's plan.
        names: fields of it that are options of the trainings.
        title: title of the group.
        condition: end of the titles, where the options need another one.
    """
    group = parser.add_argument_group(f"{title}{condition}")
    add_data(group)
    if plan is not None:
        add_options(group, plan, names)
    add_options(group, options, SHARED, choices=CHOICES)
    add_place(group, what)
    usual = {"executor": "in-process; with several workers or limits, processes"}
    where = f"where trainings run{condition and ','}{condition}"
    add_options(parser, Execution, title=where, choices={"executor": EXECUTORS}, defaults=usual)


def run_trainings(
    arguments: argparse.Namespace,
    kind: StudyKind,
    view: ModuleType,
    *,
    fixed: Collection[str],
    expected: str,
    create: Callable[[Path, Mapping[str, Any]], ImageData],
    run: Callable[[Path, Mapping[str, Any]], Any],
) -> None:
    """Create a study or resume one, run it, and show its result.

    Args:
        arguments: arguments of the command. Its first positional argument is the first of ``fixed``.
        kind: kind of the study.
        view: module with the views of a result.
        fixed: names of the options that a study keeps, which cannot be given with ``--resume``.
        expected: what a new study needs, for the message.
        create: function that creates the folder of a new study, from the folder and the fields of the execution.
        run: function that runs the study in a folder, with the fields of the execution.
    """
    if arguments.html:
        check_new(arguments.html, field="html")
    where = given(arguments, Execution)
    if arguments.resume:
        folder: Path = arguments.resume
        reason = f"{{}} cannot be combined with --resume, which uses the options of the {kind.name}"
        refuse(arguments, (*fixed, "data", "out"), reason)
    else:
        if not getattr(arguments, next(iter(fixed))) or not arguments.data:
            raise MnasError(f"{kind.words[0]}: expected {expected}, or --resume FOLDER")
        folder = arguments.out or new_folder(kind.words[0])
        data = create(folder, where)
        recipe = TrainingOptions(**given(arguments, TrainingOptions)).chosen_recipe()
        for line in (*data_lines(data), *skipped_lines(data), *recipe_lines(data, recipe)):
            say(f"mnas: {line}")
        firsts = (read_training(one) for one in sorted(folder.glob("*-seed0")))
        for note in enlarged_notes({subject.name: subject for subject, _ in firsts}, data.sides):
            say(f"mnas: {note}.")
    try:
        found = run(folder, where)
    except KeyboardInterrupt:
        say(f"mnas: resume with: {kind.resume(folder)}")
        raise
    show_found(arguments, view, found)
