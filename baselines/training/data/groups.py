"""Holding out whole groups of images, such as all photographs of one patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def hold_out_groups(labels: Labels, groups: Labels, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sorted indices of the held-out images: whole groups, about a share of each class, and never all of one.

    Groups are taken in random order while none of their classes gets more than its share. A class that has no image
    then gets the group that exceeds the shares least. A class may stay without images if its groups are few.

    Args:
        labels: class of each image.
        groups: group of each image.
        share: share of each class to hold out.
        rng: generator of the order.
    """
    names, places = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(counts, (places, labels), 1)
    total = counts.sum(0)
    wanted = np.maximum(1, np.rint(share * total)) * (total > 0)
    held, taken = np.zeros_like(total), np.zeros(len(names), dtype=bool)
    order = rng.permutation(len(names))

    def leaves_some(group: int) -> bool:
        return bool(((held + counts[group] < total) | (total == 0)).all())

    for group in order:
        if (held + counts[group] <= wanted).all() and leaves_some(group):
            held, taken[group] = held + counts[group], True
    for label in np.flatnonzero((held == 0) & (total > 0)):
        usable = [group for group in order if not taken[group] and counts[group, label] and leaves_some(group)]
        if usable and not held[label]:
            group = min(usable, key=lambda group: float((held + counts[group] - wanted).clip(0).sum()))
            held, taken[group] = held + counts[group], True
    return np.flatnonzero(taken[places])
