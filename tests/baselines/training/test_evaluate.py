from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from baselines.training.data.sources import Part
from baselines.training.evaluate import Evaluation, evaluate
from baselines.views.evaluation import summary


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


@pytest.mark.parametrize("seed", range(6))
def test_balanced_accuracy_and_macro_f1_are_those_of_scikit_learn(seed: int) -> None:
    """Also where a class has no images, or is never predicted, or neither."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 4], 60, p=[0.7, 0.2, 0.05, 0.05])
    predicted = np.where(rng.random(60) < 0.6, labels, rng.choice([0, 1, 3], 60))
    confusion = np.zeros((7, 7), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    found = Evaluation(60, 0.0, 0.0, (0.0, 0.0), 0.0, confusion)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of predictions that are no labels
        balanced = metrics.balanced_accuracy_score(labels, predicted)
        f1 = metrics.f1_score(labels, predicted, average="macro")
    assert found.balanced_accuracy == pytest.approx(balanced)
    assert found.macro_f1 == pytest.approx(f1)
    by_hand = [predicted[labels == label].tolist().count(label) / (labels == label).sum() for label in set(labels)]
    assert found.balanced_accuracy == pytest.approx(np.mean(by_hand))


@pytest.mark.parametrize(("classes", "shown"), [(2, False), (3, False), (5, False), (6, True), (10, True)])
def test_top_5_is_shown_where_it_says_something(classes: int, shown: bool) -> None:
    line = summary(Evaluation(60, 0.5, 1.0, (0.4, 0.6), 0.3, np.eye(classes, dtype=np.int64)))
    assert ("top-5" in line) == shown
    assert "balanced accuracy 100.00 %, macro-F1 100.00 %" in line
