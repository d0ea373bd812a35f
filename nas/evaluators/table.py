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

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted
from nas.evaluators.base import Evaluator, Metrics, Network
from nas.evaluators.table_file import Table, is_empty, number_of, read_table
from nas.evaluators.table_space import Columns, table_space
from search_spaces import FieldError, MnasError, Space
from search_spaces.plugins import TABLE_OF
from search_spaces.rows import RowIndex
from search_spaces.space import Indices

PREFIX = TABLE_OF
Floats = NDArray[np.float64]
# Rows that are made canonical at once.
_CHUNK = 10_000


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
        table = read_table(file)
        self._check_columns(list(table.columns), () if space is None else space.labels)
        count = len(table)
        if "state" in table.columns:
            states = table.columns["state"]
            table = table.where(np.array([value == "done" for value in states.values], dtype=bool)[states.codes])
        if not len(table):
            rule = "has no row whose state is done" if count else "has no rows"
            raise MnasError(f"evaluator: {self._file} {rule}; use a table of measured networks")
        if space is None:
            space, self.columns, rows = table_space(table)
        else:
            rows = _rows(table, space)
        self.space: Space = space
        for start in range(0, len(rows), _CHUNK):  # there may be a million
            rows[start : start + _CHUNK] = space.canonical(rows[start : start + _CHUNK])
        self._measured = _Measured(table, rows, space)
        self.noisy = self._measured.repeated

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
            found.append(repeats[seed])  # seeds count from the first that the table has for this network
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
        return self._measured.rows

    def _repeats(self, network: Network) -> list[Metrics]:
        """The measurements of a network, by seed. Raises `FieldError` if there are none."""
        found = self._measured.of(self.space.indices([self.space.encode(network)]))
        if not found:
            raise FieldError("architecture", f"not in the table {self._file.name}")
        return found

    def _check_columns(self, columns: Sequence[str], labels: Sequence[str]) -> None:
        for name in ("accuracy", *labels):
            if name not in columns:
                choices = f"the {len(labels)} choices of its space (mnas spaces --json lists them)"
                raise MnasError(
                    f"evaluator: {self._file} has no column {name!r}; a table needs accuracy and "
                    f"{choices if labels else 'a column for each choice'}"
                )


class _Measured:
    """The measurements of a table: compact, since there may be a million.

    Args:
        table: rows that count; it loses the columns that are read here, since their texts need most of the memory.
        rows: canonical row of indices of each.
        space: space of the table.

    Attributes:
        rows: rows of indices of the networks, in the order of their first measurements.
        repeated: whether a network was measured with several seeds.

    Raises:
        MnasError: a cell breaks its rule, or two rows contradict each other.
    """

    def __init__(self, table: Table, rows: Indices, space: Space) -> None:
        seeds, (accuracy, std) = _seeds(table), _metrics(table)
        for name in ("seed", "accuracy", "accuracy_std"):
            table.columns.pop(name, None)
        index = RowIndex(rows, space.cardinalities)
        first, network = np.unique(index.first, return_inverse=True)
        order = np.lexsort((seeds, network))  # stable, so equal ones stay in the order of the table
        network, seeds, accuracy, std = network[order], seeds[order], accuracy[order], std[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (network[1:] != network[:-1]) | (seeds[1:] != seeds[:-1])
        before = np.flatnonzero(new)[np.cumsum(new) - 1]  # the first with the same network and seed
        same = (accuracy == accuracy[before]) & ((std == std[before]) | (np.isnan(std) & np.isnan(std[before])))
        if not same.all():
            place = min(np.flatnonzero(~same), key=lambda each: order[each])
            rule = f"contradicts {accuracy[before[place]]} of the same network in an earlier row"
            rule = f"{rule}; tell repeats apart with a column seed"
            raise table.fault(int(order[place]), "accuracy", rule, value=float(accuracy[place]))
        self._accuracy, self._std = accuracy[new], std[new]
        self._starts = np.searchsorted(network[new], np.arange(len(first) + 1))
        self.repeated = len(self._accuracy) > len(first)
        different = len(first) == len(rows)
        self.rows: Indices = rows if different else rows[first]
        self._index = index if different else RowIndex(self.rows, space.cardinalities)

    def of(self, row: Indices) -> list[Metrics]:
        """The measurements of one network, by seed; none if it is not in the table."""
        place = int(self._index.positions(row)[0])
        if place < 0:
            return []
        chosen = slice(self._starts[place], self._starts[place + 1])
        pairs = zip(self._accuracy[chosen].tolist(), self._std[chosen].tolist(), strict=True)
        return [Metrics(accuracy, None if math.isnan(std) else std) for accuracy, std in pairs]


def _rows(table: Table, space: Space) -> Indices:
    """The row of indices of each row of a table in the choices of a space."""
    rows = np.empty((len(table), len(space.decisions)), dtype=np.int64)
    for place, choice in enumerate(space.decisions):
        known: dict[object, int] = {}
        for index, value in enumerate(choice.values):
            known |= {value: index, str(value): index}
        column = table.columns[choice.label]
        indices = [_index(known, value) for value in column.values]
        rows[:, place] = np.array([-1 if index is None else index for index in indices], dtype=np.int64)[column.codes]
        table.check(choice.label, rows[:, place] >= 0, f"is not one of {', '.join(map(str, choice.values))}")
    return rows


def _metrics(table: Table) -> tuple[Floats, Floats]:
    """Accuracy and its σ in each row, nan where there is none."""
    accuracy = table.columns["accuracy"].numbers()
    table.check("accuracy", (accuracy >= 0) & (accuracy <= 1), "is not a number from 0 to 1")  # not for nan
    if "accuracy_std" not in table.columns:
        return accuracy, np.full(len(table), np.nan)
    column = table.columns["accuracy_std"]
    std, empty = column.numbers(), np.array([is_empty(value) for value in column.values], dtype=bool)[column.codes]
    table.check("accuracy_std", empty | ((std >= 0) & (std <= 1)), "is not a number from 0 to 1")
    return accuracy, std


def _seeds(table: Table) -> Floats:
    """The seed of each row, 0 where there is none."""
    if "seed" not in table.columns:
        return np.zeros(len(table))
    column = table.columns["seed"]
    seeds, empty = column.numbers(), np.array([is_empty(value) for value in column.values], dtype=bool)[column.codes]
    seeds[empty] = 0
    table.check(
        "seed", (seeds >= 0) & (seeds == np.floor(seeds)) & (seeds < math.inf), "is not an integer of at least 0"
    )
    return seeds


def _index(known: Mapping[object, int], value: object) -> int | None:
    """The index of a value, given as itself or as text (``0.25``, ``1``, ``1.0``); None if it is not known."""
    if isinstance(value, str) and value in known:
        return known[value]
    number = number_of(value)
    return None if math.isnan(number) else known.get(number)
