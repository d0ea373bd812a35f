"""A plug-in: a space that no controller was tuned on, with a made-up accuracy.

The space has twelve stages, each with its own kernel (3, 5, 7), expansion (1, 3, 6), channels and layers: 4e18 networks
and 48 choices. The accuracy saturates in log MACs and in a utility. The utility has random weights, some of them
negative, for all steps of all choices and for a tenth of their pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas.evaluators.base import Evaluator, Metrics
from search_spaces import Architecture, StageChoices, StageSpace, load_stage_space

_CHANNELS = (16, 24, 24, 40, 40, 80, 80, 112, 112, 192, 192, 320)
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 2, 1, 1)


def make_space() -> StageSpace:
    template = load_stage_space("efficientnet").template
    stages = [
        StageChoices(
            kernel_size=(3, 5, 7),
            expand_ratio=(1, 3, 6),
            se_ratio=(0.25,),
            out_channels=tuple(sorted({channels, channels + 8})),
            num_layers=(1, 2),
            stride=stride,
        )
        for channels, stride in zip(_CHANNELS, _STRIDES, strict=True)
    ]
    return StageSpace("synthetic", replace(template, stages=template.stages[:1] * len(stages)), stages)


class Synthetic(Evaluator):
    """The made-up accuracy; see the module."""

    name = "synthetic"
    meaning = "an accuracy made up for a benchmark; it says nothing about trained networks"

    def __init__(self, seed: int = 0) -> None:
        self._space = space
        rng = np.random.default_rng(seed)
        sample = space.sample_indices(rng, 4000)
        steps = space.steps(sample).shape[1]
        self._weights = np.abs(rng.normal(0.5, 0.5, steps)) * np.where(rng.random(steps) < 0.15, -0.6, 1)
        self._pairs = rng.normal(0, 0.25, (steps, steps)) * (rng.random((steps, steps)) < 0.1)
        utility = self._utility(space.steps(sample))
        self._mean, self._std = utility.mean(), utility.std()

    def _utility(self, steps: np.ndarray) -> np.ndarray:
        result: np.ndarray = steps @ self._weights + ((steps @ self._pairs) * steps).sum(axis=1)
        return result

    def check(self, architecture: Architecture) -> None:
        self._space.encode(architecture)

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        if not architectures:
            return []
        rows = self._space.indices([self._space.encode(architecture) for architecture in architectures])
        quality = (self._utility(self._space.steps(rows)) - self._mean) / self._std
        size = np.tanh(np.log(self._space.costs(rows)[0] / 300e6))
        return [Metrics(float(value)) for value in 1 - np.exp(-(1.02 + 0.06 * quality + 0.10 * size))]


space = make_space()
evaluator = Synthetic
