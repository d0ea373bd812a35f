"""How images that are not square become the square input of a network: cropped, padded or squashed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.text import counted
from baselines.training.data.decoding import Pixels, picture_of

# What a network sees of an image. Trainings from before there was a choice are `CROP`.
CROP, PAD, SQUASH = "crop", "pad", "squash"
FITS = (CROP, PAD, SQUASH)
# Images up to this side are evaluated to their edges, also where they are cropped.
WHOLE_SIDE = 128
# The middle square of an image that is so many times as long as wide is half of it or less. Where at least `SOME` of
# the images are so long, they are not cropped.
LONG, SOME = 2.0, 0.1
# Images whose shapes differ by at most this factor are squashed: as much as a random area (`random_view`) may stretch
# one against another. Others would be told apart by how much they were squashed, so they are padded.
ALIKE = 16 / 9

Box = tuple[float, float, float, float]
Sizes = NDArray[np.int32]


class View(NamedTuple):
    """An area of an image, and where it is drawn. All lengths are in pixels, as left, top, right and bottom.

    Attributes:
        area: area of the image.
        place: place in the square input that the area fills; the rest is black.
    """

    area: Box
    place: tuple[int, int, int, int]


def chosen_fit(sizes: Sizes) -> str:
    """The fit of images that loses the least of them.

    Args:
        sizes: width and height of each image, upright, of shape (N, 2).
    """
    if not len(sizes) or _long(sizes).mean() < SOME:
        return CROP
    low, high = np.quantile(sizes[:, 0] / sizes[:, 1], (SOME / 2, 1 - SOME / 2))
    return SQUASH if high <= ALIKE * low else PAD


def _long(sizes: Sizes) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = sizes.max(1) >= LONG * sizes.min(1)
    return found


def fit_note(fit: str, sizes: Sizes, *, chosen: bool) -> str:
    """A sentence about the fit and why it was chosen; empty where all images are square and none was asked for.

    Args:
        fit: one of `FITS`.
        sizes: as for `chosen_fit`.
        chosen: whether the images decided.
    """
    if not len(sizes) or (sizes[:, 0] == sizes[:, 1]).all():
        return "" if chosen else f"Fit: {fit}; all images are square."
    long = int(_long(sizes).sum())
    lost = f"of {long:,} of {counted(len(sizes), 'image')} the middle square is half or less"
    if fit == CROP:
        share = float(np.median(sizes.min(1) / sizes.max(1)))
        why = ", since most images are less than twice as long as wide" if chosen else ""
        more = f"; {lost}, --fit pad or squash shows whole images" if long else ""
        return f"Fit: crop{why}: the middle square is {100 * share:.0f} % of the median image{more}."
    what = "squashed to squares" if fit == SQUASH else "made square with black borders"
    alike = "their shapes are alike" if fit == SQUASH else "their shapes differ"
    why = f", since {lost}, and {alike}" if chosen else ""
    return f"Fit: {fit}{why}: whole images are {what}."


def evaluation_view(size: Sequence[int], fit: str, side: int) -> View:
    """What is evaluated of an image: all of it, padded or squashed; or the square in its centre.

    The side of that square is the shorter side of an image up to `WHOLE_SIDE`. For larger images it is a share of that,
    side / (side + 32), as in tensorflow/tpu preprocessing.py of the original release and in timm (crop_pct 0.875 at
    224).

    Args:
        size: height and width of the image.
        fit: one of `FITS`.
        side: side of the network's input.
    """
    height, width = size
    if fit != CROP:
        return View((0, 0, width, height), _place(size, fit, side))
    return View(_centre(size, 1 if max(size) <= WHOLE_SIDE else side / (side + 32)), (0, 0, side, side))


def random_view(
    size: Sequence[int],
    fit: str,
    side: int,
    rng: np.random.Generator,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
) -> View:
    """A random area of an image to train on.

    For images that are padded or squashed, that is the ratio to the whole image's, and the area is drawn where the
    whole image would be: so every part of an image is seen, at the shape that it has in evaluation. If none of ten
    draws fits, it is the square in the centre, or the whole image.

    Args:
        size, fit, side: as for `evaluation_view`.
        rng: random generator.
        scale, ratio: least and largest share of the image, and width divided by height.
    """
    if fit == CROP:
        return View(_random_area(size, rng, scale, ratio) or _centre(size), (0, 0, side, side))
    height, width = size
    left, top, right, bottom = _random_area((1, 1), rng, scale, ratio) or (0, 0, 1, 1)
    area = (left * width, top * height, min(1, right) * width, min(1, bottom) * height)
    return View(area, _place(size, fit, side))


def _place(size: Sequence[int], fit: str, side: int) -> tuple[int, int, int, int]:
    """Where a whole image is drawn: everywhere, or in the centre with its own shape."""
    if fit == SQUASH:
        return 0, 0, side, side
    height, width = (max(1, round(side * length / max(size))) for length in size)
    left, top = (side - width) // 2, (side - height) // 2
    return left, top, left + width, top + height


def _centre(size: Sequence[int], share: float = 1) -> Box:
    """The square in the centre whose side is a share of the shorter side."""
    height, width = size
    part = min(height, width) * share
    left, top = (width - part) / 2, (height - part) / 2
    return left, top, left + part, top + part


def _random_area(
    size: Sequence[int], rng: np.random.Generator, scale: Sequence[float], ratio: Sequence[float]
) -> Box | None:
    """A random area (`random_view`); None if none of ten draws fits."""
    height, width = size
    (least, most), (low, high) = scale, ratio
    for _ in range(10):
        area, shape = rng.uniform(least, most) * height * width, float(np.exp(rng.uniform(np.log(low), np.log(high))))
        w, h = (area * shape) ** 0.5, (area / shape) ** 0.5
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    return None


def drawn(pixels: Pixels, view: View, side: int) -> Pixels:
    """The view of an image as a network's input (resized bicubically): uint8 of shape (side, side, channels)."""
    left, top, right, bottom = view.place
    area = resized_area(pixels, view.area, (right - left, bottom - top))
    if area.shape[:2] == (side, side):
        return area
    canvas = np.zeros((side, side, pixels.shape[2]), dtype=np.uint8)
    canvas[top:bottom, left:right] = area
    return canvas


def resized_area(pixels: Pixels, area: Box, size: tuple[int, int]) -> Pixels:
    """An area of an image, resized (bicubic) to a width and a height: uint8 of shape (height, width, channels)."""
    from PIL import Image

    found = np.array(picture_of(pixels).resize(size, Image.Resampling.BICUBIC, box=area))
    return found if found.ndim > 2 else found[..., None]


def squares(images: Pixels, fit: str) -> Pixels:
    """Images of one size as squares, none smaller than a whole one needs.

    Args:
        images: uint8 of shape (N, height, width, channels).
        fit: one of `FITS`.
    """
    height, width = images.shape[1:3]
    if height == width:
        return images
    if fit == CROP:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return images[:, top : top + side, left : left + side]
    side = max(height, width)
    view = View((0, 0, width, height), _place((height, width), fit, side))
    return np.stack([drawn(image, view, side) for image in images])
