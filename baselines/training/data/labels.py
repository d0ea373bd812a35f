"""Labels as people write them, and the columns of tables that hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import MnasError, one_line, shorten

# Usual names of columns, without capitals and separators.
_NAMES = {
    "file": (
        *("file", "files", "filename", "filenames", "filepath", "path", "paths", "image", "images", "imagefile"),
        *("imagefilename", "imagename", "imagepath", "imageid", "img", "imgname", "imgpath", "imgfile", "id"),
    ),
    "label": (
        *("label", "labels", "class", "classes", "classname", "classlabel", "classid", "labelname", "labelid"),
        *("target", "targets", "category", "categoryname", "categoryid", "species", "breed", "diagnosis", "y"),
        *("finelabel",),
    ),
    "group": ("group", "groups", "groupid", "patient", "patientid", "subject", "subjectid"),
    "part": ("split", "part", "partition", "subset", "set"),
}


def is_named(column: str, role: str) -> bool:
    """Whether a column has one of the usual names of a role: ``file``, ``label``, ``group`` or ``part``."""
    return re.sub(r"[\W_]+", "", column.lower()) in _NAMES[role]


def one_column(source: str, columns: Mapping[str, Sequence[Any]]) -> str:
    """The first of several columns of labels, if all of them name the same classes.

    Args:
        source: source of the images, for messages.
        columns: values of each column, by its name.

    Raises:
        MnasError: they name different classes.
    """
    first, *others = columns
    for other in others:
        pairs = set(zip(columns[first], columns[other], strict=True))
        if not len(pairs) == len(set(columns[first])) == len(set(columns[other])):
            raise MnasError(
                f"data: {source} has the columns {one_line(first, 30)} and {one_line(other, 30)}, which divide the "
                "images into different classes; keep one, or rename the other"
            )
    return first


def classes_of(
    source: str, labels: Sequence[Any], names: Sequence[str] | None = None
) -> tuple[list[str], NDArray[np.int64]]:
    """The classes that occur, sorted, and the index of each label among them.

    Args:
        source: source of the images, for messages.
        labels: texts or whole numbers.
        names: names of the classes, in their order, if labels are indices of them.

    Raises:
        MnasError: a label is something else, or not the index of a name.
    """
    plain = {label: _plain(source, label) for label in _different(source, labels)}
    numbers = {value: _number(value) for value in plain.values()}
    if names is not None:
        beyond = [value for value, number in numbers.items() if number is None or not 0 <= number < len(names)]
        if beyond:
            raise MnasError(f"data: {source} has the label {shorten(beyond[0])} but only {len(names)} classes; fix it")
    if all(number is not None for number in numbers.values()):  # 2 before 10
        ordered = sorted(numbers, key=lambda value: (numbers[value], value))
    else:
        ordered = sorted(numbers)
    places = {value: place for place, value in enumerate(ordered)}
    indices = np.fromiter((places[plain[label]] for label in labels), np.int64, len(labels))
    return [value if names is None else names[int(value)] for value in ordered], indices


def _different(source: str, labels: Sequence[Any]) -> set[Any]:
    try:
        return set(labels)
    except TypeError:
        raise MnasError(
            f"data: {source} has labels such as {shorten(labels[0])}, expected one text or whole number for each image"
        ) from None


def _plain(source: str, label: Any) -> str:
    """A label as a text."""
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    if isinstance(label, str | int | np.integer | np.bool_):
        return str(label)
    raise MnasError(f"data: {source} has the label {shorten(label)}, expected a text or a whole number; fix the labels")


def _number(text: str) -> int | None:
    """The whole number that a text is."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
