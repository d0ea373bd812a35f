"""Results with arrays compare, and hash, by their values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from baselines.values import ByValue


@dataclass(frozen=True, eq=False)
class Result(ByValue):
    name: str
    hits: NDArray[np.bool_]
    others: NDArray[np.bool_] | None = None


class Other(Result):
    pass


def result(*hits: bool, shape: tuple[int, ...] = (-1,)) -> Result:
    return Result("one", np.array(hits).reshape(shape))


def test_equal_values_are_equal_results() -> None:
    assert result(True, False) == result(True, False)
    assert hash(result(True, False)) == hash(result(True, False))
    assert len({result(True, False), result(True, False), result(True, True)}) == 2


def test_other_values_are_other_results() -> None:
    one = result(True, False)
    for other in (
        result(False, True),
        result(True, False, shape=(2, 1)),
        Result("two", one.hits),
        Result("one", one.hits, one.hits),
        Result("one", one.hits.astype(np.uint8)),  # type: ignore[arg-type]
        Other("one", one.hits),
        "one",
    ):
        assert one != other
