"""Cropping, flipping, augmenting, erasing, mixing and normalising batches of images, on the device.

All random numbers are drawn from a generator that the caller passes, so that a step can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot, pad

from baselines.training.recipe import MEAN, STD, Recipe

# Mean and standard deviation of alpha, which then ranges from -1 to 1.
ALPHA = 0.5

# kornia draws one policy per call; this many images share one.
POLICY_GROUP = 8
# Least and largest share of the image, and height divided by width, of a rectangle that is erased (arXiv 1708.04896;
# torchvision's values).
ERASED, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
Numbers = tuple[float, ...]


def normalised(
    pixels: Tensor, dtype: torch.dtype = torch.float32, *, mean: Numbers = MEAN, std: Numbers = STD
) -> Tensor:
    """Images as input of a network.

    Args:
        pixels: uint8, or float in [0, 1], of shape (N, side, side, channels).
        dtype: type of the result.
        mean, std: as in `Recipe`, or of each channel; see `channel_constants`.

    Returns:
        A tensor of shape (N, channels, side, side), channels last in memory.
    """
    constants = channel_constants(pixels.shape[-1], mean, std)
    means, stds = (_constant(values, pixels.device, dtype) for values in constants)
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    values = torch.addcmul(-means / stds, pixels.to(dtype), 1 / (scale * stds))
    return values.permute(0, 3, 1, 2)


@cache
def _constant(values: Numbers, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)


def channel_constants(channels: int, mean: Numbers = MEAN, std: Numbers = STD) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of each channel, from those of red, green and blue, or as given for each.

    Grey has the means of the colours' (our choice), alpha `ALPHA`.
    """
    if len(mean) == channels:
        return mean, std
    if channels == 1:
        return (sum(mean) / len(mean),), (sum(std) / len(std),)
    others = (ALPHA,) * (channels - len(mean))
    return mean + others, std + others


def keep_normalisation(network: nn.Module, recipe: Recipe) -> None:
    """Note on a network with which mean and standard deviation it is trained, for `inputs_of`; no weight changes."""
    vars(network)["normalisation"] = recipe.mean, recipe.std


def inputs_of(network: nn.Module, pixels: Tensor) -> Tensor:
    """Images as input of this network: `normalised` as in its training, or as for ImageNet if nothing is known."""
    mean, std = vars(network).get("normalisation", (MEAN, STD))
    return normalised(pixels, mean=mean, std=std)


