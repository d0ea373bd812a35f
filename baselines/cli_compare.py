"""`mnas compare --train`: networks trained side by side on a person's own images."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.cli_train import skipped_lines, training_progress
from baselines.comparators import load_any
from baselines.console import (
    count,
    labelled,
    millions,
    number,
    pointer,
    points,
    print_json,
    quantity,
    refuse,
    show,
    titled_table,
)
from baselines.files import new_folder
from baselines.interrupts import interruptible
from search_spaces import MnasError

if TYPE_CHECKING:
    from rich.table import Table

    from baselines.training.comparison import Contestant, PairedDifference, Plan
    from baselines.training.run import TrainingSettings

WITHOUT_TRAINING = ("evaluator", "space", "html")
# What is of use with --train alone, as argparse names it.
OF_TRAINING = ("recipe", "seeds", "equal", "epochs", "batch", "learning_rate", "resolution", "width", "memory", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of training to the command."""
    group = parser.add_argument_group("with --train")
    group.add_argument("--train", action="store_true", help="train every SPEC on --data, and compare what comes of it")
    group.add_argument("--data", help="images (see mnas train)")
    group.add_argument("--recipe", help="of all networks (default: cifar)")
    group.add_argument("--seeds", type=count, help="trainings of each network (default: 3)")
    group.add_argument("--equal", help="epochs, or macs in all of a training (default: epochs)")
    group.add_argument("--epochs", type=count, help="passes over the images (default: the recipe's)")
    group.add_argument("--batch", type=count, help="images a step (default: the recipe's)")
    group.add_argument("--learning-rate", type=number, help="peak, for 256 images a step (default: the recipe's)")
    group.add_argument("--resolution", type=count, help="side of the images in pixels (default: that of the images)")
    group.add_argument("--width", type=number, help="factor on all channels (default: 1)")
    group.add_argument("--memory", type=quantity, help="bytes to stay within (default: nine tenths of what is free)")
    group.add_argument("--out", type=Path, help="folder of the trainings, new or empty (default: a new one in runs/)")
    group.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a comparison that was interrupted")


def check_options(arguments: argparse.Namespace) -> None:
    """Raise `MnasError` where options of training are given without ``--train``."""
    refuse(arguments, ("data", "resume", *OF_TRAINING), "goes with --train; give it too, or leave {} out")


def run_trained_comparison(arguments: argparse.Namespace) -> None:
    """Train networks side by side, or go on, and say what their differences are worth."""
    from baselines.training.comparison import opened_comparison, paired_difference, run_comparison

    refuse(arguments, WITHOUT_TRAINING, "goes without --train; leave --train or {} out")
    if arguments.resume:
        if arguments.specs or arguments.data:
            raise MnasError("resume: a comparison has its own networks and data; leave SPEC and --data out")
        refuse(arguments, OF_TRAINING, "a comparison that was begun has its own; leave {} out")
        folder: Path = arguments.resume
    else:
        folder = _begun(arguments)
    plan = opened_comparison(folder)
    from baselines.training.train import DivergenceError

    try:
        with interruptible() as stop:
            found, settings = run_comparison(folder, _training, stop)
    except DivergenceError as error:
        raise MnasError(f"{error}; compare anew, with a lower --learning-rate for all networks") from None
    except KeyboardInterrupt:
        print(f"mnas: go on with: mnas compare --train --resume {shlex.quote(str(folder))}", file=sys.stderr)
        raise
    differences = [paired_difference(one, found[-1]) for one in found[:-1]]
    if arguments.json:
        print_json(
            {
                "out": str(folder),
                **asdict(plan),
                "recipe": asdict(settings.recipe),
                "data": {"source": settings.data, "fingerprint": settings.fingerprint},
                "networks": [
                    {
                        "name": one.name,
                        "macs": one.macs,
                        "params": one.params,
                        "epochs": one.epochs,
                        "top1": one.accuracies,
                        "mean": one.mean,
                        "std": one.std,
                    }
                    for one in found
                ],
                "differences": [{**asdict(one), "verdict": one.verdict} for one in differences],
            }
        )
        return
    show(
        labelled("Trained", _how(plan, settings)),
        _table(found),
        *(_sentence(one, plan) for one in differences),
        f"Top-1 on {found[-1].hits.shape[1]:,} test images, which no training saw; ± is from one seed to the next.",
        "The interval is for other seeds and other images of the same kind, under this recipe.",
        pointer("Folder:", str(folder)),
        pointer("Watch:", f"tensorboard --logdir {shlex.quote(str(folder))}"),
    )


