"""Do left and right tell classes apart? Arrows, letters and keep-left signs must not be flipped in training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted
from baselines.training.data.decoding import picture_of
from search_spaces.errors import one_line

if TYPE_CHECKING:
    from baselines.training.data.sources import ImageData, Part
    from baselines.training.recipe import Recipe

# Side of the thumbnails, images that are looked at in all, and of one class.
SIDE, LOOKED_AT, OF_A_CLASS = 16, 2000, 100
# Fewer images of a class have no mean to speak of.
LEAST = 5


def mirrored_classes(part: Part, classes: int) -> list[tuple[int, int]]:
    """Pairs of classes of which each looks like the other, flipped left to right.

    Compared are the means of small grey thumbnails: the flipped mean of a class is nearest to that of the other, both
    ways, at less than half of its distance from its own; and it is further from its own than chance would put it.

    Args:
        part: images to look at; at most `LOOKED_AT` of them are read.
        classes: number of classes.
    """
    rng = np.random.default_rng(0)
    most = min(OF_A_CLASS, max(LEAST, LOOKED_AT // max(1, classes)))
    means = np.full((classes, SIDE, SIDE), np.nan)
    errors = np.zeros(classes)
    for label in range(classes):
        members = np.flatnonzero(part.labels == label)
        if len(members) < LEAST:
            continue
        chosen = rng.permutation(members)[:most]
        thumbnails = np.stack([_thumbnail(_small(part.images, int(index))) for index in chosen])
        means[label] = thumbnails.mean(axis=0)
        errors[label] = float(np.sqrt((thumbnails.var(axis=0) / len(chosen)).sum()))
    known = np.flatnonzero(~np.isnan(means[:, 0, 0]))
    if len(known) < 2:
        return []
    flat = means[known].reshape(len(known), -1)
    flipped = means[known][:, :, ::-1].reshape(len(known), -1)
    distances = np.stack([np.sqrt(((one - flat) ** 2).sum(axis=1)) for one in flipped])
    own = distances.diagonal().copy()
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    found = []
    for one, other in enumerate(nearest.tolist()):
        if one < other and nearest[other] == one:
            far = all(distances[a, b] < own[a] / 2 for a, b in ((one, other), (other, one)))
            sure = all(own[each] > 3 * errors[known[each]] for each in (one, other))
            if far and sure:
                found.append((int(known[one]), int(known[other])))
    return found


def flip_lines(data: ImageData, recipe: Recipe) -> list[str]:
    """A line if images are not flipped because of what they are, or if they are, and perhaps should not be."""
    if data.written:
        return ["Note: these are taken for digits or letters, so they are not flipped left to right."]
    pairs = mirrored_classes(data.train, len(data.classes)) if recipe.flip else []
    if not pairs:
        return []
    (one, other), more = pairs[0], f" (and {counted(len(pairs) - 1, 'other pair')})" if len(pairs) > 1 else ""
    names = f"{one_line(data.classes[one], 30)} and {one_line(data.classes[other], 30)}"
    seen = f"{names}{more} look like each other's mirror images, and the recipe flips images"
    return [f"Note: {seen}; if left and right tell them apart, add --no-flip."]


def _small(images: Any, index: int) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = images[index] if isinstance(images, np.ndarray) else images.small(index, 4 * SIDE)
    return pixels


def _thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A grey image of `SIDE` pixels without its mean brightness: shape (`SIDE`, `SIDE`)."""
    from PIL import Image

    small = picture_of(np.asarray(pixels)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float64)
    result: NDArray[np.float64] = values - values.mean()
    return result
