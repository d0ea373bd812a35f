from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines.training.data.sources import Part
from baselines.training.evaluate import evaluate


class Fixed(torch.nn.Module):
    """Predicts the class that the red channel of the first pixel encodes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = (images[:, 0, 0, 0] * 0.229 + 0.485) * 255
        return -(red[:, None] - torch.tensor([0.0, 100.0, 200.0])).abs()


def test_an_evaluation_against_answers_counted_by_hand() -> None:
    answers = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    labels = np.array([0, 1, 1, 1, 0, 2, 2, 2, 0, 1])
    images = np.zeros((10, 8, 8, 3), dtype=np.uint8)
    images[..., 0] = (100 * answers)[:, None, None]
    found = evaluate(Fixed(), Part(images, labels), 8, torch.device("cpu"))
    assert found.confusion.tolist() == [[1, 1, 1], [1, 2, 1], [0, 0, 3]]
    assert (found.images, found.top1, found.top5) == (10, 0.6, 1.0)
    assert found.recall() == pytest.approx([1 / 3, 1 / 2, 1.0])
    assert found.interval == pytest.approx((0.3127, 0.8318), abs=1e-4)
