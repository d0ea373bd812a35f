"""Predictions for images without labels, as data, as rows of CSV and as text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.text import counted, points
from baselines.views.terminal import Table, labelled, write_csv
from search_spaces.errors import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from baselines.training.classify import Predictions

# Rows of the table, and classes that are counted below it.
SHOWN, SHOWN_CLASSES = 200, 20


def _probability(value: Any) -> float:
    """A probability with the six digits that a single-precision network knows of it."""
    return float(f"{value:.6g}")


def data(found: Predictions) -> dict[str, Any]:
    """Predictions as plain data; probabilities are in the order of the classes."""
    return {
        "network": found.network,
        "classes": list(found.classes),
        "predictions": [
            {
                "file": file,
                "class": found.classes[label],
                "probability": _probability(row[label]),
                "probabilities": [_probability(value) for value in row],
            }
            for file, label, row in zip(found.files, found.labels, found.probabilities, strict=True)
        ],
        "unreadable": [{"file": file, "error": error} for file, error in found.unreadable],
        "aside": list(found.aside),
    }


def rows(found: Predictions) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each image, those that could not be read last, and the columns."""
    names = [f"probability:{name}" for name in found.classes]
    read: list[dict[str, Any]] = [
        {
            "file": each["file"],
            "class": each["class"],
            "probability": each["probability"],
            **dict(zip(names, each["probabilities"], strict=True)),
        }
        for each in data(found)["predictions"]
    ]
    others = [{"file": file, "error": error} for file, error in found.unreadable]
    return [*read, *others], ["file", "class", "probability", *names, "error"]


def write(found: Predictions, file: Path) -> None:
    """Write predictions as CSV."""
    # Names of files need not be UTF-8.
    with file.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        write_csv(*rows(found), stream)


def text(found: Predictions) -> list[RenderableType]:
    """A table of the images with their most probable classes, the images of each class, and what was left aside."""
    runner_up = len(found.classes) > 1
    columns = [("image", "left"), ("class", "left"), ("probability", "right")]
    table = Table("", [*columns, *([("next", "left"), ("probability", "right")] if runner_up else [])])
    for file, row in list(zip(found.files, found.probabilities, strict=True))[:SHOWN]:
        best = row.argsort()[::-1][: 1 + runner_up]
        table.add_row(file, *(cell for label in best for cell in (found.classes[label], points(row[label]))))
    hidden = len(found.files) - SHOWN
    more = [f"{counted(hidden, 'more image')}; all are in --csv FILE and in --json."] if hidden > 0 else []
    counts = Counter(found.classes[label] for label in found.labels).most_common()
    listed = ", ".join(f"{count:,} {one_line(name, 30)}" for name, count in counts[:SHOWN_CLASSES])
    others = f" and {counted(len(counts) - SHOWN_CLASSES, 'other class')}" if len(counts) > SHOWN_CLASSES else ""
    summary = f"{counted(len(found.files), 'image')} by {found.network or 'the network'}: {listed}{others}"
    return [
        *([table] if found.files else []),
        *more,
        *([labelled("Predicted:", summary)] if found.files else []),
        *([f"Left aside: {'; '.join(found.aside)}."] if found.aside else []),
        *(f"Not read: {error}" for _, error in found.unreadable),
    ]


def unreadable_text(found: Predictions) -> str:
    """A sentence about the images that could not be read."""
    total = len(found.files) + len(found.unreadable)
    count = f"{len(found.unreadable):,} of {counted(total, 'image')}"
    others = "; the others are classified" if found.files else ""
    return f"images: {count} could not be read, such as {found.unreadable[0][1]}{others}"
