"""A table of measurements as a file: CSV or JSON, a row for each measurement."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from baselines.text import FORMULA
from search_spaces import MnasError
from search_spaces.errors import shorten
from search_spaces.serialization import read_text

MAX_FILE_BYTES = 2**30
# Line (of CSV) or position (of JSON), and cells by column; cells of CSV are text.
Row = tuple[int, Mapping[str, Any]]


def read_table(file: Path) -> tuple[list[str], Iterator[Row]]:
    """The names of the columns, in order, and the rows.

    Args:
        file: CSV file, or JSON file (a list of objects) if its name ends in ``.json``.

    Raises:
        MnasError: the file cannot be read, or a column is given twice.
    """
    text = read_text(file, MAX_FILE_BYTES, "table").removeprefix("\ufeff")  # Excel writes a byte order mark
    return _json_table(file, text) if file.suffix.lower() == ".json" else _csv_table(file, text)


def _json_table(file: Path, text: str) -> tuple[list[str], Iterator[Row]]:
    try:
        data = json.loads(text, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise MnasError(f"evaluator: {file} is not JSON ({shorten(str(error))}); fix the file") from None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise MnasError(f"evaluator: {file} is not a list of objects; see docs/search.md")
    return list(dict.fromkeys(name for row in data for name in row)), enumerate(data, start=1)


def _csv_table(file: Path, text: str) -> tuple[list[str], Iterator[Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [_plain(name.strip()) for name in reader.fieldnames or ()]
    except csv.Error as error:
        raise MnasError(f"evaluator: {file} is not CSV ({error}); fix the file") from None
    reader.fieldnames = names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MnasError(f"evaluator: {file}: the column {shorten(twice)} is given twice; remove one")

    def rows() -> Iterator[Row]:
        try:
            for row in reader:
                if None in row:
                    raise fault(file, reader.line_num, "row", row[None], "has no column")
                yield reader.line_num, {name: _plain(value) for name, value in row.items()}
        except csv.Error as error:
            raise MnasError(f"evaluator: {file} is not CSV ({error}); fix the file") from None

    return names, rows()


def _plain(value: Any) -> Any:
    """A text of `baselines.views.terminal.write_csv` as it was, without the apostrophe that tells spreadsheets so."""
    return value[1:] if isinstance(value, str) and value[:1] == "'" and value[1:2] in FORMULA else value


def fault(file: Path, row: int, column: str, value: object, rule: str) -> MnasError:
    """The error for a cell."""
    return MnasError(f"evaluator: {file}: row {row}: {column}: {shorten(value)} {rule}; fix the table")


def number_of(value: object) -> float:
    """A number, or the text of one; nan for anything else."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python reads 3_6 as 36
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def is_empty(value: object) -> bool:
    """Whether a cell is empty."""
    return value is None or (isinstance(value, str) and not value.strip())


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice in a row")
    return found
