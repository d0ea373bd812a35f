"""Images that a CSV file lists: a row for each, with its file, its label, and optionally its group and its part.

    file,label,group,split
    photos/001.jpg,cat,anna,train

Paths are relative to the folder of the CSV file. The columns may have any of their usual names (`_NAMES`).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baselines.text import as_written, counted
from baselines.training.data.folders import FOREIGN, PARTS, part_of
from baselines.training.data.labels import LABEL_COLUMNS, in_order, plain_name
from search_spaces.errors import MnasError, one_line, shorten
from search_spaces.serialization import read_bytes

SUFFIXES = (".csv", ".tsv")
MAX_BYTES = 2**28
# Names of the columns, as `plain_name` gives them; the first that occurs is used.
_NAMES = {
    "file": (
        *("file", "filename", "filepath", "path", "image", "imagefile", "imagename", "imagepath", "imagefilename"),
        *("img", "imgname", "imgpath", "imgfile", "photo", "picture", "fname", "imageid", "id", "idcode"),
    ),
    "label": LABEL_COLUMNS,
    "group": ("group", "groupid", "patient", "patientid", "subject", "subjectid"),
    "split": ("split", "part", "set", "subset", "partition"),
}


@dataclass(frozen=True)
class Row:
    """A row of the file: its line, and the cells as they were meant; a column that is missing gives an empty text."""

    line: int
    file: str
    label: str
    group: str
    split: str


@dataclass(frozen=True)
class ImageList:
    """What a CSV file lists.

    Attributes:
        classes: names of the classes, in the order of numbers if all are integers.
        files: image files of each part, each once; ``split`` alone if the file has no column for it.
        labels: index of the class of each file.
        groups: index of the group of each file; None if the file has no column for it.
        aside: what was left aside and why, for a person.
    """

    classes: tuple[str, ...]
    files: dict[str, list[Path]]
    labels: dict[str, NDArray[np.int64]]
    groups: dict[str, NDArray[np.int64]] | None
    aside: tuple[str, ...]


def read_list(file: Path) -> ImageList:
    """The images that a CSV file lists.

    Raises:
        MnasError: a column is missing or given twice, a cell is empty, an image is not found or outside the folder, a
            split is unknown, or rows disagree about an image.
    """
    rows, columns, unused = _rows(file)
    places: dict[Path, tuple[str, Row]] = {}
    for row in rows:
        part = _part(file, row) if "split" in columns else "split"
        path = _image(file, row)
        first_part, first = places.setdefault(path, (part, row))
        for name, one, other in (
            ("label", first.label, row.label),
            ("group", first.group, row.group),
            ("split", first_part, part),
        ):
            if one != other:
                rule = f"is {name} {shorten(one)} in row {first.line} and {shorten(other)} here; keep one"
                raise _fault(file, row, "file", row.file, rule)
    classes = in_order(row.label for row in rows)
    groups = {name: place for place, name in enumerate(dict.fromkeys(row.group for row in rows))}
    _check_groups(file, list(places.values()))
    by_part: dict[str, list[tuple[Path, Row]]] = {}
    for path, (part, row) in places.items():
        by_part.setdefault(part, []).append((path, row))
    numbers = {name: place for place, name in enumerate(classes)}
    repeats = len(rows) - len(places)
    aside = [f"{counted(repeats, 'row')} that repeat others"] if repeats else []
    if unused:
        aside.append(f"{counted(len(unused), 'column')} of the file ({one_line(', '.join(unused), 120)})")
    return ImageList(
        tuple(classes),
        {part: [path for path, _ in by_part[part]] for part in (*PARTS, "split") if part in by_part},
        {part: np.array([numbers[row.label] for _, row in found], np.int64) for part, found in by_part.items()},
        {part: np.array([groups[row.group] for _, row in found], np.int64) for part, found in by_part.items()}
        if "group" in columns
        else None,
        tuple(aside),
    )


def _rows(file: Path) -> tuple[list[Row], dict[str, int], list[str]]:
    """The rows that are not empty, the place of each column that is used, and the names of the other columns."""
    try:
        # Excel writes a byte order mark, which this encoding leaves out.
        text = read_bytes(file, MAX_BYTES, "list of images").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MnasError(f"data: {file}: not a text file in UTF-8; save it as CSV in UTF-8") from None
    header = text.partition("\n")[0]
    # Spreadsheets write semicolons where the comma is part of numbers.
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        names = [as_written(name.strip()) for name in next(reader, [])]
        columns = _columns(file, names)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise MnasError(
                    f"data: {file}: row {reader.line_num} has {counted(len(cells), 'cell')}, but the header "
                    f"{len(names)}; fix the row"
                )
            found = {name: as_written(cells[place].strip()) for name, place in columns.items()}
            row = Row(reader.line_num, **{"group": "", "split": "", **found})
            for name, place in columns.items():
                if not found[name]:
                    raise _fault(file, row, names[place], "", "is empty; fill it in, or remove the row")
            rows.append(row)
    except csv.Error as error:
        raise MnasError(f"data: {file}: row {reader.line_num} is not CSV ({error}); fix the file") from None
    if not rows:
        raise MnasError(f"data: {file} has a header but no rows; add a row for each image")
    return rows, columns, [name for place, name in enumerate(names) if name and place not in columns.values()]


def _columns(file: Path, names: Sequence[str]) -> dict[str, int]:
    """The place of each column."""
    plain = [plain_name(name) for name in names]
    columns = {}
    for column, known in _NAMES.items():
        name = next((name for name in known if name in plain), None)
        if name is None:
            if column in ("file", "label"):
                raise MnasError(
                    f"data: {file} has no column for the {column} (its header is {shorten(', '.join(names), 200)}); "
                    f"name one {', '.join(known[:4])} or the like"
                )
            continue
        if plain.count(name) > 1:
            raise MnasError(f"data: {file}: the column {shorten(name)} is given twice; remove one")
        columns[column] = plain.index(name)
    return columns


def _image(file: Path, row: Row) -> Path:
    """The image file of a row."""
    # Not resolved: links in the folder may lead out of it, as for class folders.
    folder = Path(os.path.abspath(file.parent))
    path = Path(os.path.normpath(folder / row.file.replace("\\", "/")))
    if not path.is_relative_to(folder):
        rule = f"is outside {file.parent}; move the CSV file into a folder around all images"
    elif "\0" in row.file or not path.exists():
        rule = f"is not found in {file.parent}; use paths relative to it, with suffixes"
    elif not path.is_file():
        rule = "is not a file; name one image in each row"
    elif path.suffix.lower() in FOREIGN:
        rule = f"is of the kind {path.suffix}, which is not decoded; convert it to JPEG or PNG"
    elif not os.access(path, os.R_OK):
        rule = "cannot be read; change its permissions or remove the row"
    else:
        return path
    raise _fault(file, row, "file", row.file, rule)


def _part(file: Path, row: Row) -> str:
    part = part_of(row.split)
    if part is None:
        raise _fault(file, row, "split", row.split, f"is no part; use {', '.join(PARTS)}")
    return part


def _check_groups(file: Path, places: Sequence[tuple[str, Row]]) -> None:
    """Refuse a group whose images are in several parts."""
    seen: dict[str, tuple[str, Row]] = {}
    for part, row in places:
        if row.group:
            first_part, first = seen.setdefault(row.group, (part, row))
            if part != first_part:
                rule = f"is in {first_part} in row {first.line} and in {part} here; put a group into one part"
                raise _fault(file, row, "group", row.group, rule)


def _fault(file: Path, row: Row, column: str, value: str, rule: str) -> MnasError:
    return MnasError(f"data: {file}: row {row.line}: {column} {shorten(value, 120)} {rule}")
