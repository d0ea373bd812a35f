"""An evaluation as text: top-1 with its interval, and the classes that the network confuses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from baselines.text import counted, interval_text, points
from baselines.views.terminal import Table, labelled
from search_spaces.architecture import RGB
from search_spaces.errors import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from baselines.training.data.sources import ImageData
    from baselines.training.evaluate import Evaluation
    from baselines.training.settings import TrainingSettings


# Number of classes to show, those with the lowest recall.
SHOWN_CLASSES = 20
# Five guesses are always right with this many classes or fewer.
FEW = 5


def text(found: Evaluation, name: str, data: ImageData, part: str, settings: TrainingSettings) -> list[RenderableType]:
    """A summary line, the table of classes, and notes on how to read the figures."""
    lines: list[RenderableType] = [
        labelled(f"{name} on the {part} part of {data.source}:", summary(found)),
        _class_table(found, settings.classes),
        *([data.fit_note] if data.fit_note else []),
        *skipped_lines(data),
        *aside_lines(data),
    ]
    if not data.has(settings.fingerprint):
        lines.append("These are not the images of the training, but it may have seen some of them.")
    return [*lines, "The interval is for other images of the same kind; trainings differ by chance as well."]


def summary(found: Evaluation) -> str:
    """Top-1 with its 95 % interval, other figures and loss in one line; top-5 says nothing about `FEW` classes."""
    low, high = found.interval
    interval = interval_text((100 * low, 100 * high))
    top5 = f"top-5 {points(found.top5)}, " if len(found.confusion) > FEW else ""
    return (
        f"top-1 {points(found.top1)} of {found.images:,} images (95 % interval {interval}), "
        f"balanced accuracy {points(found.balanced_accuracy)}, macro-F1 {points(found.macro_f1)}, {top5}"
        f"loss {found.loss:.4f}"
    )


def data_lines(data: ImageData) -> list[str]:
    """Lines with the parts, the classes and the images of each, and with what was left aside and why."""
    named = ", ".join(one_line(name, 30) for name in data.classes[:SHOWN_CLASSES])
    more = f" and {len(data.classes) - SHOWN_CLASSES} more" if len(data.classes) > SHOWN_CLASSES else ""
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    least, most = int(counts.min()), int(counts.max())
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    parts = (
        f"{len(data.train):,} to train ({each} a class), {len(data.val):,} for validation, {len(data.test):,} to test"
    )
    parts += "" if data.channels == RGB else f", read with {counted(data.channels, 'channel')}"
    about = f"Images: {parts}; {counted(len(data.classes), 'class')}: {named}{more}."
    return [about, *([data.fit_note] if data.fit_note else []), *aside_lines(data)]


def aside_lines(data: ImageData) -> list[str]:
    """Lines with what was left aside and why, what was assumed, and images in two parts; none without these."""
    aside = [f"Left aside: {'; '.join(data.aside)}."] if data.aside else []
    return [*aside, *(f"Note: {note}." for note in (*data.notes, *data.repeated))]


def skipped_lines(data: ImageData) -> list[str]:
    """A line with the number of images that could not be read and the name of one; nothing if all could."""
    skipped = data.skipped
    return [f"{counted(len(skipped), 'image')} could not be read, such as {skipped[0]}"] if skipped else []


def _class_table(found: Evaluation, classes: Sequence[str]) -> Table:
    """Recall of each class and the class it is most often mistaken for, worst first."""
    recall = found.recall()
    with_images = [label for label in range(len(recall)) if not math.isnan(recall[label])]
    worst: Sequence[int] = sorted(with_images, key=lambda label: recall[label])[:SHOWN_CLASSES]
    columns = [("class", "left"), ("images", "right"), ("recall", "right"), ("most often mistaken for", "left")]
    shown = f", the {len(worst)} worst of {len(with_images)}" if len(worst) < len(with_images) else ""
    table = Table(f"Classes{shown}", columns)
    for label in worst:
        row = found.confusion[label].copy()
        total, row[label] = int(row.sum()), 0
        other = int(row.argmax())
        mistaken = f"{classes[other]} ({row[other]})" if row[other] else ""
        table.add_row(classes[label], str(total), points(recall[label]), mistaken)
    return table
