"""`RowIndex`: where rows of choices stand among others, of which there may be a million."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.space import Indices


class RowIndex:
    """The positions of rows. It needs about as much memory as the rows in the fewest bytes that hold their values.

    Args:
        rows: rows of indices, of shape (count, choices).
        cardinalities: number of values of each choice.

    Attributes:
        first: position of the first of the rows that are equal to each row, of shape (count,).
    """

    def __init__(self, rows: Indices, cardinalities: Indices) -> None:
        self._type = np.min_scalar_type(max(0, int(cardinalities.max(initial=1)) - 1))
        keys = self._keys(rows)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        starts = np.ones(len(rows), dtype=bool)
        starts[1:] = ordered[1:] != ordered[:-1]
        self._sorted, self._positions = ordered[starts], order[starts]
        self.first: Indices = np.empty(len(rows), dtype=np.int64)
        self.first[order] = self._positions[np.cumsum(starts) - 1]

    def __len__(self) -> int:
        """Number of different rows."""
        return len(self._sorted)

    def positions(self, rows: Indices) -> Indices:
        """The position of each row, the first of equals; -1 for a row that is not among them: shape (count,)."""
        if not len(self._sorted):
            return np.full(len(rows), -1, dtype=np.int64)
        keys = self._keys(rows)
        places = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[places] == keys, self._positions[places], -1)

    def _keys(self, rows: Indices) -> NDArray[np.void]:
        """A scalar for each row, equal for equal rows."""
        compact = np.ascontiguousarray(rows.astype(self._type))
        if not compact.shape[1]:
            return np.zeros(len(rows), dtype="V1")
        return compact.view(np.dtype((np.void, compact.itemsize * compact.shape[1]))).reshape(-1)
