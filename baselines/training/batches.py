"""The order in which images are seen, and how they get to the device. Every step is the same however it is come to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.interrupts import interrupts_held
from baselines.training.data import Part
from baselines.training.images import PACKED_SIDE, Images, Pixels
from baselines.training.recipe import Recipe
from search_spaces.errors import MnasError

# Packed images up to this many bytes are put on the device at once.
ON_DEVICE_BYTES = 4 * 2**30
READERS = 4


def order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The images of an epoch by index, each once."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Of what is random in one step on one device."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])


class PackedBatches:
    """Batches of images that are one array."""

    def __init__(self, part: Part, device: torch.device) -> None:
        images, rows = part.source
        fits = len(rows) * images[:1].nbytes <= ON_DEVICE_BYTES
        if device.type != "cpu" and fits:
            images, rows = images[rows], np.arange(len(rows))
        with warnings.catch_warnings():
            # torch warns of arrays that it could write to but must not; nobody here writes.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            whole = torch.from_numpy(images)
        self._images = whole.to(device) if fits else whole
        self._rows, self._labels = rows, torch.from_numpy(part.labels)
        self._device = device

    def read(self, batches: Sequence[NDArray[np.int64]], first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images, uint8 of shape (N, side, side, 3), and labels, of each batch of indices."""
        for indices in batches:
            rows = torch.from_numpy(self._rows[indices]).to(self._images.device)
            labels = self._labels[torch.from_numpy(indices)]
            yield self._images[rows].to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


class FileBatches:
    """Batches of images that are decoded as they are needed, by a few processes, and cut to one side.

    Args:
        recipe: whose crop is drawn for each image; None for the middle, as in evaluation.
        seed: of the crops.
    """

    def __init__(self, part: Part, side: int, device: torch.device, recipe: Recipe | None, seed: int) -> None:
        self._part, self._side, self._device, self._recipe, self._seed = part, side, device, recipe, seed

    def read(self, batches: Sequence[NDArray[np.int64]], first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `PackedBatches.read`; crops depend on seed, step and image alone."""
        from torch.utils.data import DataLoader

        keys = [[(int(index), first_step + place) for index in indices] for place, indices in enumerate(batches)]
        readers = min(READERS, len(os.sched_getaffinity(0)), len(keys))
        loader: DataLoader[Any] = DataLoader(
            _Cut(self._part.images, self._side, self._recipe, self._seed),  # type: ignore[arg-type]
            batch_sampler=keys,
            num_workers=readers,
            multiprocessing_context="spawn" if readers else None,
            pin_memory=self._device.type == "cuda",
        )
        with interrupts_held():
            reading = iter(loader)
        try:
            for images, indices in zip(reading, batches, strict=True):
                labels = torch.from_numpy(self._part.labels[indices])
                yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)
        except (OSError, MnasError) as error:  # whose last line is the reader's
            said = str(error).strip().splitlines()[-1].partition(": ")[2].removeprefix("data: ").partition("; bring")[0]
            raise MnasError(f"data: {said}, which it could at first; bring it back, then go on") from None


class _Cut:
    """Images decoded and cut, by (index, step)."""

    def __init__(self, images: Images, side: int, recipe: Recipe | None, seed: int) -> None:
        self._images, self._side, self._recipe, self._seed = images, side, recipe, seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        index, step = key
        pixels = self._images[index]
        if self._recipe is not None and self._recipe.crop == "resize":
            box = random_area(pixels.shape[:2], np.random.default_rng((self._seed, step, index)))
        else:
            box = seen(pixels.shape[:2], self._side)
        return torch.from_numpy(cut(pixels, box, self._side))


Box = tuple[float, float, float, float]


def seen(size: Sequence[int], side: int) -> Box:
    """Left, top, right and bottom of what is evaluated of an image: of small ones all, of others the centre crop.

    The crop is side / (side + 32) of the shorter side, as in tensorflow/tpu preprocessing.py of the original release
    and in timm (crop_pct 0.875 at 224).
    """
    height, width = size
    part = min(height, width) * (1 if max(size) <= PACKED_SIDE else side / (side + 32))
    left, top = (width - part) / 2, (height - part) / 2
    return left, top, left + part, top + part


def random_area(size: Sequence[int], rng: np.random.Generator) -> Box:
    """A part of 8 to 100 % of the area at 3/4 to 4/3; the largest in the middle after ten draws that do not fit."""
    height, width = size
    for _ in range(10):
        area, ratio = rng.uniform(0.08, 1.0) * height * width, float(np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))))
        w, h = (area * ratio) ** 0.5, (area / ratio) ** 0.5
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    part = min(height, width)
    left, top = (width - part) / 2, (height - part) / 2
    return left, top, left + part, top + part


def cut(pixels: Pixels, box: Box, side: int) -> Pixels:
    """A part of an image at another side, bicubic: uint8 of shape (side, side, 3)."""
    from PIL import Image

    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC, box=box)
    return np.array(image)


def batches_of(
    part: Part, side: int, device: torch.device, recipe: Recipe | None, seed: int = 0
) -> PackedBatches | FileBatches:
    """What reads a part for training with a recipe, or for evaluation (None)."""
    return PackedBatches(part, device) if part.side else FileBatches(part, side, device, recipe, seed)
