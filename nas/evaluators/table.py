"""``table:FILE``: networks that were measured elsewhere, as a table in CSV or JSON, in any space.

A row is one measurement: a column for each choice of the space, by its label, and ``accuracy`` in [0, 1]; optionally
``accuracy_std`` (of one training) and ``seed``. Other columns are left aside. A JSON file is a list of objects with
these keys. Of the trials of a run (``mnas trials RUN --csv``), those whose ``state`` is not ``done`` are left aside.
Rows of one network with different seeds are repeats: its accuracy is that of the first seed, and finalists are compared
on all of them. Identical rows count once; rows that contradict each other are refused.

The space may also be the table's own, whose choices and costs are its columns: `nas.evaluators.table_space`.

If a table holds only a part of its space, a search replaces a network that was not measured by the nearest one that it
has not tried yet (`nas.search_loop`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from baselines.text import counted
from nas.evaluators.base import Evaluator, Metrics, Network
from nas.evaluators.table_file import Row, fault, is_empty, number_of, read_table
from nas.evaluators.table_space import Columns, table_space
from search_spaces import FieldError, MnasError, Space
from search_spaces.plugins import TABLE_OF
from search_spaces.space import Indices

PREFIX = TABLE_OF


class TableEvaluator(Evaluator):
    """Accuracies from a table.

    Args:
        file: CSV file, or JSON file if its name ends in ``.json``.
        space: space in whose choices the table is written; None for the table's own.

    Attributes:
        space: space of the table.
        columns: roles of the table's columns if the space is the table's own; else None.

    Raises:
        MnasError: the file cannot be read, or a row has a fault; the message names line, column, value and rule.
    """

    def __init__(self, file: Path, space: Space | None) -> None:
        self.name = f"{PREFIX}{file}"
        self.meaning = f"top-1 as given in the table {file.name}"
        self.kind = "measured"
        self.instant = True
        self.columns: Columns | None = None
        self._file = file
        self._measured: dict[bytes, dict[int, Metrics]] = {}
        names, numbered = read_table(file)
        lines = list(numbered)
        self._check_columns(names, () if space is None else space.labels)
        rows = [(number, row) for number, row in lines if row.get("state", "done") == "done"]
        if not rows:
            rule = "has no rows" if not lines else "has no row whose state is done"
            raise MnasError(f"evaluator: {self._file} {rule}; use a table of measured networks")
        if space is None:
            space, self.columns, rows = table_space(file, names, rows)
        self.space: Space = space
        self._read(rows)
        self.noisy = any(len(repeats) > 1 for repeats in self._measured.values())

    def check(self, architecture: Network) -> None:
        self._repeats(architecture)

    def evaluate(self, architectures: Sequence[Network], seed: int = 0) -> list[Metrics]:
        found = []
        for architecture in architectures:
            repeats = self._repeats(architecture)
            if seed >= len(repeats):
                raise FieldError(
                    "seed", f"{seed}: the table has {counted(len(repeats), 'measurement')} of this network"
                )
            # Seeds count from the first that the table has for this network.
            found.append(repeats[sorted(repeats)[seed]])
        return found

    def measurements(self, network: Network) -> int:
        return len(self._repeats(network))

    def known_members(self, space: Space) -> Indices | None:
        rows = self.rows
        if space is not self.space:
            genotypes = []
            for network in self.space.decode_indices(rows):
                with suppress(FieldError):
                    genotypes.append(space.encode(network))
            return space.indices(genotypes)
        return None if len(rows) >= space.num_networks else rows

    @property
    def rows(self) -> Indices:
        """The canonical rows of the networks in the table: shape (count, choices)."""
        rows = np.frombuffer(b"".join(self._measured), dtype=np.int64)
        return rows.reshape(len(self._measured), len(self.space.decisions))

    def _repeats(self, network: Network) -> dict[int, Metrics]:
        """The measurements of a network by seed. Raises `FieldError` if there are none."""
        key = self.space.indices([self.space.encode(network)]).tobytes()
        if key not in self._measured:
            raise FieldError("architecture", f"not in the table {self._file.name}")
        return self._measured[key]

    # --- reading --------------------------------------------------------------------------------------------------

    def _read(self, lines: Sequence[Row]) -> None:
        numbers, rows, results = [], [], []
        values: list[dict[object, int]] = [
            {form: index for index, value in enumerate(choice.values) for form in (value, str(value))}
            for choice in self.space.decisions
        ]
        for number, row in lines:
            indices = []
            for choice, known in zip(self.space.decisions, values, strict=True):
                value = row.get(choice.label)
                index = _index(known, value)
                if index is None:
                    options = ", ".join(map(str, choice.values))
                    raise self._fault(number, choice.label, value, f"is not one of {options}")
                indices.append(index)
            numbers.append(number)
            rows.append(indices)
            results.append((self._seed(number, row), self._metrics(number, row)))
        canonical = self.space.canonical(np.array(rows, dtype=np.int64).reshape(len(rows), -1))
        for number, key, (seed, metrics) in zip(numbers, canonical, results, strict=True):
            repeats = self._measured.setdefault(key.tobytes(), {})
            if repeats.setdefault(seed, metrics) != metrics:
                raise self._fault(
                    number,
                    "accuracy",
                    metrics.accuracy,
                    f"contradicts {repeats[seed].accuracy} of the same network in an earlier row; "
                    "tell repeats apart with a column seed",
                )

    def _check_columns(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        for name in ("accuracy", *labels):
            if name not in columns:
                choices = f"the {len(labels)} choices of its space (mnas spaces --json lists them)"
                raise MnasError(
                    f"evaluator: {self._file} has no column {name!r}; a table needs accuracy and "
                    f"{choices if labels else 'a column for each choice'}"
                )

    def _metrics(self, number: int, row: Mapping[str, Any]) -> Metrics:
        accuracy = number_of(row.get("accuracy"))
        if not 0 <= accuracy <= 1:  # false for nan
            raise self._fault(number, "accuracy", row.get("accuracy"), "is not a number from 0 to 1")
        if is_empty(row.get("accuracy_std")):
            return Metrics(accuracy)
        std = number_of(row["accuracy_std"])
        if not 0 <= std <= 1:
            raise self._fault(number, "accuracy_std", row["accuracy_std"], "is not a number from 0 to 1")
        return Metrics(accuracy, std)

    def _seed(self, number: int, row: Mapping[str, Any]) -> int:
        if is_empty(row.get("seed")):
            return 0
        seed = number_of(row["seed"])
        if seed != int(seed if math.isfinite(seed) else -1) or seed < 0:
            raise self._fault(number, "seed", row["seed"], "is not an integer of at least 0")
        return int(seed)

    def _fault(self, number: int, column: str, value: object, rule: str) -> MnasError:
        return fault(self._file, number, column, value, rule)


def _index(known: Mapping[object, int], value: object) -> int | None:
    """The index of a value, given as itself or as text (``0.25``, ``1``, ``1.0``); None if it is not known."""
    if isinstance(value, str) and value in known:
        return known[value]
    number = number_of(value)
    return None if math.isnan(number) else known.get(number)
