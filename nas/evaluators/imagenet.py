"""``imagenet``: predicted accuracy on ImageNet under a shortened training schedule.

The predictor is a perceptron that `nas.predictors.fit_imagenet` fits on measurements of Accel-NASBench
(github.com/afzalxo/Accel-NASBench, Apache-2.0). The benchmark trains networks for far fewer epochs than their papers:
B0 reaches 65.95 % here and 77.1 % in its paper. So the figures rank networks; they do not predict the accuracy of a
full training. σ is that of a single training; it combines the error of the model and the noise of training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.evaluators.base import Evaluator, Metrics, check_architecture
from nas.predictors.imagenet import MODEL_FILE, Student
from search_spaces import Architecture, FieldError, load_stage_space
from search_spaces.architecture import RECIPE_FIELDS
from search_spaces.space import Indices

# Fields outside the stages, in which all measured networks agree. Training recipes are ignored: the predicted accuracy
# is always that of the benchmark's recipe.
_FRAME_FIELDS = tuple(f.name for f in fields(Architecture) if f.name not in ("stages", *RECIPE_FIELDS))


class ImageNetPredictor(Evaluator):
    """Predicted top-1 with σ for members of the ``efficientnet`` space; refuses every other network."""

    name = "imagenet"
    instant = True
    meaning = "predicted ImageNet top-1 under a shortened schedule (Accel-NASBench), not that of a full training"

    def __init__(self) -> None:
        self._space = load_stage_space("efficientnet")

    @cached_property
    def _student(self) -> Student:
        with np.load(MODEL_FILE, allow_pickle=False) as arrays:
            return Student(self._space, {name: arrays[name] for name in arrays.files if name != "about"})

    @cached_property
    def about(self) -> dict[str, Any]:
        """The note in the model file: its data, their licence, and figures on the valid split."""
        with np.load(MODEL_FILE, allow_pickle=False) as arrays:
            note: dict[str, Any] = json.loads(str(arrays["about"]))
        return note

    def check(self, architecture: Architecture) -> None:
        check_architecture(self.name, architecture)
        self._codes([architecture])

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        accuracy, std = self.predict(architectures)
        return list(map(Metrics, accuracy.tolist(), std.tolist()))

    def predict(self, architectures: Sequence[Architecture]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return accuracy and σ, as arrays of shape (count,) in [0, 1]. Raises `FieldError` as `check` does."""
        mean, log_std = self._student.outputs(self._codes(architectures))
        return 1 - np.exp(-mean) / 100, np.exp(log_std) / 100

    def _codes(self, architectures: Sequence[Architecture]) -> Indices:
        """Return stage codes of shape (count, stages).

        Architectures of one space share their stage objects, so each distinct object is looked up once per call. This
        is why a thousand architectures take only two milliseconds.
        """
        depth = len(self._space.stages)
        frames = {
            (a.resolution, a.num_classes, a.in_channels, id(a.stem), id(a.head), a.activation, len(a.stages)): a
            for a in architectures
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
                raise FieldError(field, f"{value} is not covered by the evaluator {self.name!r} (expected {expected})")
        if len(architecture.stages) != len(self._space.stages):
            count, expected = len(architecture.stages), len(self._space.stages)
            problem = f"{count} stages are not covered by the evaluator {self.name!r} (expected {expected})"
            raise FieldError("stages", problem)