def resized(pixels: Tensor, side: int) -> Tensor:
    """uint8 images of shape (N, h, w, channels), resized to another side (bicubic, with antialiasing)."""
    if pixels.shape[1:3] == (side, side):
        return pixels
    values = interpolate(
        pixels.permute(0, 3, 1, 2).float(), (side, side), mode="bicubic", align_corners=False, antialias=True
    )
    return values.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def train_batch(
    pixels: Tensor, recipe: Recipe, side: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A batch to train on: cropped, flipped and augmented by the recipe, then `normalised`, and parts of it erased.

    Args:
        pixels: uint8 of shape (N, h, w, channels).
        recipe: recipe with crop, flip, augmentation, mean and standard deviation.
        side: side of the network's input in pixels.
        generator: random generator on the CPU.
        dtype: type of the result.
    """
    pixels = _random_area(pixels, recipe, side, generator) if recipe.crop == "resize" else resized(pixels, side)
    pixels = _shift_and_flip(pixels, recipe, generator)
    if recipe.augmentation != "none":
        pixels = _augmented(pixels, recipe.augmentation, generator)
    inputs = normalised(pixels, dtype, mean=recipe.mean, std=recipe.std)
    return _erased(inputs, recipe.random_erasing, generator) if recipe.random_erasing else inputs


def mixed(
    inputs: Tensor, labels: Tensor, recipe: Recipe, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images mixed with their neighbours in the batch by the recipe, and the share of each class in them.

    Each image draws its own share of the image before it, of which the first one's is the last. In a mixup, all pixels
    are blended by this share; in a cutmix, a rectangle of this share of the area, with the image's aspect ratio and its
    centre anywhere, is pasted, and what of it lies within the image counts.

    Args:
        inputs: images of shape (N, 3, side, side).
        labels: labels of shape (N,).
        recipe: recipe with mixup and cutmix.
        classes: number of classes.
        generator: random generator on the CPU.

    Returns:
        Images of the same shape, and shares of shape (N, classes) whose rows have a sum of 1.
    """
    count, side, device = len(inputs), inputs.shape[-1], inputs.device
    hot = one_hot(labels, classes).to(inputs.dtype)
    kinds = [name for name in ("mixup", "cutmix") if getattr(recipe, name)]
    if not kinds:
        return inputs, hot
    # torch draws no beta distribution from a generator.
    rng = np.random.default_rng(int(torch.randint(0, 2**31, (1,), generator=generator)))
    pastes = rng.random(count) < (0.5 if len(kinds) == 2 else float(kinds == ["cutmix"]))
    alphas = np.where(pastes, recipe.cutmix or 1.0, recipe.mixup or 1.0)
    shares, centres = rng.beta(alphas, alphas), rng.integers(0, side, (2, count))
    half = (0.5 * side * np.sqrt(shares)).astype(np.int64)
    low, high = np.maximum(centres - half, 0), np.minimum(centres + half, side)
    shares = np.where(pastes, (high - low).prod(0) / side**2, shares)
    weights = torch.from_numpy(shares).to(device, inputs.dtype)[:, None]
    line = torch.arange(side, device=device)
    rows, columns = (
        (line >= first[:, None]) & (line < last[:, None])
        for first, last in zip(torch.from_numpy(low).to(device), torch.from_numpy(high).to(device), strict=True)
    )
    inside = (rows[:, :, None] & columns[:, None, :]).to(inputs.dtype)
    pasted = torch.from_numpy(pastes).to(device)[:, None, None]
    of_pixels = torch.where(pasted, inside, weights[:, :, None])
    return (
        torch.lerp(inputs, inputs.roll(1, 0), of_pixels[:, None]),
        torch.lerp(hot, hot.roll(1, 0), weights),
    )


def _erased(inputs: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Images of which a share has a random rectangle with the mean colour.

    If none of ten draws fits into an image, it stays whole.
    """
    count, height, width = len(inputs), *inputs.shape[2:]
    areas = torch.empty(count, 10).uniform_(*ERASED, generator=generator) * height * width
    ratios = torch.exp(torch.empty(count, 10).uniform_(*map(math.log, ERASED_RATIO), generator=generator))
    heights, widths = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(1, keepdim=True)
    chosen = fits.any(1) & (torch.rand(count, generator=generator) < share)
    masks = []
    for lengths, length, place in zip(
        (heights, widths), (height, width), torch.rand((2, count, 1), generator=generator), strict=True
    ):
        own, line = lengths.gather(1, first), torch.arange(length)
        start = (place * (length - own + 1)).floor()
        masks.append((line >= start) & (line < start + own))
    inside = (masks[0][:, :, None] & masks[1][:, None, :]) & chosen[:, None, None]
    return inputs.masked_fill(inside[:, None].to(inputs.device), 0.0)


def _shift_and_flip(pixels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Images shifted by up to a share of the side, with a black border, and half of them flipped: one gather."""
    count, side = len(pixels), pixels.shape[1]
    reach = int(side * recipe.crop_shift) if recipe.crop == "pad" else 0
    if not reach and not recipe.flip:
        return pixels
    shifts = torch.randint(0, 2 * reach + 1, (2, count, 1), generator=generator)
    flips = torch.rand((count, 1), generator=generator) < (0.5 if recipe.flip else 0.0)
    line = torch.arange(side)
    rows = line + shifts[0]
    columns = torch.where(flips, line.flip(0), line) + shifts[1]
    padded = pad(pixels, (0, 0, reach, reach, reach, reach)) if reach else pixels
    device = pixels.device
    images = torch.arange(count, device=device)[:, None, None]
    return padded[images, rows.to(device)[:, :, None], columns.to(device)[:, None, :]]


def _random_area(pixels: Tensor, recipe: Recipe, side: int, generator: torch.Generator) -> Tensor:
    """A random area of each image, of the recipe's scale and ratio, resized (bicubic).

    If none of ten draws fits, it is the largest square in the centre.
    """
    count, height, width = pixels.shape[:3]
    areas = torch.empty(count, 10).uniform_(*recipe.crop_scale, generator=generator) * height * width
    ratios = torch.exp(torch.empty(count, 10).uniform_(*map(math.log, recipe.crop_ratio), generator=generator))
    widths, heights = (areas * ratios).sqrt(), (areas / ratios).sqrt()
    fits = (widths <= width) & (heights <= height)
    first = fits.int().argmax(1, keepdim=True)
    any_fits = fits.any(1)
    box_width = torch.where(any_fits, widths.gather(1, first)[:, 0], torch.tensor(float(min(width, height))))
    box_height = torch.where(any_fits, heights.gather(1, first)[:, 0], torch.tensor(float(min(width, height))))
    place = torch.rand((2, count), generator=generator)
    place = torch.where(any_fits, place, torch.tensor(0.5))
    left, top = place[0] * (width - box_width), place[1] * (height - box_height)
    centre_x, centre_y = (2 * left + box_width) / width - 1, (2 * top + box_height) / height - 1
    zeros = torch.zeros(count)
    rows = [
        torch.stack([box_width / width, zeros, centre_x], 1),
        torch.stack([zeros, box_height / height, centre_y], 1),
    ]
    affine = torch.stack(rows, 1).to(pixels.device)
    grid = torch.nn.functional.affine_grid(affine, [count, pixels.shape[3], side, side], align_corners=False)
    values = torch.nn.functional.grid_sample(
        pixels.permute(0, 3, 1, 2).float(), grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return values.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _augmented(pixels: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Augmented float images in [0, 1]; each group of `POLICY_GROUP` images gets a policy of its own."""
    policy = _policy(name)
    values = pixels.permute(0, 3, 1, 2).float() / 255
    # kornia draws from torch's global generator.
    with torch.random.fork_rng(devices=[pixels.device] if pixels.is_cuda else []):
        torch.manual_seed(int(torch.randint(0, 2**31, (1,), generator=generator)))
        parts = [policy(values[start : start + POLICY_GROUP]) for start in range(0, len(values), POLICY_GROUP)]
    return torch.cat(parts).clamp_(0, 1).permute(0, 2, 3, 1)


@cache
def _policy(name: str) -> Callable[[Tensor], Tensor]:
    from kornia.augmentation import auto

    policy: Any = auto.AutoAugment("imagenet") if name == "autoaugment" else auto.RandAugment(n=2, m=9)
    return policy  # type: ignore[no-any-return]
