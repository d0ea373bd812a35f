"""A training as text: memory plan, progress and result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.comparators import Subject, counts_of
from baselines.notices import has_terminal, notices, say
from baselines.spec import BaselineSpec
from baselines.text import command, counted, macs_text, points
from baselines.training.data.balance import recipe_lines
from baselines.training.settings import TrainingSettings, enlargement, network_of
from baselines.views.evaluation import data_lines, skipped_lines, summary
from baselines.views.terminal import Table, labelled, pointer
from search_spaces.adaptation import TINY_SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from baselines.training.data.sources import ImageData
    from baselines.training.evaluate import Evaluation
    from baselines.training.folder import Course
    from baselines.training.loop import Progress
    from baselines.training.memory_plan import MemoryPlan
    from baselines.training.recipe import Recipe


def _network_text(subject: Subject) -> str:
    network = network_of(subject)
    return f"{subject.name} at {network.resolution} px: {macs_text(counts_of(network)[0])} MACs"


def _stride_lines(subject: Subject) -> list[RenderableType]:
    """A line with what became of a network for tiny images, whose stages may have other strides."""
    if isinstance(subject, BaselineSpec) and subject.architecture.resolution < TINY_SIDE:
        return [labelled("Network:", f"{subject.provenance.source}.")]
    return []


def _batch_text(settings: TrainingSettings) -> str:
    """The size of a batch and how it is computed."""
    text = f"{settings.recipe.batch} images in a step"
    if settings.devices > 1:
        text += f" on {settings.devices} devices"
    if settings.micro_batches > 1:
        text += f" in {settings.micro_batches} parts"
    return text + (", blocks recomputed" if settings.recompute else "")


def started_text(
    subject: Subject, settings: TrainingSettings, folder: Path, data: ImageData | None = None
) -> list[RenderableType]:
    """Lines with the network, the images, the settings and the folder of a training."""
    epochs = counted(settings.recipe.epochs, "epoch")
    threads = f", {counted(settings.threads, 'thread')}" if settings.threads else ""
    frozen = settings.recipe.freeze_epochs
    if frozen:
        epochs += f" (in the first {frozen} only the classifier learns)"
    return [
        labelled("Training", _network_text(subject)),
        *_stride_lines(subject),
        *([*data_lines(data), *recipe_lines(data, settings.recipe)] if data is not None else []),
        f"{epochs}, {_batch_text(settings)}, seed {settings.seed}{threads}, into {folder}",
        *_enlarged_lines(subject, settings),
    ]


def _enlarged_lines(subject: Subject, settings: TrainingSettings) -> list[str]:
    """A line if the network's side is larger than that of most images."""
    enlarged = enlargement(subject.name, network_of(subject).resolution, settings.sides)
    return [f"{enlarged}."] if enlarged else []


def resumed_text(settings: TrainingSettings, threads: int) -> list[RenderableType]:
    """A line if a training goes on with another number of threads than it would begin with here; else none."""
    if settings.threads in (0, threads):
        return []
    kept = f"{counted(settings.threads, 'thread')}, as it began, and not {threads} as here"
    return [f"Note: it goes on with {kept}: another number would change the weights."]


def finished_text(
    found: Evaluation, data: ImageData, folder: Path, recipe: Recipe, course: Course
) -> list[RenderableType]:
    """Lines with the course of the training, the validation accuracy, the folder and the next commands."""
    return [
        *_course_lines(recipe, course),
        labelled("Validation", summary(found)),
        *skipped_lines(data),
        pointer("Folder:", str(folder)),
        pointer("Next:", command("evaluate", folder)),
        pointer("Watch:", f"tensorboard --logdir {shlex.quote(str(folder))}"),
    ]


def _course_lines(recipe: Recipe, course: Course) -> list[str]:
    """Lines about an early end and the epoch that is kept; none for a training of all epochs whose last is kept."""
    lines = []
    if course.early:
        ended = f"Ended after epoch {course.epochs} of {recipe.epochs}"
        lines.append(f"{ended}: the best was {course.best}, and --patience is {recipe.patience}.")
    if recipe.keep == "best":
        kept = f"epoch {course.kept} of {course.epochs}, chosen by the validation part, which it flatters a little"
        lines.append(f"Kept: {kept}; --raw evaluates the last.")
    return lines


def plan_data(plan: MemoryPlan) -> dict[str, Any]:
    """A memory plan as plain data, in bytes."""
    return {**asdict(plan), "micro_batch": plan.micro_batch, "peak": plan.peak}


def plan_text(subject: Subject, settings: TrainingSettings, plan: MemoryPlan, data: ImageData) -> list[RenderableType]:
    """The images of a training, and its memory plan as a table."""
    rows = {
        "process": plan.process,
        "weights, gradients, optimizer, average": plan.state,
        f"{plan.batch} images of a batch": plan.inputs,
        f"feature maps of {plan.micro_batch} images, {plan.per_image / 1e6:,.0f} MB each": plan.micro_batch
        * plan.per_image,
        "total": plan.peak,
        "available": plan.limit,
    }
    table = Table("Memory", [("", "left"), ("GB", "right")])
    for name, size in rows.items():
        if size:
            table.add_row(name, f"{size / 1e9:.2f}")
    lines: list[RenderableType] = [
        labelled("Training", _network_text(subject)),
        *_stride_lines(subject),
        *data_lines(data),
        *recipe_lines(data, settings.recipe),
        table,
        labelled("Plan:", _batch_text(settings)),
        *_enlarged_lines(subject, settings),
        f"The feature maps take {plan.measured:.2f} times the memory in the cost model, measured in two training steps."
        if plan.measured
        else "The size of the feature maps comes from the cost model; there is not enough memory to measure it.",
    ]
    if plan.recompute:
        lines.append("Stem, blocks and head are computed twice: about a third more time, the same result.")
    if plan.micro_batches > 1:
        lines.append("Batch norm sees one part at a time; apart from that, gradients are those of the whole batch.")
    return lines


@contextmanager
def training_progress(epochs: int) -> Iterator[Any]:
    """Show a bar on stderr with images/s and time left; if stderr is not a terminal, print a line for each epoch.

    Yields:
        The function to call with each `Progress`.
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = [TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=12), TextColumn("left")]
    with Bar(
        *columns,
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=notices(),
        disable=not has_terminal(),
    ) as bar:
        task = bar.add_task("", total=None, epoch=f"0/{epochs}")

        def watch(progress: Progress) -> None:
            text = f"loss {progress.loss:.3f}, {progress.images_per_second:,.0f} images/s"
            epoch = f"{progress.epoch}/{epochs}"
            if progress.accuracy is not None:
                text += f", val {points(progress.accuracy)}"
                if bar.disable:
                    say(f"epoch {epoch}  {text}")
            bar.update(task, total=progress.steps, completed=progress.step, description=text, epoch=epoch)

        yield watch
