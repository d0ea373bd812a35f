"""`mnas train`, `mnas evaluate` and `mnas cam`: networks trained on a person's own images."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.comparators import counts_of, load_any
from baselines.console import (
    Commands,
    count,
    labelled,
    macs_text,
    number,
    pointer,
    points,
    print_json,
    quantity,
    refuse,
    show,
    titled_table,
    whole,
)
from baselines.files import file_name, new_folder
from baselines.interrupts import interruptible
from search_spaces import MnasError

if TYPE_CHECKING:
    from rich.table import Table

    from baselines.training.data import ImageData
    from baselines.training.evaluate import Evaluation
    from baselines.training.memory_plan import MemoryPlan
    from baselines.training.run import Subject, TrainingSettings
    from baselines.training.train import Progress

# What a training is begun with; only its learning rate may be another when it goes on.
OF_A_NEW_ONE = (
    *("spec", "data", "recipe", "epochs", "batch", "resolution", "width", "seed", "weights", "precision", "devices"),
    *("memory", "micro_batch", "plan", "compile", "out"),
)
# Of classes with the lowest recall, so many are shown.
SHOWN_CLASSES = 20


def register(commands: Commands) -> None:
    """Add the commands."""
    from baselines.training.recipe import RECIPES

    text = (
        "Train a network on images of your own. A part of them is held out for validation; the test part is left to "
        "mnas evaluate."
    )
    parser = commands.add_parser("train", help="train a network on your images", description=text)
    parser.add_argument(
        "spec", metavar="SPEC", nargs="?", help="name of a baseline, path of a spec file, or torchvision:NAME"
    )
    parser.add_argument("--data", help="images: a folder, an archive, hf:NAME or torchvision:NAME (docs/training.md)")
    parser.add_argument("--recipe", help=f"{', '.join(RECIPES)} (default: cifar)")
    parser.add_argument("--epochs", type=count, help="passes over the images (default: the recipe's)")
    parser.add_argument("--batch", type=count, help="images a step (default: the recipe's)")
    parser.add_argument("--learning-rate", type=number, help="peak, for 256 images a step (default: the recipe's)")
    parser.add_argument("--resolution", type=count, help="side of the images in pixels (default: that of the images)")
    parser.add_argument("--width", type=number, help="factor on all channels (default: 1)")
    parser.add_argument("--seed", type=whole, help="of everything random (default: 0)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="to begin with, but for the classifier")
    parser.add_argument("--precision", help="auto, fp32, bf16 or fp16 (default: auto)")
    parser.add_argument(
        "--devices", type=count, help="GPUs to divide a batch among (default: all; one process on a CPU)"
    )
    parser.add_argument(
        "--memory", type=quantity, help="bytes to stay within: 6G (default: nine tenths of what is free)"
    )
    parser.add_argument(
        "--micro-batch", type=count, help="images at once at most (default: as many as the memory takes)"
    )
    parser.add_argument("--plan", action="store_true", default=None, help="print what memory it will take, and stop")
    parser.add_argument(
        "--compile", action="store_true", default=None, help="compile the network; pays on long runs on a GPU"
    )
    parser.add_argument("--out", type=Path, help="folder of the training, new or empty (default: a new one in runs/)")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a training that was interrupted")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_train)

    text = "Evaluate a trained network on images that it was not trained on: one crop each, as published."
    parser = commands.add_parser("evaluate", help="what a trained network is worth", description=text)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="of a training")
    parser.add_argument("--data", help="other images, with the same classes (default: those of the training)")
    parser.add_argument("--part", default="test", help="train, val or test (default: test)")
    parser.add_argument("--raw", action="store_true", help="the last weights, not their moving average")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_evaluate)

    text = (
        "Draw where trained networks see a class: class activation maps of the same images side by side, as figure 7 "
        "of EfficientNet."
    )
    parser = commands.add_parser("cam", help="where trained networks look", description=text)
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="of trainings, one or several")
    parser.add_argument("--images", metavar="FILE", type=Path, nargs="+", required=True, help="image files")
    parser.add_argument("--method", default="cam", help="cam or grad-cam (default: cam)")
    parser.add_argument("--class", dest="of_class", metavar="NAME", help="whose maps (default: what each answers)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="picture to write, such as cam.png")
    parser.set_defaults(run=run_cam)


def run_train(arguments: argparse.Namespace) -> None:
    """Train a network, or go on."""
    from baselines.training.run import begin, network_of, opened, relearn, run_training, trained_network

    if arguments.resume:
        refuse(arguments, OF_A_NEW_ONE, "a training that was begun has its own; leave {} out")
        folder: Path = arguments.resume
        data = None
        if arguments.learning_rate is not None:
            relearn(folder, arguments.learning_rate)
        subject, settings = opened(folder)
    else:
        data, subject, settings, plan = _planned(arguments)
        if arguments.plan:
            _show_plan(subject, settings, plan, as_json=arguments.json)
            return
        folder = arguments.out or new_folder(f"train-{file_name(subject.name)}-seed{settings.seed}")
        begin(folder, subject, settings)
    if not arguments.json:
        show(
            labelled("Training", _network_text(subject)),
            f"{settings.recipe.epochs} epochs, {_batch_text(settings)}, seed {settings.seed}, into {folder}",
        )
    from baselines.training.train import DivergenceError

    try:
        with training_progress(settings.recipe.epochs) as watch, interruptible() as stop:
            data, steps = run_training(folder, watch, stop, data)
    except DivergenceError as error:
        again = f"mnas train --resume {shlex.quote(str(folder))} --learning-rate {settings.recipe.learning_rate / 4:g}"
        raise MnasError(f"{error}; go on with a lower rate: {again}") from None
    except KeyboardInterrupt:
        print(f"mnas: go on with: mnas train --resume {shlex.quote(str(folder))}", file=sys.stderr)
        raise
    from baselines.training.evaluate import evaluate

    side = network_of(subject).resolution
    found = evaluate(trained_network(folder)[2], data.val, side, at_once=settings.at_once)
    if arguments.json:
        print_json({"out": str(folder), "data": data.about(), "steps": steps, "val": found.as_dict()})
        return
    show(
        labelled("Validation", _summary(found)),
        *skipped_lines(data),
        pointer("Folder:", str(folder)),
        pointer("Next:", f"mnas evaluate {shlex.quote(str(folder))}"),
        pointer("Watch:", f"tensorboard --logdir {shlex.quote(str(folder))}"),
    )


def _planned(arguments: argparse.Namespace) -> tuple[ImageData, Subject, TrainingSettings, MemoryPlan]:
    """Images, network, settings and memory of a new training; nothing is written."""
    from baselines.training.data import load_data
    from baselines.training.recipe import load_recipe
    from baselines.training.run import TrainingSettings, check_empty, check_installed, planned

    if not arguments.spec or not arguments.data:
        raise MnasError("train: give SPEC and --data, or --resume FOLDER (see mnas train --help)")
    recipe = load_recipe(arguments.recipe or "cifar").shortened(arguments.epochs)
    check_installed()
    if arguments.out:
        check_empty(arguments.out)
    seed = arguments.seed or 0
    subject, data = load_any(arguments.spec), load_data(arguments.data, seed)
    return data, *planned(
        subject,
        data,
        TrainingSettings(
            data=arguments.data,
            recipe=recipe.with_values(batch=arguments.batch, learning_rate=arguments.learning_rate),
            seed=seed,
            precision=arguments.precision or "auto",
            compiled=int(arguments.compile or False),
            devices=arguments.devices or 0,
            weights="" if arguments.weights is None else str(arguments.weights),
        ),
        resolution=arguments.resolution,
        width=1.0 if arguments.width is None else arguments.width,
        memory=arguments.memory,
        micro_batch=arguments.micro_batch,
    )


def _network_text(subject: Subject) -> str:
    from baselines.training.run import network_of

    network = network_of(subject)
    return f"{subject.name} at {network.resolution} px: {macs_text(counts_of(network)[0])} MACs"


def _batch_text(settings: TrainingSettings) -> str:
    """How a batch is trained on."""
    text = f"{settings.recipe.batch} images a step"
    if settings.devices > 1:
        text += f" on {settings.devices} devices"
    if settings.micro_batches > 1:
        text += f" in {settings.micro_batches} parts"
    return text + (", blocks computed again" if settings.recompute else "")


def _show_plan(subject: Subject, settings: TrainingSettings, plan: MemoryPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(plan), "micro_batch": plan.micro_batch, "peak": plan.peak})
        return
    rows = {
        "the process itself": plan.process,
        "weights, gradients, optimizer, average": plan.state,
        f"the {plan.batch} images of a batch": plan.inputs,
        f"maps of {plan.micro_batch} at once, {plan.per_image / 1e6:,.0f} MB each": plan.micro_batch * plan.per_image,
        "together": plan.peak,
        "there is": plan.limit,
    }
    table = titled_table("Memory", [("", "left"), ("GB", "right")])
    for name, size in rows.items():
        if size:
            table.add_row(name, f"{size / 1e9:.2f}")
    show(
        labelled("Training", _network_text(subject)),
        table,
        labelled("Plan:", _batch_text(settings)),
        f"The maps are {plan.measured:.2f} times the cost model's, by two steps that were trained and measured."
        if plan.measured
        else "The maps are the cost model's; there is no room to measure.",
        *(
            ["Stem, blocks and head are computed twice, which takes about a third more time, with the same result."]
            if plan.recompute
            else []
        ),
        *(
            ["Batch norm sees one part at a time; gradients are those of the whole batch otherwise."]
            if plan.micro_batches > 1
            else []
        ),
    )


@contextmanager
def training_progress(epochs: int) -> Iterator[Any]:
    """A bar on stderr with images/s and time left; where that is no terminal, a line an epoch."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = [TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=12), TextColumn("left")]
    with Bar(
        *columns,
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("", total=None, epoch=f"0/{epochs}")

        def watch(progress: Progress) -> None:
            text = f"loss {progress.loss:.3f}, {progress.images_per_second:,.0f} images/s"
            epoch = f"{progress.epoch}/{epochs}"
            if progress.accuracy is not None:
                text += f", val {points(progress.accuracy)}"
                if bar.disable:
                    print(f"epoch {epoch}  {text}", file=sys.stderr, flush=True)
            bar.update(task, total=progress.steps, completed=progress.step, description=text, epoch=epoch)

        yield watch


def _summary(found: Evaluation) -> str:
    low, high = found.interval
    return (
        f"top-1 {points(found.top1)} of {found.images:,} images (95 % interval {100 * low:.2f} to {100 * high:.2f} %), "
        f"top-5 {points(found.top5)}, loss {found.loss:.4f}"
    )


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate what a folder has trained."""
    from baselines.training.data import PARTS, load_to_judge
    from baselines.training.evaluate import evaluate
    from baselines.training.run import data_of, network_of, trained_network

    if arguments.part not in PARTS:
        raise MnasError(f"part: {arguments.part!r} is none of {', '.join(PARTS)}; choose one")
    subject, settings, network = trained_network(arguments.folder, raw=arguments.raw)
    if arguments.data:
        data = load_to_judge(arguments.data, settings.classes, settings.fingerprint, settings.seed, arguments.part)
    else:
        data = data_of(settings)
    found = evaluate(network, getattr(data, arguments.part), network_of(subject).resolution, at_once=settings.at_once)
    if arguments.json:
        print_json({"spec": subject.name, "data": data.about(), "part": arguments.part, **found.as_dict()})
        return
    other = data.fingerprint != settings.fingerprint
    show(
        labelled(f"{subject.name} on the {arguments.part} part of {data.source}:", _summary(found)),
        _class_table(found, settings.classes),
        *skipped_lines(data),
        *(("These are other images than the training's; whether it saw some of them is not known.",) if other else ()),
        "The interval is for other images of the same kind; another training differs by its own luck too.",
    )


def skipped_lines(data: ImageData) -> list[str]:
    """What there is to say of images that cannot be read."""
    return [f"{len(data.skipped)} images could not be read, such as {data.skipped[0]}"] if data.skipped else []


def _class_table(found: Evaluation, classes: Sequence[str]) -> Table:
    """Recall of each class and what it is most often taken for, worst first."""
    recall = found.recall()
    judged = [label for label in range(len(recall)) if not math.isnan(recall[label])]
    worst: Sequence[int] = sorted(judged, key=lambda label: recall[label])[:SHOWN_CLASSES]
    columns = [("class", "left"), ("images", "right"), ("recall", "right"), ("most often taken for", "left")]
    shown = f", the {len(worst)} worst of {len(judged)}" if len(worst) < len(judged) else ""
    table = titled_table(f"Classes{shown}", columns)
    for label in worst:
        row = found.confusion[label].copy()
        total, row[label] = int(row.sum()), 0
        other = int(row.argmax())
        mistaken = f"{classes[other]} ({row[other]})" if row[other] else ""
        table.add_row(classes[label], str(total), points(recall[label]), mistaken)
    return table


def run_cam(arguments: argparse.Namespace) -> None:
    """Draw class activation maps."""
    from baselines.files import check_new, write_new
    from baselines.training.cam import Column, cam_grid
    from baselines.training.run import trained_network
    from search_spaces.network import Network

    check_new(arguments.out)
    if arguments.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise MnasError(f"out: {arguments.out} is no picture; end it in .png, .jpg or .webp")
    columns = []
    for folder in arguments.folders:
        trained, settings, network = trained_network(folder)
        if not isinstance(network, Network):
            raise MnasError(f"cam: {folder} has a network of torchvision, whose last map is unknown; leave it out")
        name = trained.name if len(arguments.folders) == 1 else folder.name
        columns.append(Column(name, network, settings.classes))
    grid = cam_grid(columns, arguments.images, arguments.method, arguments.of_class)
    write_new(arguments.out, grid.save)
    show(pointer("Written:", str(arguments.out)))
