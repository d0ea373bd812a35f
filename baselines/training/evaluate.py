"""What a trained network is worth: accuracy with its interval, loss, and which classes it takes for which."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.intervals import wilson
from baselines.memory import device_here
from baselines.training.data import Part
from baselines.training.train import EVALUATION_BATCH, logits_of
from search_spaces.errors import MnasError


@dataclass(frozen=True)
class Evaluation:
    """A network on images that it was not trained on, one crop each.

    Attributes:
        images: how many.
        top1, top5: share of images whose class is the first, or among the first five.
        interval: of ``top1``, 95 % (Wilson), for other images of the same kind; the training's own luck is not in it.
        loss: mean cross entropy, in nats.
        confusion: images by class (row) and answer (column), of shape (classes, classes).
    """

    images: int
    top1: float
    top5: float
    interval: tuple[float, float]
    loss: float
    confusion: NDArray[np.int64]

    def recall(self) -> list[float]:
        """Of each class, the share of its images that is recognised; nan where it has none."""
        totals = self.confusion.sum(1)
        pairs = zip(self.confusion.diagonal(), totals, strict=True)
        return [float(hit / total) if total else math.nan for hit, total in pairs]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        recall = [None if math.isnan(value) else value for value in self.recall()]
        return {
            "images": self.images,
            "top1": self.top1,
            "top1_interval": self.interval,
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
        side: of the network's input in pixels.
        device: None for the one that is here.
        at_once: as of `baselines.training.train.logits_of`.

    Raises:
        MnasError: the part has no images.
    """
    if not len(part):
        raise MnasError("part: there are no such images; choose another of train, val, test, or give others as --data")
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
