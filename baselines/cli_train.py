"""`mnas train` and `mnas evaluate`: networks trained on a person's own images."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.console import (
    Commands,
    count,
    labelled,
    macs_text,
    number,
    pointer,
    points,
    print_json,
    show,
    titled_table,
    whole,
)
from baselines.files import new_folder
from baselines.interrupts import interruptible
from baselines.registry import load
from search_spaces import MnasError, architecture_cost

if TYPE_CHECKING:
    from rich.table import Table

    from baselines.training.data import ImageData
    from baselines.training.evaluate import Evaluation
    from baselines.training.train import Progress

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
    parser.add_argument("spec", metavar="SPEC", nargs="?", help="name of a baseline, or path of a spec file")
    parser.add_argument("--data", help="images: a folder, an archive, hf:NAME or torchvision:NAME (docs/training.md)")
    parser.add_argument("--recipe", default="cifar", help=f"{', '.join(RECIPES)} (default: cifar)")
    parser.add_argument("--epochs", type=count, help="passes over the images (default: the recipe's)")
    parser.add_argument("--batch", type=count, help="images a step (default: the recipe's)")
    parser.add_argument("--learning-rate", type=number, help="peak, for 256 images a step (default: the recipe's)")
    parser.add_argument("--resolution", type=count, help="side of the images in pixels (default: that of the images)")
    parser.add_argument("--width", type=number, default=1.0, help="factor on all channels (default: 1)")
    parser.add_argument("--seed", type=whole, default=0, help="of everything random (default: 0)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="to begin with, but for the classifier")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    parser.add_argument("--micro-batch", type=count, help="images at once; their gradients are added up")
    parser.add_argument("--compile", action="store_true", help="compile the network; pays on long runs on a GPU")
    parser.add_argument("--out", type=Path, help="folder of the training, new or empty (default: a new one in runs/)")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a training that was interrupted")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_train)

    text = "Evaluate a trained network on images that it was not trained on: one crop each, as published."
    parser = commands.add_parser("evaluate", help="what a trained network is worth", description=text)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="of a training")
    parser.add_argument("--data", help="other images, with the same classes (default: those of the training)")
    parser.add_argument("--part", default="test", help="train, val or test (default: test)")
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
    from baselines.training.run import opened, run_training

    if arguments.resume:
        if arguments.spec or arguments.data:
            raise MnasError("resume: a training has its own network and data; leave SPEC and --data out")
        folder: Path = arguments.resume
        spec, settings = opened(folder)
    else:
        folder = _begun(arguments)
        spec, settings = opened(folder)
    recipe = settings.recipe
    if not arguments.json:
        macs = architecture_cost(spec.architecture).macs
        show(
            labelled("Training", f"{spec.name} at {spec.architecture.resolution} px: {macs_text(macs)} MACs"),
            f"{recipe.epochs} epochs, {recipe.batch} images a step, seed {settings.seed}, into {folder}",
        )
    try:
        with _progress(recipe.epochs) as watch, interruptible() as stop:
            trained, data = run_training(folder, watch, stop)
    except KeyboardInterrupt:
        print(f"mnas: go on with: mnas train --resume {shlex.quote(str(folder))}", file=sys.stderr)
        raise
    from baselines.training.evaluate import evaluate

    found = evaluate(trained.averaged, data.val, spec.architecture.resolution)
    if arguments.json:
        print_json({"out": str(folder), "data": data.about(), "steps": trained.steps, "val": found.as_dict()})
        return
    show(
        labelled("Validation", _summary(found)),
        *((f"{len(data.skipped)} files could not be read, such as {data.skipped[0]}",) if data.skipped else ()),
        pointer("Folder:", str(folder)),
        pointer("Next:", f"mnas evaluate {shlex.quote(str(folder))}"),
    )


def _begun(arguments: argparse.Namespace) -> Path:
    """The folder of a new training."""
    from baselines.training.data import load_data
    from baselines.training.recipe import load_recipe
    from baselines.training.run import TrainingSettings, begin, check_installed, trained_spec
    from baselines.training.train import PRECISIONS

    if not arguments.spec or not arguments.data:
        raise MnasError("train: give SPEC and --data, or --resume FOLDER (see mnas train --help)")
    if arguments.precision not in PRECISIONS:
        raise MnasError(f"precision: {arguments.precision!r} is none of {', '.join(PRECISIONS)}; choose one")
    check_installed()
    recipe = load_recipe(arguments.recipe)
    if arguments.epochs is not None and arguments.epochs < recipe.warmup_epochs:
        recipe = recipe.with_values(warmup_epochs=0.0)
    recipe = recipe.with_values(epochs=arguments.epochs, batch=arguments.batch, learning_rate=arguments.learning_rate)
    spec = load(arguments.spec)
    data = load_data(arguments.data, arguments.seed, lambda text: print(f"mnas: {text}", file=sys.stderr, flush=True))
    spec = trained_spec(spec, data, arguments.resolution, arguments.width)
    folder: Path = arguments.out or new_folder(f"train-{spec.name}-seed{arguments.seed}")
    settings = TrainingSettings(
        data=arguments.data,
        fingerprint=data.fingerprint,
        classes=data.classes,
        recipe=recipe,
        seed=arguments.seed,
        precision=arguments.precision,
        micro_batch=arguments.micro_batch,
        compiled=int(arguments.compile),
        weights="" if arguments.weights is None else str(arguments.weights),
    )
    begin(folder, spec, settings)
    return folder


@contextmanager
def _progress(epochs: int) -> Iterator[Any]:
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
    from baselines.training.data import PARTS, load_data
    from baselines.training.evaluate import evaluate
    from baselines.training.run import trained_network

    if arguments.part not in PARTS:
        raise MnasError(f"part: {arguments.part!r} is none of {', '.join(PARTS)}; choose one")
    spec, settings, network = trained_network(arguments.folder)
    data = load_data(arguments.data or settings.data, settings.seed)
    if data.classes != settings.classes:
        other = min(set(data.classes) ^ set(settings.classes), default="another order")
        raise MnasError(
            f"data: {data.source} has not the classes of the training (such as {other!r}); give images with the same"
        )
    found = evaluate(network, getattr(data, arguments.part), spec.architecture.resolution)
    if arguments.json:
        print_json({"spec": spec.name, "data": data.about(), "part": arguments.part, **found.as_dict()})
        return
    show(
        labelled(f"{spec.name} on the {arguments.part} part of {data.source}:", _summary(found)),
        _class_table(found, data),
        "The interval is for other images of the same kind; another training differs by its own luck too.",
    )


def _class_table(found: Evaluation, data: ImageData) -> Table:
    """Recall of each class and what it is most often taken for, worst first."""
    recall = found.recall()
    worst: Sequence[int] = sorted(range(len(recall)), key=lambda label: recall[label])[:SHOWN_CLASSES]
    columns = [("class", "left"), ("images", "right"), ("recall", "right"), ("most often taken for", "left")]
    shown = f", the {len(worst)} worst of {len(recall)}" if len(worst) < len(recall) else ""
    table = titled_table(f"Classes{shown}", columns)
    for label in worst:
        row = found.confusion[label].copy()
        total, row[label] = int(row.sum()), 0
        other = int(row.argmax())
        mistaken = f"{data.classes[other]} ({row[other]})" if row[other] else ""
        table.add_row(data.classes[label], str(total), points(recall[label]), mistaken)
    return table


def run_cam(arguments: argparse.Namespace) -> None:
    """Draw class activation maps."""
    from baselines.files import check_new, write_new
    from baselines.training.cam import Subject, cam_grid
    from baselines.training.run import trained_network

    check_new(arguments.out)
    if arguments.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise MnasError(f"out: {arguments.out} is no picture; end it in .png, .jpg or .webp")
    subjects = []
    for folder in arguments.folders:
        spec, settings, network = trained_network(folder)
        name = spec.name if len(arguments.folders) == 1 else folder.name
        subjects.append(Subject(name, network, settings.classes))
    grid = cam_grid(subjects, arguments.images, arguments.method, arguments.of_class)
    write_new(arguments.out, grid.save)
    show(pointer("Written:", str(arguments.out)))
