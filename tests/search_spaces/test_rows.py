from __future__ import annotations

import numpy as np
import pytest

from search_spaces.rows import RowIndex


@pytest.mark.parametrize("largest", [2, 200, 300, 70_000])
@pytest.mark.parametrize("seed", range(5))
def test_positions_are_those_of_a_dictionary(largest: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cardinalities = np.array([2, largest, 3])
    rows = rng.integers(0, [2, min(largest, 4), 3], size=(40, 3))
    rows[::3, 1] = rng.integers(0, largest, size=len(rows[::3]))
    expected: dict[tuple[int, ...], int] = {}
    for position, row in enumerate(rows.tolist()):
        expected.setdefault(tuple(row), position)
    index = RowIndex(rows, cardinalities)
    assert len(index) == len(expected)
    assert index.first.tolist() == [expected[tuple(row)] for row in rows.tolist()]
    asked = np.concatenate([rows, rng.integers(0, cardinalities, size=(40, 3))])
    assert index.positions(asked).tolist() == [expected.get(tuple(row), -1) for row in asked.tolist()]


def test_no_rows_and_no_choices() -> None:
    empty = RowIndex(np.empty((0, 2), dtype=np.int64), np.array([2, 2]))
    assert len(empty) == 0
    assert empty.positions(np.zeros((3, 2), dtype=np.int64)).tolist() == [-1, -1, -1]
    without = RowIndex(np.empty((1, 0), dtype=np.int64), np.empty(0, dtype=np.int64))
    assert without.positions(np.empty((2, 0), dtype=np.int64)).tolist() == [0, 0]
