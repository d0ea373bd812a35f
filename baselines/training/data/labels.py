"""Labels as people write them, and the columns of tables that hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import MnasError, one_line, shorten

# Usual names of columns of labels, as `plain_name` gives them; the first that occurs is used.
LABEL_COLUMNS = (
    *("label", "class", "target", "category", "classname", "labelname", "classid", "labelid", "y", "diagnosis"),
    *("labels", "classlabel", "finelabel", "species", "breed"),
)


def plain_name(column: str) -> str:
    """The name of a column in lower case, without spaces, dashes and underscores."""
    return "".join(character for character in column.lower() if character.isalnum())


def in_order(labels: Iterable[str]) -> list[str]:
    """Different labels, sorted as numbers if all are integers, as texts otherwise."""
    different = set(labels)
    if all(_number(label) is not None for label in different):  # 2 before 10
        return sorted(different, key=lambda label: (int(label), label))
    return sorted(different)


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
    ordered = in_order(numbers)
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
