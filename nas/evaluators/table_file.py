"""A table of measurements as a file: CSV or JSON, a row for each measurement; there may be a million."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.text import as_written
from search_spaces import MnasError
from search_spaces.errors import shorten
from search_spaces.serialization import read_bytes
from search_spaces.space import Indices

MAX_FILE_BYTES = 2**30
# Rows that are read at once.
_CHUNK = 10_000


@dataclass(frozen=True)
class Column:
    """The cells of a column: its different ones, and which of them is in each row.

    Attributes:
        values: different cells; those of CSV are text.
        codes: index of each row's cell in ``values``.
    """

    values: Sequence[Any]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)

    def numbers(self) -> NDArray[np.float64]:
        """Each row's cell as a number; nan for anything else."""
        return np.array([number_of(value) for value in self.values], dtype=np.float64)[self.codes]

    def used(self) -> list[Any]:
        """The different cells that are in a row."""
        return [self.values[code] for code in np.unique(self.codes)]


@dataclass(frozen=True)
class Table:
    """A table in memory, by columns.

    Attributes:
        file: path of the file, for messages.
        lines: line (of CSV) or position from 1 (of JSON) of each row.
        columns: columns by name, in order.
    """

    file: Path
    lines: Indices
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, chosen: NDArray[np.bool_]) -> Table:
        """The table with some of its rows."""
        columns = {name: Column(column.values, column.codes[chosen]) for name, column in self.columns.items()}
        return Table(self.file, self.lines[chosen], columns)

    def check(self, column: str, valid: NDArray[np.bool_], rule: str, name: str | None = None) -> None:
        """Raise `MnasError` for the first row whose cell is not valid.

        Args:
            column: name of the column.
            valid: whether the cell of each row is valid.
            rule: the rule that it breaks.
            name: name of the column for the message; None for the same.
        """
        if not valid.all():
            raise self.fault(int(valid.argmin()), column, rule, name)

    def fault(self, row: int, column: str, rule: str, name: str | None = None, value: float | None = None) -> MnasError:
        """The error for the cell of a row, counted from 0; with the cell as it is, or a value in its place."""
        if value is None:
            cell = self.columns[column]
            value = cell.values[cell.codes[row]]
        return _fault(self.file, int(self.lines[row]), name or column, value, rule)


def read_table(file: Path) -> Table:
    """A table from a file.

    Args:
        file: CSV file, or JSON file (a list of objects) if its name ends in ``.json``.

    Raises:
        MnasError: the file cannot be read, a column is given twice, or a row has more cells than the header.
    """
    raw = read_bytes(file, MAX_FILE_BYTES, "table")
    try:
        return _json_table(file, raw) if file.suffix.lower() == ".json" else _csv_table(file, raw)
    except UnicodeDecodeError:
        raise MnasError(f"{file}: not a text file in UTF-8; check the path") from None


def _json_table(file: Path, raw: bytes) -> Table:
    try:
        data = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_each_key_once)
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise MnasError(f"evaluator: {file} is not JSON ({shorten(str(error))}); fix the file") from None
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise MnasError(f"evaluator: {file} is not a list of objects; see docs/search.md")
    return table_of(file, data)


def table_of(file: Path, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The table of some rows, each with its cells by column; a missing cell is None.

    Args:
        file: path of their file, for messages.
        rows: rows, numbered from 1.
    """
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        cells, found = _Cells(), [row.get(name) for row in rows]
        # Python takes 1, 1.0 and True for one; a list of JSON is its own value.
        cells.add(found, [(type(cell), cell if cell.__hash__ else id(cell)) for cell in found])
        columns[name] = cells.column()
    return Table(file, np.arange(1, len(rows) + 1), columns)


def _csv_table(file: Path, raw: bytes) -> Table:
    # Excel writes a byte order mark, which this encoding leaves out.
    text = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        names = [_plain(name.strip()) for name in next(reader, [])]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise MnasError(f"evaluator: {file}: the column {shorten(twice)} is given twice; remove one")
        cells, lines = [_Cells() for _ in names], []
        rows = _rows(file, reader, len(names))
        while chunk := list(islice(rows, _CHUNK)):
            lines += [line for line, _ in chunk]
            for column, values in zip(cells, zip(*(row for _, row in chunk), strict=True), strict=True):
                column.add(values)
    except csv.Error as error:
        raise MnasError(f"evaluator: {file} is not CSV ({error}); fix the file") from None
    columns = {name: column.column(_plain) for name, column in zip(names, cells, strict=True)}
    return Table(file, np.array(lines, dtype=np.int64), columns)


def _rows(file: Path, reader: Any, width: int) -> Iterator[tuple[int, list[str | None]]]:
    """The rows that are not empty, each with its line, as wide as the header."""
    for row in reader:
        if len(row) > width:
            raise _fault(file, reader.line_num, "row", row[width:], "has no column")
        if row:
            yield reader.line_num, row if len(row) == width else [*row, *repeat(None, width - len(row))]


class _Cells:
    """The cells of a column while they are read."""

    def __init__(self) -> None:
        self._codes: dict[Any, int] = {}
        self._values: list[Any] = []
        self._parts: list[NDArray[np.int32]] = []

    def add(self, cells: Sequence[Any], keys: Sequence[Any] | None = None) -> None:
        """Add cells, which are equal if their keys are."""
        keys = cells if keys is None else keys
        if not self._codes.keys() >= set(keys):
            for key, cell in zip(keys, cells, strict=True):
                if key not in self._codes:
                    self._codes[key] = len(self._values)
                    self._values.append(cell)
        self._parts.append(np.fromiter(map(self._codes.__getitem__, keys), np.int32, len(keys)))

    def column(self, change: Callable[[Any], Any] = lambda cell: cell) -> Column:
        """The column, with every different cell changed."""
        self._codes.clear()
        values = [change(value) for value in self._values]
        return Column(values, np.concatenate([*self._parts, np.empty(0, dtype=np.int32)]))


def _plain(value: Any) -> Any:
    """A cell as it was written, if it is a text."""
    return as_written(value) if isinstance(value, str) else value


def _fault(file: Path, line: int, column: str, value: object, rule: str) -> MnasError:
    return MnasError(f"evaluator: {file}: row {line}: {column}: {shorten(value)} {rule}; fix the table")


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
