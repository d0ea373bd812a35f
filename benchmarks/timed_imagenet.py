"""A plug-in: the ``imagenet`` evaluator, slowed down to imitate training.

It sleeps for as many seconds per architecture as the environment variable SECONDS says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from nas.evaluators.base import Metrics
from nas.evaluators.imagenet import ImageNetPredictor
from search_spaces import Architecture


class TimedImageNet(ImageNetPredictor):
    """Sleeps for every architecture before it predicts."""

    instant = False

    def __init__(self) -> None:
        super().__init__()
        self._seconds = float(os.environ.get("SECONDS", "0.05"))

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        time.sleep(self._seconds * len(architectures))
        return super().evaluate(architectures, seed)


evaluator = TimedImageNet
