"""Networks that were trained with the same seeds: their accuracies, and what the difference of two means."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.statistics import half_of_student
from baselines.values import ByValue
from search_spaces.architecture import check_name
from search_spaces.errors import MnasError

PARTS = ("test", "val")


class Judged(NamedTuple):
    """A trained network judged: whether it recognises each image of a part, of shape (images,).

    Attributes:
        test: the test part.
        val: the validation part; None in results of earlier versions.
    """

    test: NDArray[np.bool_]
    val: NDArray[np.bool_] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, which `read_judged` reads: a bit for each image, in base 64."""
        found: dict[str, Any] = {}
        for prefix, hits in (("", self.test), ("val_", self.val)):
            if hits is not None:
                found[f"{prefix}images"] = len(hits)
                found[f"{prefix}hits"] = base64.b64encode(np.packbits(hits).tobytes()).decode()
                found[f"{prefix}top1"] = float(hits.mean())
        return found


def read_judged(result: Mapping[str, Any]) -> Judged:
    """The reverse of `Judged.as_dict`; it may raise any error on other data."""
    return Judged(_bits(result, ""), _bits(result, "val_") if "val_hits" in result else None)


def _bits(result: Mapping[str, Any], prefix: str) -> NDArray[np.bool_]:
    packed = np.frombuffer(base64.b64decode(result[f"{prefix}hits"]), dtype=np.uint8)
    images = int(result[f"{prefix}images"])
    if len(packed) != math.ceil(images / 8):
        raise ValueError(f"it has {len(packed)} bytes of hits for {images} images")
    return np.unpackbits(packed, count=images).astype(bool)


@dataclass(frozen=True, eq=False)
class Contestant(ByValue):
    """A network with its trainings.

    Attributes:
        name: name of the spec, or ``torchvision:NAME``.
        macs, params: counts of the network as it is trained.
        epochs: number of epochs of each training.
        hits: whether each image of the test part was recognised, of shape (seeds, images).
        resolution: side of the images in pixels, as it is trained.
        val_hits: as ``hits``, of the validation part; None if it was not judged (comparisons of earlier versions).
            Without a part of its own in the data, it has other images for each seed, the same for all networks.
    """

    name: str
    macs: int
    params: int
    epochs: int
    hits: NDArray[np.bool_]
    resolution: int
    val_hits: NDArray[np.bool_] | None = None

    @property
    def accuracies(self) -> list[float]:
        """Top-1 on the test part, one per seed."""
        return _accuracies(self.hits)

    @property
    def mean(self) -> float:
        """Mean of the accuracies."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float | None:
        """Standard deviation of the accuracies between trainings; None for a single training."""
        return _spread(self.accuracies)

    @property
    def val_accuracies(self) -> list[float] | None:
        """Top-1 on the validation part, one per seed; None if it was not judged."""
        return None if self.val_hits is None else _accuracies(self.val_hits)

    @property
    def val_mean(self) -> float | None:
        """Mean of the accuracies on the validation part; None if it was not judged."""
        return None if self.val_accuracies is None else statistics.fmean(self.val_accuracies)

    @property
    def val_std(self) -> float | None:
        """As ``std``, on the validation part; None if it was not judged."""
        return None if self.val_accuracies is None else _spread(self.val_accuracies)


def _accuracies(hits: NDArray[np.bool_]) -> list[float]:
    return [float(value) for value in hits.mean(1)]


def _spread(accuracies: list[float]) -> float | None:
    return statistics.stdev(accuracies) if len(accuracies) > 1 else None


@dataclass(frozen=True)
class PairedDifference:
    """Difference of a network from the reference, over pairs of trainings with the same seed.

    Attributes:
        name, reference: names of the two.
        mean: mean of the differences in top-1, a fraction.
        interval: 95 % interval for other seeds and other images of the same kind; None for a single pair.
    """

    name: str
    reference: str
    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``tie``; ``unknown`` for a single pair."""
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "tie"


def paired_difference(contestant: Contestant, reference: Contestant, part: str = "test") -> PairedDifference:
    """Compare two networks that were trained with the same seeds and judged on the same images.

    Half of the interval is the root of a sum of two squares: Student's t over the pairs, for the randomness of
    training, and 1.96 standard errors over the images, for the choice of images. Without the second, two pairs that
    happen to have the same difference would be certain. The standard error is also right where each seed has images
    of its own: a column then averages independent images.

    Args:
        contestant: network to compare.
        reference: network to compare it with.
        part: ``test`` or ``val``.

    Raises:
        MnasError: the part is unknown, or was not judged.
    """
    first, second = (_hits(one, part) for one in (contestant, reference))
    each = first.astype(float) - second
    pairs = each.mean(1)
    mean = float(pairs.mean())
    if len(pairs) == 1:
        return PairedDifference(contestant.name, reference.name, mean, None)
    half = math.hypot(half_of_student(pairs), 1.96 * float(each.mean(0).std(ddof=1)) / math.sqrt(each.shape[1]))
    return PairedDifference(contestant.name, reference.name, mean, (mean - half, mean + half))


def _hits(contestant: Contestant, part: str) -> NDArray[np.bool_]:
    check_name("part", part, PARTS)
    hits = contestant.hits if part == "test" else contestant.val_hits
    if hits is None:
        raise MnasError(f"part: {contestant.name} was not judged on val (an earlier version); start a new comparison")
    return hits
