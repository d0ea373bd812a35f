"""``imagenet``: accuracy on ImageNet under a shortened schedule, predicted.

A perceptron fitted by `nas.evaluators.fit_imagenet_predictor` on measurements of Accel-NASBench
(github.com/afzalxo/Accel-NASBench, Apache-2.0). Its networks were trained far shorter than published ones: B0 is at
65.95 % here and at 77.1 % in its paper. So the figures compare networks with one another; they do not say what a full
training gives. σ is that of one training: error of the model and noise of training together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.evaluators.base import Evaluator, Metrics
from search_spaces import Architecture, FieldError, SearchSpace, load_space
from search_spaces.architecture import RECIPE_FIELDS
from search_spaces.space import Indices

MODEL_FILE = Path(__file__).with_name("imagenet_predictor.npz")
# Fields outside the stages that the measured networks share. The predictor knows no other recipe than the benchmark's.
_FRAME_FIELDS = tuple(f.name for f in fields(Architecture) if f.name not in ("stages", *RECIPE_FIELDS))


class Student:
    """The perceptron: steps of a space's choices to -log(100 - top-1 in percent) and log σ in points.

    Two hidden layers of SiLU units and a linear skip. The first layer and the skip are linear in the steps, and each
    step belongs to one stage, so both become one table a stage: an architecture costs seven look-ups and one small
    matrix product.
    """

    def __init__(self, space: SearchSpace, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}
        first, skip = self.arrays["weight0"], self.arrays["skip"]
        self._tables = []
        for stage in range(len(space.stages)):
            steps = space.steps(space.stage_options(stage)).astype(np.float32)
            self._tables.append((steps @ first, steps @ skip))

    def outputs(self, codes: Indices) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean of -log(100 - top-1) and log σ, of stage codes of shape (count, stages)."""
        # In parts that stay in the processor's cache.
        parts = [self._part(codes[start : start + 250]) for start in range(0, len(codes), 250)]
        result = np.concatenate([np.empty((0, 2)), *parts])
        return result[:, 0], result[:, 1]

    def _part(self, codes: Indices) -> NDArray[np.float32]:
        arrays = self.arrays
        hidden, direct = arrays["bias0"], arrays["bias2"]
        for column, (first, skip) in enumerate(self._tables):
            chosen = codes[:, column]
            hidden, direct = hidden + first.take(chosen, axis=0), direct + skip.take(chosen, axis=0)
        hidden = _silu(_silu(hidden) @ arrays["weight1"] + arrays["bias1"])
        result: NDArray[np.float32] = hidden @ arrays["weight2"] + direct
        return result

    def save(self, file: Path, about: str) -> None:
        """Write the arrays and a note on what they are."""
        np.savez(file, allow_pickle=False, about=np.array(about), **self.arrays)


def _silu(values: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = values / (1 + np.exp(-values))
    return result


class ImageNetPredictor(Evaluator):
    """Predicted top-1 with σ for members of the ``efficientnet`` space; refuses every other network."""

    name = "imagenet"
    instant = True
    meaning = "predicted ImageNet top-1 under a shortened schedule (Accel-NASBench), not that of a full training"

    def __init__(self) -> None:
        self._space = load_space("efficientnet")

    @cached_property
    def _student(self) -> Student:
        with np.load(MODEL_FILE, allow_pickle=False) as arrays:
            return Student(self._space, {name: arrays[name] for name in arrays.files if name != "about"})

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the model file says of itself: data, licence, and figures on the valid split."""
        with np.load(MODEL_FILE, allow_pickle=False) as arrays:
            note: dict[str, Any] = json.loads(str(arrays["about"]))
        return note

    def check(self, architecture: Architecture) -> None:
        self._codes([architecture])

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        accuracy, std = self.predict(architectures)
        return list(map(Metrics, accuracy.tolist(), std.tolist()))

    def predict(self, architectures: Sequence[Architecture]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Accuracy and σ as arrays of shape (count,), in [0, 1]. Raises `FieldError` as `check` does."""
        mean, log_std = self._student.outputs(self._codes(architectures))
        return 1 - np.exp(-mean) / 100, np.exp(log_std) / 100

    def _codes(self, architectures: Sequence[Architecture]) -> Indices:
        """Stage codes of shape (count, stages).

        Architectures of one space share their stage objects, so each distinct object is looked up once a call; that is
        what makes a thousand architectures take two milliseconds.
        """
        depth = len(self._space.stages)
        frames = {
            (a.resolution, a.num_classes, id(a.stem), id(a.head), a.activation, len(a.stages)): a for a in architectures
        }
        for architecture in frames.values():
            self._check_frame(architecture)
        stages = [stage for architecture in architectures for stage in architecture.stages]
        objects = np.fromiter(map(id, stages), dtype=np.int64, count=len(stages)).reshape(-1, depth)
        codes = np.empty(objects.shape, dtype=np.int64)
        for column in range(depth):
            _, first, inverse = np.unique(objects[:, column], return_index=True, return_inverse=True)
            distinct = [self._space.stage_code(column, stages[row * depth + column]) for row in first.tolist()]
            codes[:, column] = np.array(distinct, dtype=np.int64)[inverse]
        return codes

    def _check_frame(self, architecture: Architecture) -> None:
        for field in _FRAME_FIELDS:
            value, expected = getattr(architecture, field), getattr(self._space.template, field)
            if value != expected:
                raise FieldError(field, f"{value} is outside what the evaluator {self.name!r} knows ({expected})")
        if len(architecture.stages) != len(self._space.stages):
            known = len(self._space.stages)
            raise FieldError("stages", f"{len(architecture.stages)} is outside what {self.name!r} knows ({known})")
