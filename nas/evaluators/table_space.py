"""The space ``table``: the choices and the costs in a table of measurements.

The columns ``accuracy``, ``accuracy_std``, ``seed`` and ``state`` mean what `nas.evaluators.table` says. The
header may say what any other column is: ``choice:NAME``, ``cost:NAME``, or ``note:NAME`` for one that is left aside.
If it does not:

- A column is a *cost* if its name says so, as ``macs``, ``latency_ms`` and ``a100-throughput`` do
  (`nas.costs.metrics.is_cost_name`).
- It is *left aside* if all rows have the same value: there is nothing to choose. So are the columns in which
  ``mnas trials RUN --csv`` tells how a trial went.
- It is a *choice* if it has few different values, at most `MAX_VALUES`, and some value occurs twice,
  other than in repeats of a network that the other columns identify.
- Anything else could be a choice, a cost or an identifier, and is refused: the header must say what it is.

Reports say what each column was taken for (`Columns.text`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.costs.metrics import is_cost_name, named_metric
from nas.evaluators.table_file import Column, Table, is_empty, number_of
from search_spaces import ChoiceSpace, MnasError
from search_spaces.errors import one_line, shorten
from search_spaces.registry import TABLE
from search_spaces.rows import RowIndex
from search_spaces.space import Indices, Value

RESERVED = ("accuracy", "accuracy_std", "seed", "state")
ROLES = ("choice", "cost", "note")
# Other columns of `mnas trials RUN --csv`: if all of them are present, they are left aside.
OF_A_RUN = {"number", "reward", "failure", "error", "attempts", "seconds", "digest"}
# Names of columns and texts in cells are untrusted, so they are shown on one line, no longer than this.
MAX_LETTERS = 200
SAME = "the same in all rows"
# A choice with more values is refused unless the header says that it is one.
MAX_VALUES = 32


@dataclass(frozen=True)
class Columns:
    """The roles of the columns of a table.

    Attributes:
        choices: labels of the choices, in the order of the header.
        costs: names of the costs.
        aside: other columns, with the reason.
        averaged: costs that differ among the rows of one network; their mean is used.
    """

    choices: tuple[str, ...]
    costs: tuple[str, ...]
    aside: tuple[str, ...]
    averaged: tuple[str, ...] = ()

    def text(self) -> str:
        """The roles as one sentence."""
        costs = [f"{name} (more is better)" if named_metric(name).higher_is_better else name for name in self.costs]
        parts = [
            f"{len(self.choices)} choices ({', '.join(self.choices)})",
            f"costs: {', '.join(costs) or 'none'}",
            f"left aside: {', '.join(self.aside) or 'none'}",
        ]
        if self.averaged:
            parts.append(f"the mean of a network's rows counts as its {', '.join(self.averaged)}")
        return "; ".join(parts)


def table_space(table: Table) -> tuple[ChoiceSpace, Columns, Indices]:
    """The space of a table, the roles of its columns, and the row of indices of each of its rows.

    Raises:
        MnasError: no column is a choice, a column could be several things, a choice has an empty cell, or a cost is
            not a number above 0.
    """
    roles = _Roles(table)
    cells = {label: _values(table, label, column) for label, column in roles.choices.items()}
    choices = {label: sorted(set(column.used()), key=_natural) for label, column in cells.items()}
    rows = np.empty((len(table), len(choices)), dtype=np.int64)
    for place, (label, values) in enumerate(choices.items()):
        indices = {value: index for index, value in enumerate(values)}
        column = cells[label]
        rows[:, place] = np.array([indices.get(value, -1) for value in column.values])[column.codes]
    index = RowIndex(rows, np.array([len(values) for values in choices.values()]))
    # Networks in the order of their first rows, and the network of each row.
    first, network = np.unique(index.first, return_inverse=True)
    means, averaged = {}, []
    for name, full_name in roles.costs.items():
        costs = _costs(table, full_name)
        means[name] = np.bincount(network, costs) / np.bincount(network)
        if (costs != costs[index.first]).any():
            averaged.append(name)
        else:
            means[name] = costs[first]  # and not their mean, which is rounded
    space = ChoiceSpace(TABLE, choices, rows[first], means)
    return space, Columns(tuple(choices), tuple(roles.costs), tuple(roles.aside), tuple(averaged)), rows


class _Roles:
    """The columns of choices and of costs by their names without a prefix, and what is left aside and why."""

    def __init__(self, table: Table) -> None:
        file, names, networks = table.file, list(table.columns), _Networks(table)
        self.choices: dict[str, str] = {}
        self.costs: dict[str, str] = {}
        self.aside: list[str] = []
        unclear = []
        of_a_run = OF_A_RUN if set(names) >= OF_A_RUN else set()
        for column in names:
            if column in RESERVED:
                continue
            role, name = _said(column)
            cells = table.columns[column]
            if not name:
                role, name = "note", "a column without a name"
            elif role is None:
                role = "tells how a trial went" if name in of_a_run else _role(name, cells)
                if role == "choice" and networks.are_named_by(column):
                    role = None
            elif role == "choice" and len(set(map(_text, cells.used()))) == 1:
                role = SAME
            if role is None:
                unclear.append(name)
            elif role in ("choice", "cost"):
                chosen = self.choices if role == "choice" else self.costs
                if name in self.choices or name in self.costs or name in RESERVED:
                    raise MnasError(f"evaluator: {file}: the column {name!r} is given twice; rename one")
                chosen[name] = column
            else:
                self.aside.append(name if role == "note" else f"{name} ({role})")
        if unclear:
            first = unclear[0]
            what = "the column" if len(unclear) == 1 else "the columns"
            raise MnasError(
                f"evaluator: {file}: {what} {', '.join(map(shorten, unclear))} could be a choice, a cost or a note "
                f"(no value occurs in two networks, or there are more than {MAX_VALUES}); say in the header which: "
                f"choice:{first}, cost:{first} or note:{first}"
            )
        if not self.choices:
            raise MnasError(
                f"evaluator: {file} has no column of choices (costs: {', '.join(self.costs) or 'none'}; left aside: "
                f"{', '.join(self.aside) or 'none'}); add a column for each choice, or rename one to choice:NAME"
            )


def _said(column: str) -> tuple[str | None, str]:
    """The role that the header gives a column (None if it gives none), and the name without it."""
    role, colon, name = column.partition(":")
    if colon and role.strip() in ROLES and name.strip():
        return role.strip(), one_line(name, MAX_LETTERS)
    return None, one_line(column, MAX_LETTERS)


class _Networks:
    """The networks of a table, as the columns that may be choices tell them apart.

    Each cell has a random number of 64 bits, and a network is the sum of its cells', so that leaving out a column is a
    subtraction. Two of a million networks have one sum with a probability of 3e-8.
    """

    def __init__(self, table: Table) -> None:
        rng = np.random.default_rng(0)
        self._own: dict[str, NDArray[np.uint64]] = {}
        self._sum = np.zeros(len(table), dtype=np.uint64)
        for name, column in table.columns.items():
            if name in RESERVED or is_cost_name(_said(name)[1]):
                continue
            texts = [_text(value) for value in column.values]
            drawn = rng.integers(2**64, size=len(texts), dtype=np.uint64)
            numbers = dict(zip(texts, drawn, strict=True))
            self._own[name] = np.array([numbers[text] for text in texts], dtype=np.uint64)[column.codes]
            self._sum += self._own[name]

    def are_named_by(self, column: str) -> bool:
        """Whether a column only names networks that the others tell apart; repeats have the same name."""
        own = self._own.get(column)
        if own is None:
            return False
        names, pairs, networks = (len(np.unique(numbers)) for numbers in (own, self._sum, self._sum - own))
        return names == pairs == networks > 1


def _role(name: str, cells: Column) -> str | None:
    """The role of a column by its name and its cells, the reason to leave it aside, or None if that is unclear."""
    if is_cost_name(name):
        return "cost" if any(_text(cell) for cell in cells.used()) else "empty"
    different = {_text(cell) for cell in cells.used()}
    if different == {""}:
        return "empty"
    if len(different) == 1:
        return SAME
    return "choice" if len(different) <= MAX_VALUES and len(different) < len(cells) else None


def _values(table: Table, label: str, name: str) -> Column:
    """The cells of a choice as values: numbers if all are numbers, else texts."""
    column = table.columns[name]
    empty = np.array([is_empty(value) for value in column.values])
    rule = f"is missing; if {label} is not a choice, rename the column to note:{label}"
    table.check(name, ~empty[column.codes], rule, label)
    plain = np.array([isinstance(value, str | int | float) for value in column.values])
    table.check(name, plain[column.codes], "is neither a text nor a number", label)
    numbers = [number_of(value) for value in column.used()]
    if all(map(math.isfinite, numbers)):
        return Column([_whole(number_of(value)) for value in column.values], column.codes)
    return Column([_text(value) for value in column.values], column.codes)


def _whole(number: float) -> Value:
    """A number, as an integer if it is one."""
    return int(number) if math.isfinite(number) and number == int(number) else number


def _costs(table: Table, name: str) -> NDArray[np.float64]:
    costs = table.columns[name].numbers()
    shown = _said(name)[1]
    rule = f"is not a number above 0; if {shown} is not a cost, rename it to note:{shown} or choice:{shown}"
    table.check(name, (costs > 0) & (costs < math.inf), rule, shown)  # not for nan
    return costs


def _text(cell: object) -> str:
    """A cell as text: ``3`` and ``3.0`` become equal, and blanks around it are removed."""
    if isinstance(cell, bool):
        return str(cell).lower()
    number = number_of(cell)
    if math.isfinite(number) and number == int(number):
        return str(int(number))
    return "" if cell is None else one_line(str(cell), MAX_LETTERS)


def _natural(value: Value) -> tuple[Any, ...]:
    """The order of values: numbers by size, also those within a text, such as ``k3_e1`` before ``k11_e1``."""
    if not isinstance(value, str):
        return (value,)
    parts = [part for part in re.split(r"([0-9]+)", value) if part]
    # Digits are compared by their number and then one by one: Python refuses to read thousands of them as one integer.
    digits = [part.lstrip("0") if "0" <= part[0] <= "9" else None for part in parts]
    return tuple((1, 0, part) if d is None else (0, len(d), d) for part, d in zip(parts, digits, strict=True))
