"""Classes with few images among classes with many: what is said, and how trainings count them alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted
from baselines.training.data.mirrors import flip_lines
from search_spaces.errors import one_line

if TYPE_CHECKING:
    from baselines.training.data.sources import ImageData
    from baselines.training.recipe import Recipe

# A class of which the commonest has more than so many times the images is rare.
RARE = 10


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Weight of each class in the loss: inverse to its images, with a mean over all images of 1; 0 without images."""
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    weights: NDArray[np.float64] = np.where(counts, len(labels) / (present * np.maximum(counts, 1)), 0.0)
    return weights


def balanced_order(seed: int, epoch: int, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of images in the order of an epoch, as many as there are images, all classes equally often.

    Within a class each image occurs equally often too, so those of large classes once in several epochs. What does not
    divide evenly is drawn.
    """
    rng = np.random.default_rng((seed, epoch))
    present = rng.permutation(np.unique(labels))
    order = []
    for place, label in enumerate(present):
        share = len(labels) // len(present) + (place < len(labels) % len(present))
        images = rng.permutation(np.flatnonzero(labels == label))
        order.append(np.resize(images, share))
    found: NDArray[np.int64] = rng.permutation(np.concatenate(order))
    return found


def recipe_lines(data: ImageData, recipe: Recipe) -> list[str]:
    """Lines with what a person should know about these images under this recipe: `flip_lines` and `balance_lines`."""
    return [*flip_lines(data, recipe), *balance_lines(data, recipe)]


def balance_lines(data: ImageData, recipe: Recipe) -> list[str]:
    """A line if the commonest class has more than `RARE` times the images of the rarest, and what is done about it."""
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    least, most = int(counts.argmin()), int(counts.argmax())
    if RARE * counts[least] >= counts[most]:
        return []
    rare, common = (f"{one_line(data.classes[label], 30)} has {counts[label]:,}" for label in (least, most))
    done = {
        "none": "a network may hardly learn the rarest; --balance weights or sampler counts all classes alike",
        "weights": "--balance weights counts all classes alike in the loss",
        "sampler": "--balance sampler shows all classes equally often",
    }[recipe.balance]
    images = counted(len(data.train), "image")
    return [f"Note: of {images} to train on {rare}, {common}: {done}. See balanced accuracy beside top-1."]
