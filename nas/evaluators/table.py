"""``table:FILE``: architectures that were measured elsewhere, as a table in CSV or JSON, in any space.

A row is one measurement: a column for each choice of the space, by its label, and ``accuracy`` in [0, 1]; optionally
``accuracy_std`` (of one training) and ``seed``. Other columns are left aside. A JSON file is a list of objects with
these keys. Of the trials of a run (``mnas trials RUN --csv``), those whose ``state`` is not ``done`` are left aside.
Rows of one network are repeats where their seeds differ: then its accuracy is that of the first seed, and finalists are
compared on all of them. Rows that say the same twice are one; rows that contradict one another are refused.

Where a table holds a part of its space only, a search tries, instead of a network that nobody measured, the nearest one
that it has not tried yet (`nas.search`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nas.evaluators.base import Evaluator, Metrics
from search_spaces import Architecture, FieldError, MnasError, SearchSpace
from search_spaces.errors import shorten
from search_spaces.serialization import read_text
from search_spaces.space import Indices

PREFIX = "table:"
MAX_FILE_BYTES = 2**30


class TableEvaluator(Evaluator):
    """Accuracies of a table.

    Args:
        file: CSV, or JSON where its name ends so.
        space: in whose choices it is written.

    Raises:
        MnasError: the file cannot be read, or a row has a fault; the message names line, column, value and rule.
    """

    def __init__(self, file: Path, space: SearchSpace) -> None:
        self.name = f"{PREFIX}{file}"
        self.meaning = f"top-1 as the table {file.name} has it"
        self.kind = "measured"
        self.instant = True
        self._space = space
        self._file = file
        self._measured: dict[bytes, dict[int, Metrics]] = {}
        self._read()
        self.noisy = any(len(repeats) > 1 for repeats in self._measured.values())

    def check(self, architecture: Architecture) -> None:
        self._repeats(architecture)

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        found = []
        for architecture in architectures:
            repeats = self._repeats(architecture)
            if seed >= len(repeats):
                raise FieldError("seed", f"{seed}: the table measured this network {len(repeats)} times")
            # Seeds count from the first that the table has of this network.
            found.append(repeats[sorted(repeats)[seed]])
        return found

    def known_members(self, space: SearchSpace) -> Indices | None:
        rows = np.frombuffer(b"".join(self._measured), dtype=np.int64)
        rows = rows.reshape(len(self._measured), len(self._space.decisions))
        if space is not self._space:
            genotypes = []
            for architecture in self._space.decode_indices(rows):
                with suppress(FieldError):
                    genotypes.append(space.encode(architecture))
            return space.indices(genotypes)
        return None if len(rows) >= space.num_networks else rows

    def _repeats(self, architecture: Architecture) -> dict[int, Metrics]:
        """The measurements of an architecture by seed. Raises `FieldError` where there are none."""
        key = self._space.indices([self._space.encode(architecture)]).tobytes()
        if key not in self._measured:
            raise FieldError("architecture", f"not in the table {self._file.name}")
        return self._measured[key]

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        numbers, rows, results = [], [], []
        values: list[dict[object, int]] = [
            {form: index for index, value in enumerate(choice.values) for form in (value, str(value))}
            for choice in self._space.decisions
        ]
        for number, row in self._rows():
            if row.get("state", "done") != "done":
                continue
            indices = []
            for choice, known in zip(self._space.decisions, values, strict=True):
                value = row.get(choice.label)
                index = _index(known, value)
                if index is None:
                    raise self._fault(number, choice.label, value, f"is none of {', '.join(map(str, choice.values))}")
                indices.append(index)
            numbers.append(number)
            rows.append(indices)
            results.append((self._seed(number, row), self._metrics(number, row)))
        if not rows:
            raise MnasError(f"evaluator: {self._file} has no row; give a table of measured networks")
        canonical = self._space.canonical(np.array(rows, dtype=np.int64).reshape(len(rows), -1))
        for number, key, (seed, metrics) in zip(numbers, canonical, results, strict=True):
            repeats = self._measured.setdefault(key.tobytes(), {})
            if repeats.setdefault(seed, metrics) != metrics:
                raise self._fault(
                    number,
                    "accuracy",
                    metrics.accuracy,
                    f"contradicts {repeats[seed].accuracy} of the same network in an earlier row; "
                    "tell repeats apart by a column seed",
                )

    def _rows(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Line (of CSV) or position (of JSON) and cells of every row; cells of CSV are text."""
        text = read_text(self._file, MAX_FILE_BYTES, "table").removeprefix("\ufeff")  # Excel begins files with it
        if self._file.suffix.lower() == ".json":
            try:
                data = json.loads(text, object_pairs_hook=_each_key_once)
            except (ValueError, RecursionError) as error:
                raise MnasError(f"evaluator: {self._file} is not JSON ({shorten(str(error))}); mend the file") from None
            if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
                raise MnasError(f"evaluator: {self._file} is not a list of objects; see nas/evaluators/table.py")
            self._check_columns(set().union(*data) if data else set())
            yield from enumerate(data, start=1)
            return
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
            names = list(reader.fieldnames or ())
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise MnasError(f"evaluator: {self._file}: the column {shorten(twice)} stands twice; keep one")
            self._check_columns(set(names))
            for row in reader:
                if None in row:
                    raise self._fault(reader.line_num, "row", row[None], "are more cells than there are columns")
                yield reader.line_num, row
        except csv.Error as error:
            raise MnasError(f"evaluator: {self._file} is not CSV ({error}); mend the file") from None

    def _check_columns(self, columns: set[str]) -> None:
        for name in ("accuracy", *self._space.labels):
            if name not in columns:
                raise MnasError(
                    f"evaluator: {self._file} has no column {name!r}; a table for the space {self._space.name!r} has "
                    f"accuracy and its {len(self._space.labels)} choices (mnas spaces --json lists them)"
                )

    def _metrics(self, number: int, row: Mapping[str, Any]) -> Metrics:
        accuracy = _number(row.get("accuracy"))
        if not 0 <= accuracy <= 1:  # nan is neither
            raise self._fault(number, "accuracy", row.get("accuracy"), "is not a number from 0 to 1")
        if row.get("accuracy_std") in (None, ""):
            return Metrics(accuracy)
        std = _number(row["accuracy_std"])
        if not 0 <= std <= 1:
            raise self._fault(number, "accuracy_std", row["accuracy_std"], "is not a number from 0 to 1")
        return Metrics(accuracy, std)

    def _seed(self, number: int, row: Mapping[str, Any]) -> int:
        if row.get("seed") in (None, ""):
            return 0
        seed = _number(row["seed"])
        if seed != int(seed if math.isfinite(seed) else -1) or seed < 0:
            raise self._fault(number, "seed", row["seed"], "is not a whole number from 0 up")
        return int(seed)

    def _fault(self, number: int, column: str, value: object, rule: str) -> MnasError:
        return MnasError(f"evaluator: {self._file}: row {number}: {column}: {shorten(value)} {rule}; mend the table")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in a row")
    return found


def _number(value: object) -> float:
    """A number, or the text of one; nan where it is neither."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _index(known: Mapping[object, int], value: object) -> int | None:
    """The index of a value, given as itself or as text (``0.25``, ``1``, ``1.0``); None where it is none."""
    if isinstance(value, str) and value in known:
        return known[value]
    number = _number(value)
    return None if math.isnan(number) else known.get(number)
