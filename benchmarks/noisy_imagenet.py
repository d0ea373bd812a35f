"""A plug-in: the ``imagenet`` evaluator with noise of 0.25 points, as in training, drawn by architecture and seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.evaluators.base import Evaluator, Metrics
from nas.evaluators.registry import load_evaluator
from search_spaces import Architecture, digest

NOISE = 0.0025


class NoisyImageNet(Evaluator):
    """Predicts accuracy and adds Gaussian noise."""

    name = "noisy_imagenet"
    meaning = "predicted ImageNet top-1 under a shortened schedule, with made-up noise of 0.25 points"
    noisy = True

    def __init__(self) -> None:
        self._exact = load_evaluator("imagenet")

    def check(self, architecture: Architecture) -> None:
        self._exact.check(architecture)

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        exact = self._exact.evaluate(architectures)
        return [
            Metrics(metrics.accuracy + NOISE * float(self._noise(architecture, seed)), NOISE)
            for metrics, architecture in zip(exact, architectures, strict=True)
        ]

    def _noise(self, architecture: Architecture, seed: int) -> float:
        return np.random.default_rng([int(digest(architecture), 16), seed]).standard_normal()


evaluator = NoisyImageNet
