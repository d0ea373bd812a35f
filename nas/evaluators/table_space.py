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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nas.costs.metrics import is_cost_name, named_metric
from nas.evaluators.table_file import Row, fault, is_empty, number_of
from search_spaces import ChoiceSpace, MnasError
from search_spaces.errors import one_line, shorten
from search_spaces.registry import TABLE
from search_spaces.space import Value

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


def table_space(file: Path, names: Sequence[str], rows: Sequence[Row]) -> tuple[ChoiceSpace, Columns, list[Row]]:
    """The space of a table, the roles of its columns, and its rows with cells of choices as values of the space.

    Args:
        file: path of the table, for messages.
        names: names of the columns, in order.
        rows: rows that count.

    Raises:
        MnasError: no column is a choice, a column could be several things, a choice has an empty cell, or a cost is
            not a number above 0.
    """
    roles = _Roles(file, names, rows)
    values = {label: _values(file, label, column, rows) for label, column in roles.choices.items()}
    costs = {name: _costs(file, column, rows) for name, column in roles.costs.items()}
    choices = {label: sorted(set(cells), key=_natural) for label, cells in values.items()}
    networks = list(zip(*values.values(), strict=True))  # one for each row
    rows_of: dict[tuple[Value, ...], list[int]] = {}
    for row, network in enumerate(networks):
        rows_of.setdefault(network, []).append(row)
    repeats = {name: [[cells[row] for row in same] for same in rows_of.values()] for name, cells in costs.items()}
    means = {name: [fmean(same) for same in lists] for name, lists in repeats.items()}
    averaged = tuple(name for name, lists in repeats.items() if any(len(set(same)) > 1 for same in lists))
    members = [dict(zip(choices, network, strict=True)) for network in rows_of]
    space = ChoiceSpace(TABLE, choices, members, means)
    valued: list[Row] = [
        (number, {**cells, **dict(zip(choices, network, strict=True))})
        for (number, cells), network in zip(rows, networks, strict=True)
    ]
    return space, Columns(tuple(choices), tuple(costs), tuple(roles.aside), averaged), valued


class _Roles:
    """The columns of choices and of costs by their names without a prefix, and what is left aside and why."""

    def __init__(self, file: Path, names: Sequence[str], rows: Sequence[Row]) -> None:
        self.choices: dict[str, str] = {}
        self.costs: dict[str, str] = {}
        self.aside: list[str] = []
        unclear = []
        of_a_run = OF_A_RUN if set(names) >= OF_A_RUN else set()
        for column in names:
            if column in RESERVED:
                continue
            role, name = _said(column)
            cells = [row.get(column) for _, row in rows]
            if not name:
                role, name = "note", "a column without a name"
            elif role is None:
                role = "tells how a trial went" if name in of_a_run else _role(name, cells)
                if role == "choice" and _identifies(column, names, rows):
                    role = None
            elif role == "choice" and len(set(map(_text, cells))) == 1:
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


def _identifies(column: str, names: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether a column only names networks that the other columns tell apart; repeats have the same name."""
    others = [name for name in names if name not in RESERVED and name != column and not is_cost_name(_said(name)[1])]
    networks = {tuple(_text(row.get(name)) for name in others) for _, row in rows}
    pairs = {(_text(row.get(column)), tuple(_text(row.get(name)) for name in others)) for _, row in rows}
    return len({name for name, _ in pairs}) == len(pairs) == len(networks) > 1


def _role(name: str, cells: Sequence[object]) -> str | None:
    """The role of a column by its name and its cells, the reason to leave it aside, or None if that is unclear."""
    different = {_text(cell) for cell in cells}
    if different == {""}:
        return "empty"
    if is_cost_name(name):
        return "cost"
    if len(different) == 1:
        return SAME
    return "choice" if len(different) <= MAX_VALUES and len(different) < len(cells) else None


def _values(file: Path, label: str, column: str, rows: Sequence[Row]) -> list[Value]:
    """The cells of a choice as values: numbers if all are numbers, else texts."""
    cells: list[Any] = []
    for number, row in rows:
        cell = row.get(column)
        if is_empty(cell):
            rule = f"is missing; if {label} is not a choice, rename the column to note:{label}"
            raise fault(file, number, label, cell, rule)
        if not isinstance(cell, str | int | float):
            raise fault(file, number, label, cell, "is neither a text nor a number")
        cells.append(cell)
    numbers = [number_of(cell) for cell in cells]
    if all(map(math.isfinite, numbers)):
        return [int(number) if number == int(number) else number for number in numbers]
    return [_text(cell) for cell in cells]


def _costs(file: Path, column: str, rows: Sequence[Row]) -> list[float]:
    found = []
    for number, row in rows:
        value = number_of(row.get(column))
        if not 0 < value < math.inf:  # false for nan
            name = _said(column)[1]
            rule = f"is not a number above 0; if {name} is not a cost, rename it to note:{name} or choice:{name}"
            raise fault(file, number, name, row.get(column), rule)
        found.append(value)
    return found


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