@contextmanager
def _training(what: str, epochs: int) -> Iterator[Any]:
    print(f"mnas: {what}", file=sys.stderr, flush=True)
    with training_progress(epochs) as watch:
        yield watch


def _begun(arguments: argparse.Namespace) -> Path:
    """The folder of a new comparison."""
    from baselines.training.comparison import Plan, begin_comparison
    from baselines.training.data import load_data
    from baselines.training.recipe import load_recipe
    from baselines.training.run import TrainingSettings, check_empty, check_installed, planned

    if not arguments.specs or not arguments.data:
        raise MnasError("compare: --train takes two SPEC or more and --data, or --resume FOLDER")
    subjects = [load_any(name) for name in arguments.specs]
    plan = Plan(tuple(subject.name for subject in subjects), arguments.seeds or 3, arguments.equal or "epochs")
    recipe = load_recipe(arguments.recipe or "cifar").shortened(arguments.epochs)
    recipe = recipe.with_values(batch=arguments.batch, learning_rate=arguments.learning_rate)
    check_installed()
    if arguments.out:
        check_empty(arguments.out)
    data = load_data(arguments.data)
    for line in skipped_lines(data):
        print(f"mnas: {line}", file=sys.stderr)
    if not len(data.test):
        raise MnasError(f"data: {arguments.data} has no test images; give a folder test, or one folder to be divided")
    trainings = []
    for subject in subjects:
        settings = TrainingSettings(data=arguments.data, recipe=recipe, devices=0)
        options = {"resolution": arguments.resolution, "width": arguments.width or 1.0, "memory": arguments.memory}
        trainings.append(planned(subject, data, settings, **options)[:2])
    folder: Path = arguments.out or new_folder("compare")
    begin_comparison(folder, plan, trainings)
    return folder


def _how(plan: Plan, settings: TrainingSettings) -> str:
    """How all were trained, on what."""
    recipe = settings.recipe
    equal = "epochs by MACs" if plan.equal == "macs" else f"{recipe.epochs} epochs"
    parts = f" in {settings.micro_batches} parts" if settings.micro_batches > 1 else ""
    return f"on {settings.data}: {equal}, {recipe.batch} images a step{parts}, seeds 0 to {plan.seeds - 1}"


def _table(found: Sequence[Contestant]) -> Table:
    columns = [("network", "left"), ("MACs", "right"), ("params", "right"), ("epochs", "right")]
    columns += [("MACs in all", "right"), ("top-1", "right"), ("of each seed, %", "left")]
    spent = found[-1].macs * found[-1].epochs
    table = titled_table("Top-1 on the test part", columns)
    for one in found:
        each = ", ".join(f"{100 * value:.2f}" for value in one.accuracies)
        counts = (millions(one.macs), millions(one.params), str(one.epochs), f"×{one.macs * one.epochs / spent:.2f}")
        table.add_row(one.name, *counts, points(one.mean, one.std), each)
    return table


def _sentence(difference: PairedDifference, plan: Plan) -> Any:
    """What a difference is worth, in words."""
    size = (
        f"{100 * abs(difference.mean):.2f} points {'above' if difference.mean >= 0 else 'below'} {difference.reference}"
    )
    if difference.interval is None:
        return labelled(f"{difference.name}:", f"{size}, of one seed; whether that is luck takes --seeds 3 or more")
    low, high = (100 * end for end in difference.interval)
    meaning = {
        "better": "it is better",
        "worse": "it is worse",
        "tie": "a tie",
    }[difference.verdict]
    return labelled(
        f"{difference.name}:",
        f"{size} (95 % interval {low:+.2f} to {high:+.2f}, {plan.seeds} pairs of one seed); {meaning}",
    )
