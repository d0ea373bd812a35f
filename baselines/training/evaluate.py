"""Evaluation of a trained network: accuracy with its interval, loss, and confusion of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.memory import device_here
from baselines.statistics import wilson
from baselines.training.data.sources import Part
from baselines.training.predict import EVALUATION_BATCH, logits_of
from search_spaces.errors import MnasError


@dataclass(frozen=True)
class Evaluation:
    """Result of evaluating a network, with one crop per image.

    Attributes:
        images: number of images.
        top1, top5: share of images whose class is the first prediction, or among the first five.
        interval: 95 % interval of ``top1`` (Wilson), for other images of the same kind. It does not include the chance
            variation between trainings.
        loss: mean cross entropy, in nats.
        confusion: number of images by class (row) and prediction (column), of shape (classes, classes).
    """

    images: int
    top1: float
    top5: float
    interval: tuple[float, float]
    loss: float
    confusion: NDArray[np.int64]

    def recall(self) -> list[float]:
        """The share of each class's images that is recognised; nan for a class without images."""
        totals = self.confusion.sum(1)
        pairs = zip(self.confusion.diagonal(), totals, strict=True)
        return [float(hit / total) if total else math.nan for hit, total in pairs]

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of the classes that have images."""
        return float(np.nanmean(self.recall()))

    @property
    def macro_f1(self) -> float:
        """Mean of 2 TP / (2 TP + FP + FN) of the classes that have images or are predicted."""
        seen = self.confusion.sum(0) + self.confusion.sum(1)  # 2 TP + FP + FN
        return float((2 * self.confusion.diagonal()[seen > 0] / seen[seen > 0]).mean())

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        recall = [None if math.isnan(value) else value for value in self.recall()]
        return {
            "images": self.images,
            "top1": self.top1,
            "top1_interval": self.interval,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "top5": self.top5,
            "loss": self.loss,
            "recall": recall,
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    network: nn.Module,
    part: Part,
    side: int,
    device: torch.device | None = None,
    at_once: int = EVALUATION_BATCH,
) -> Evaluation:
    """Evaluate a network on a part of the data.

    Args:
        network: trained network.
        part: images to evaluate on.
        side: side of the network's input in pixels.
        device: device to use; None for a GPU if there is one.
        at_once: most images to compute at once.

    Raises:
        MnasError: the part has no images.
    """
    if not len(part):
        raise MnasError(
            "part: this part has no images; use another of train, val and test, or other images with --data"
        )
    device = device or device_here()
    logits = logits_of(network.to(device), part, side, device, at_once)
    labels = torch.from_numpy(part.labels)
    classes = logits.shape[1]
    first = logits.topk(min(5, classes), 1).indices
    hits = first == labels[:, None]
    top1 = float(hits[:, 0].double().mean())
    confusion = torch.bincount(labels * classes + first[:, 0], minlength=classes**2).reshape(classes, classes)
    return Evaluation(
        images=len(part),
        top1=top1,
        top5=float(hits.any(1).double().mean()),
        interval=wilson(top1, len(part)),
        loss=float(nn.functional.cross_entropy(logits.double(), labels)),
        confusion=confusion.numpy(),
    )
