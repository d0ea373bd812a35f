"""The order of the images, and how they get to the device. A step is identical however it is reached."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.interrupts import starting_children
from baselines.training.data.fit import drawn, evaluation_view, random_view
from baselines.training.data.images import Images
from baselines.training.data.sources import Part
from baselines.training.recipe import Recipe
from search_spaces.errors import MnasError

# Packed images of at most this many bytes in total are kept on the device.
ON_DEVICE_BYTES = 4 * 2**30
READERS = 4


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """Indices of the images in the order of an epoch, each once."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Random seed of one step on one device."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])


class PackedBatches:
    """Batches of images from one array."""

    def __init__(self, part: Part, device: torch.device) -> None:
        images, rows = part.source
        fits = len(rows) * images[:1].nbytes <= ON_DEVICE_BYTES
        if device.type != "cpu" and fits:
            images, rows = images[rows], np.arange(len(rows))
        with warnings.catch_warnings():
            # torch warns about read-only arrays, since writing to the tensor is undefined. Nothing here writes.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(images)
        self._images = tensor.to(device) if fits else tensor
        self._rows, self._labels = rows, torch.from_numpy(part.labels)
        self._device = device

    def read(self, batches: Sequence[NDArray[np.int64]], first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, uint8 of shape (N, side, side, channels), and labels for each batch of indices."""
        for indices in batches:
            rows = torch.from_numpy(self._rows[indices]).to(self._images.device)
            labels = self._labels[torch.from_numpy(indices)]
            yield self._images[rows].to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


class FileBatches:
    """Batches of images that a few processes decode as they are needed, and draw as squares of one side.

    Args:
        part: images, labels and fit.
        side: side of the batches in pixels.
        device: device that the batches are put on.
        recipe: recipe whose crop is drawn for each image; None for what is evaluated.
        seed: random seed of the crops.
    """

    def __init__(self, part: Part, side: int, device: torch.device, recipe: Recipe | None, seed: int) -> None:
        self._part, self._side, self._device, self._recipe, self._seed = part, side, device, recipe, seed

    def read(self, batches: Sequence[NDArray[np.int64]], first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `PackedBatches.read`; crops depend only on seed, step, image and how often it has occurred."""
        from torch.utils.data import DataLoader

        keys = [_keys(indices, first_step + place) for place, indices in enumerate(batches)]
        readers = min(READERS, len(os.sched_getaffinity(0)), len(keys))
        loader: DataLoader[Any] = DataLoader(
            _Crops(self._part.images, self._part.fit, self._side, self._recipe, self._seed),  # type: ignore[arg-type]
            batch_sampler=keys,
            num_workers=readers,
            multiprocessing_context="spawn" if readers else None,
            pin_memory=self._device.type == "cuda",
        )
        with starting_children():
            reading = iter(loader)
        try:
            for images, indices in zip(reading, batches, strict=True):
                labels = torch.from_numpy(self._part.labels[indices])
                yield images.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)
        except (OSError, MnasError) as error:  # torch puts a traceback before the message of the process
            message = str(error).strip().splitlines()[-1].partition(": ")[2]
            problem = message.removeprefix("data: ").partition("; restore")[0]
            raise MnasError(
                f"data: {problem}, but could be read before; restore it, then resume or start again"
            ) from None


def _keys(indices: NDArray[np.int64], step: int) -> list[tuple[int, int, int]]:
    """Index, step, and how often the index has already occurred in this batch."""
    seen: Counter[int] = Counter()
    keys = []
    for index in indices.tolist():
        keys.append((index, step, seen[index]))
        seen[index] += 1
    return keys


class _Crops:
    """Images decoded and drawn as squares, by the keys of `_keys`."""

    def __init__(self, images: Images, fit: str, side: int, recipe: Recipe | None, seed: int) -> None:
        self._images, self._fit, self._side, self._recipe, self._seed = images, fit, side, recipe, seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: tuple[int, int, int]) -> Tensor:
        index, step, occurred = key
        pixels = self._images[index]
        if self._recipe is not None and self._recipe.crop == "resize":
            rng = np.random.default_rng((self._seed, step, index, *([occurred] if occurred else [])))
            scale, ratio = self._recipe.crop_scale, self._recipe.crop_ratio
            view = random_view(pixels.shape[:2], self._fit, self._side, rng, scale, ratio)
        else:
            view = evaluation_view(pixels.shape[:2], self._fit, self._side)
        return torch.from_numpy(drawn(pixels, view, self._side))


def batches_of(
    part: Part, side: int, device: torch.device, recipe: Recipe | None, seed: int = 0
) -> PackedBatches | FileBatches:
    """Batches of a part, for training with a recipe, or for evaluation if the recipe is None."""
    return PackedBatches(part, device) if part.side else FileBatches(part, side, device, recipe, seed)
