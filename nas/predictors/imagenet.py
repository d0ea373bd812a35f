"""The perceptron of the ``imagenet`` evaluator: from steps of a space's choices to accuracy and σ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import StageSpace
from search_spaces.space import Indices

MODEL_FILE = Path(__file__).with_name("imagenet.npz")


class Student:
    """The perceptron: from steps of a space's choices to -log(100 - top-1 in percent) and log σ in points.

    It has two hidden layers of SiLU units and a linear skip. The first layer and the skip are linear in the steps, and
    each step belongs to one stage, so both become one table per stage. An architecture then needs seven look-ups and a
    small matrix product.

    Args:
        space: space whose choices are the inputs.
        arrays: weights, by name.
    """

    def __init__(self, space: StageSpace, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}
        first, skip = self.arrays["weight0"], self.arrays["skip"]
        self._tables = []
        for stage in range(len(space.stages)):
            steps = space.steps(space.stage_options(stage)).astype(np.float32)
            self._tables.append((steps @ first, steps @ skip))

    def outputs(self, codes: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean of -log(100 - top-1) and log σ, for stage codes of shape (count, stages)."""
        # Process in chunks that fit into the processor's cache.
        chunks = [self._chunk(codes[start : start + 250]) for start in range(0, len(codes), 250)]
        result = np.concatenate([np.empty((0, 2)), *chunks])
        return result[:, 0], result[:, 1]

    def _chunk(self, codes: Indices) -> NDArray[np.float32]:
        arrays = self.arrays
        hidden, direct = arrays["bias0"], arrays["bias2"]
        for column, (first, skip) in enumerate(self._tables):
            chosen = codes[:, column]
            hidden, direct = hidden + first.take(chosen, axis=0), direct + skip.take(chosen, axis=0)
        hidden = _silu(_silu(hidden) @ arrays["weight1"] + arrays["bias1"])
        result: NDArray[np.float32] = hidden @ arrays["weight2"] + direct
        return result

    def save(self, file: Path, about: str) -> None:
        """Write the arrays and a note that describes them."""
        np.savez(file, allow_pickle=False, about=np.array(about), **self.arrays)


def _silu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = values / (1 + np.exp(-values))
    return result
