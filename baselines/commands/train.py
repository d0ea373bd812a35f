"""`mnas train`: train a network on images."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.commands.options import NETWORK, add_data, add_json, add_options, add_place, given, refuse
from baselines.exchange.checkpoints import WEIGHTS_OF
from baselines.files import file_name, new_folder
from baselines.interrupts import interruptible
from baselines.notices import say
from baselines.spec import BaselineSpec
from baselines.subjects import load_subject
from baselines.text import command
from baselines.training.data.fit import FITS
from baselines.training.folder import (
    change_learning_rate,
    change_place,
    check_empty,
    course_of,
    create_training,
    read_training,
    trained_network,
)
from baselines.training.recipe import BALANCES, KEPT, PRECISIONS, RECIPES
from baselines.training.settings import TrainingOptions, check_installed, network_of
from baselines.views import training as view
from baselines.views.terminal import print_json, show
from search_spaces import MnasError
from search_spaces.architecture import ACTIVATIONS

if TYPE_CHECKING:
    from baselines.comparators import Subject
    from baselines.training.data.sources import ImageData
    from baselines.training.memory_plan import MemoryPlan
    from baselines.training.settings import TrainingSettings


CHOICES = {
    "recipe": RECIPES,
    "fit": FITS,
    "keep": KEPT,
    "balance": BALANCES,
    "precision": PRECISIONS,
    "activation": ACTIVATIONS,
    "weights_of": WEIGHTS_OF,
}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Train a network on your images. Part of them is held out for validation; mnas evaluate uses the test part."
    )
    parser.add_argument("spec", metavar="SPEC", nargs="?", help=NETWORK)
    add_data(parser)
    add_options(parser, TrainingOptions, choices=CHOICES)
    parser.add_argument("--plan", action="store_true", default=None, help="print the memory plan and stop")
    add_place(parser, "training")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train a network, or resume a training."""
    import torch

    from baselines.training.evaluate import evaluate
    from baselines.training.launch import run_training
    from baselines.training.loop import DivergenceError

    data = None
    if arguments.resume:
        folder = _resumed(arguments)
    elif arguments.plan:
        data, subject, settings, plan = _planned(arguments)
        if arguments.json:
            print_json({"data": data.about(), **view.plan_data(plan)})
        else:
            show(*view.plan_text(subject, settings, plan, data))
        return
    else:
        data, subject, settings, _ = _planned(arguments)
        folder = arguments.out or new_folder(f"train-{file_name(subject.name)}-seed{settings.seed}")
        create_training(folder, subject, settings)
    subject, settings = read_training(folder)
    if not arguments.json:
        show(*view.started_text(subject, settings, folder, data))
        if arguments.resume:
            show(*view.resumed_text(settings, torch.get_num_threads()))
    resume = command("train", "--resume", folder)
    try:
        with view.training_progress(settings.recipe.epochs) as watch, interruptible(saving=True) as stop:
            data, steps = run_training(folder, watch, stop, data)
    except DivergenceError as error:
        lower = f"{resume} --learning-rate {settings.recipe.learning_rate / 4:g}"
        raise MnasError(f"{error}; resume with a lower learning rate: {lower}") from None
    except KeyboardInterrupt:
        say(f"mnas: resume with: {resume}")
        raise
    found = evaluate(trained_network(folder)[2], data.val, network_of(subject).resolution, at_once=settings.at_once)
    course = course_of(folder, settings)
    if arguments.json:
        about = {"out": str(folder), "data": data.about(), "steps": steps, "course": asdict(course)}
        print_json({**about, "val": found.as_dict()})
        return
    show(*view.finished_text(found, data, folder, settings.recipe, course))


def _resumed(arguments: argparse.Namespace) -> Path:
    """The folder of the training to resume. The learning rate and the place of the images may change."""
    reason = "{} cannot be combined with --resume, which uses the options of the training"
    refuse(arguments, ("spec", "plan", "out"), reason)
    options = given(arguments, TrainingOptions)
    rate = options.pop("learning_rate", None)
    refuse(arguments, options, reason)
    folder: Path = arguments.resume
    if arguments.data:
        change_place(folder, arguments.data)
    if rate is not None:
        change_learning_rate(folder, rate)
    return folder


def _planned(arguments: argparse.Namespace) -> tuple[ImageData, Subject, TrainingSettings, MemoryPlan]:
    """Images, network, settings and memory plan of a new training; nothing is written."""
    from baselines.training.data.sources import load_data
    from baselines.training.launch import planned

    if not arguments.spec or not arguments.data:
        raise MnasError("train: expected SPEC and --data, or --resume FOLDER (see mnas train --help)")
    options = TrainingOptions(**given(arguments, TrainingOptions))
    options.chosen_recipe()
    check_installed()
    if arguments.out:
        check_empty(arguments.out)
    subject = load_subject(arguments.spec)
    channels = options.image_channels
    if options.channels is None and isinstance(subject, BaselineSpec):
        channels = subject.architecture.in_channels
    data = load_data(arguments.data, options.seed, fit=options.fit, channels=channels)
    return data, *planned(subject, data, options)
