"""Cropping, flipping, augmenting and normalising batches of images, on the device.

All random numbers are drawn from a generator that the caller passes, so that a step can be repeated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from baselines.training.recipe import Recipe

# Mean and standard deviation of ImageNet, as fractions of 255 (tensorflow/tpu preprocessing.py); used for all images.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Both of them for alpha, which then ranges from -1 to 1.
ALPHA = 0.5

# kornia draws one policy per call; this many images share one.
POLICY_GROUP = 8


def normalised(
    pixels: Tensor,
    dtype: torch.dtype = torch.float32,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Tensor:
    """Images as input of a network.

    Args:
        pixels: uint8, or float in [0, 1], of shape (N, side, side, channels).
        dtype: type of the result.
        mean, std: mean and standard deviation of each channel, as fractions of white; those of ImageNet by default.

    Returns:
        A tensor of shape (N, channels, side, side), channels last in memory.
    """
    known = channel_constants(pixels.shape[-1]) if mean is None or std is None else (mean, std)
    centre, spread = (_constant(values, pixels.device, dtype) for values in known)
    scale = 255.0 if pixels.dtype == torch.uint8 else 1.0
    values = torch.addcmul(-centre / spread, pixels.to(dtype), 1 / (scale * spread))
    return values.permute(0, 3, 1, 2)


@cache
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype)


def channel_constants(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel: grey has the means of the colours' (our choice), alpha `ALPHA`."""
    if channels == 1:
        return (sum(MEAN) / len(MEAN),), (sum(STD) / len(STD),)
    others = (ALPHA,) * (channels - len(MEAN))
    return MEAN + others, STD + others


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
    """A batch to train on: cropped, flipped and augmented by the recipe, then `normalised`.

    Args:
        pixels: uint8 of shape (N, h, w, channels).
        recipe: recipe with crop, flip and augmentation.
        side: side of the network's input in pixels.
        generator: random generator on the CPU.
        dtype: type of the result.
    """
    pixels = _random_area(pixels, side, generator) if recipe.crop == "resize" else resized(pixels, side)
    pixels = _shift_and_flip(pixels, recipe, generator)
    if recipe.augmentation != "none":
        return normalised(_augmented(pixels, recipe.augmentation, generator), dtype)
    return normalised(pixels, dtype)


def _shift_and_flip(pixels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Images shifted by up to an eighth of the side, with a black border, and half of them flipped: one gather."""
    count, side = len(pixels), pixels.shape[1]
    reach = side // 8 if recipe.crop == "pad" else 0
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


def _random_area(pixels: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A random area of each image, resized (bicubic): 8 to 100 % of the area, with an aspect ratio of 3/4 to 4/3.

    If none of ten draws fits, it is the largest square in the centre.
    """
    count, height, width = pixels.shape[:3]
    areas = torch.empty(count, 10).uniform_(0.08, 1.0, generator=generator) * height * width
    ratios = torch.exp(torch.empty(count, 10).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator))
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
