"""Predictions of a network on a part of the data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.training.augment import inputs_of, resized
from baselines.training.batches import batches_of
from baselines.training.data.sources import Part

EVALUATION_BATCH = 250


@torch.inference_mode()
def logits_of(
    network: nn.Module, part: Part, side: int, device: torch.device, at_once: int = EVALUATION_BATCH
) -> Tensor:
    """Logits of all images of a part, in order, in evaluation mode: shape (N, classes), on the CPU.

    Args:
        network: trained network.
        part: images to predict.
        side: side of the network's input in pixels.
        device: device to use.
        at_once: most images to compute at once, up to `EVALUATION_BATCH`. With as many as in a training step,
            evaluation needs less memory than training.
    """
    network.eval()
    logits = []
    size = min(at_once, EVALUATION_BATCH)
    indices = [np.arange(start, min(start + size, len(part))) for start in range(0, len(part), size)]
    for images, _ in batches_of(part, side, device, None).read(indices, 0):
        logits.append(network(inputs_of(network, resized(images, side))).float().cpu())
    return torch.cat(logits) if logits else torch.empty(0, 0)


def hits_of(
    network: nn.Module, part: Part, side: int, device: torch.device, at_once: int = EVALUATION_BATCH
) -> NDArray[np.bool_]:
    """Whether the network's first prediction is right, for each image of a part; arguments as for `logits_of`."""
    hits: NDArray[np.bool_] = logits_of(network, part, side, device, at_once).argmax(1).numpy() == part.labels
    return hits


def accuracy_of(
    network: nn.Module, part: Part, side: int, device: torch.device, at_once: int = EVALUATION_BATCH
) -> float:
    """Share of a part's images for which the first prediction is right; arguments as for `logits_of`."""
    return float(hits_of(network, part, side, device, at_once).mean())
