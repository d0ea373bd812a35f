"""Class activation maps: where in an image a network sees a class, as a labelled grid (EfficientNet's Figure 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.training.augment import inputs_of
from baselines.training.data.decoding import Pixels, decode
from baselines.training.data.fit import CROP, View, drawn, evaluation_view, resized_area
from search_spaces.architecture import RGB
from search_spaces.errors import MnasError, not_installed, unknown_name
from search_spaces.network import Network

if TYPE_CHECKING:
    from PIL.Image import Image

METHODS = ("cam", "grad-cam")
CELL, GAP, LINE, FONT = 168, 8, 22, 14
# A heat map from dark to bright that colour-blind people can read: five colours, interpolated linearly.
_HEAT = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=float)


@dataclass(frozen=True)
class Column:
    """A trained network whose maps fill a column of the grid.

    Attributes:
        name: heading of the column.
        network: network with its weights, on the CPU.
        classes: names of the classes, in the order of the network's outputs.
        fit: how images that are not square become its input, one of `baselines.training.data.fit.FITS`.
    """

    name: str
    network: Network
    classes: Sequence[str]
    fit: str = CROP


def class_maps(network: Network, inputs: Tensor, classes: Tensor, method: str = "cam") -> Tensor:
    """How much each position in the image is evidence for a class.

    ``cam`` (Zhou et al., arXiv 1512.04150, equation 2): the channels of the last feature map, after its activation,
    weighted by the class's weights in the classifier and summed. ``grad-cam`` (Selvaraju et al., arXiv 1610.02391),
    through captum: channels weighted by their mean gradient, negative values set to 0.

    Args:
        network: trained network.
        inputs: output of `baselines.training.augment.normalised`, of shape (N, channels, side, side).
        classes: class index for each input, of shape (N,).
        method: one of `METHODS`.

    Returns:
        A tensor of shape (N, h, w), where h and w are the sides of the last feature map.

    Raises:
        MnasError: the method is unknown, captum is not installed, or the network has no classifier.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    if not isinstance(network.classifier, torch.nn.Linear):
        raise MnasError("network: it has no classifier, and maps are those of classes; use the network as trained")
    network.eval()
    if method == "grad-cam":
        try:
            from captum.attr import LayerGradCam
        except ImportError:
            raise not_installed("method", "captum", "train") from None
        found: Tensor = LayerGradCam(network, network.head).attribute(inputs, target=classes, relu_attributions=True)
        return found[:, 0].detach()
    maps: list[Tensor] = []
    handle = network.head.register_forward_hook(lambda module, given, output: maps.append(output))
    try:
        with torch.no_grad():
            network(inputs)
    finally:
        handle.remove()
    return torch.einsum("nkhw,nk->nhw", maps[0], network.classifier.weight[classes]).detach()


def cam_grid(
    columns: Sequence[Column], files: Sequence[Path], method: str = "cam", of_class: str | None = None
) -> Image:
    """A picture with a row for each image: the image itself, then its map for each network.

    A column is as wide as its longest text, and no narrower than a map.

    Args:
        columns: networks to draw maps of.
        files: image files.
        method: one of `METHODS`.
        of_class: class to draw; None for the class that each network predicts.

    Raises:
        MnasError: an image cannot be read, or a network does not know the class.
    """
    from PIL import Image as Images
    from PIL import ImageDraw, ImageFont

    for column in columns:
        if of_class is not None and of_class not in column.classes:
            raise unknown_name(f"class of {column.name}", of_class, column.classes)
    named, channels = [], {RGB, *(column.network.architecture.in_channels for column in columns)}
    for file in files:
        try:
            named.append((file, {each: decode(file, channels=each) for each in channels}))
        except OSError as error:
            raise MnasError(f"images: {error}; use image files") from None
    font = ImageFont.load_default(FONT)
    # All of it, unless every network sees only the middle.
    first = next((column for column in columns if column.fit != CROP), columns[0])
    filled = [("original", [(_shown(photo[RGB], _view(first, photo[RGB])), file.name) for file, photo in named])]
    filled += [(column.name, [_cell(column, photo, method, of_class) for _, photo in named]) for column in columns]
    widths = [
        max(CELL, *(int(font.getbbox(text)[2]) for text in (name, *(text for _, text in cells))))
        for name, cells in filled
    ]
    *lefts, right = accumulate((width + GAP for width in widths), initial=GAP)
    height = CELL + GAP + LINE
    canvas = Images.new("RGB", (right, GAP + LINE + height * len(named)), "white")
    draw = ImageDraw.Draw(canvas)
    for left, (name, cells) in zip(lefts, filled, strict=True):
        draw.text((left, GAP), name, fill="black", font=font)
        for row, (picture, text) in enumerate(cells):
            top = GAP + LINE + height * row
            _paste(canvas, picture, (left, top))
            draw.text((left, top + CELL), text, fill="black", font=font)
    return canvas


def _view(column: Column, photo: Pixels) -> View:
    return evaluation_view(photo.shape[:2], column.fit, column.network.architecture.resolution)


def _shown(photo: Pixels, view: View) -> Pixels:
    """What a network sees of a photo, at the photo's own shape, within `CELL` pixels."""
    left, top, right, bottom = view.area
    longest = max(right - left, bottom - top)
    width, height = (max(1, round(CELL * length / longest)) for length in (right - left, bottom - top))
    return resized_area(photo, view.area, (width, height))


def _paste(canvas: Image, image: Pixels, corner: tuple[int, int]) -> None:
    """Draw an image in the centre of the cell with this upper left corner."""
    from PIL import Image as Images

    height, width = image.shape[:2]
    canvas.paste(Images.fromarray(image), (corner[0] + (CELL - width) // 2, corner[1] + (CELL - height) // 2))


def _cell(column: Column, photos: Mapping[int, Pixels], method: str, of_class: str | None) -> tuple[Pixels, str]:
    """The image, by its channels, with a network's map over it, and the caption: class and probability."""
    net, photo = column.network.architecture, photos[RGB]
    side, view = net.resolution, _view(column, photo)
    inputs = inputs_of(column.network, torch.from_numpy(drawn(photos[net.in_channels], view, side))[None])
    with torch.inference_mode():
        probabilities = column.network.eval()(inputs).softmax(1)[0]
    label = int(probabilities.argmax()) if of_class is None else list(column.classes).index(of_class)
    (heat,) = class_maps(column.network, inputs, torch.tensor([label]), method)
    text = f"{column.classes[label]}: {100 * float(probabilities[label]):.0f} %"
    return overlaid(_shown(photo, view), _without_borders(heat, view, side).numpy()), text


def _without_borders(heat: Tensor, view: View, side: int) -> Tensor:
    """The part of a map where the image was drawn, in pixels of the input if there are borders."""
    if view.place == (0, 0, side, side):
        return heat
    left, top, right, bottom = view.place
    large = torch.nn.functional.interpolate(heat[None, None], (side, side), mode="bilinear", align_corners=False)
    return large[0, 0, top:bottom, left:right]


def overlaid(image: Pixels, heat: NDArray[np.float32]) -> Pixels:
    """An image blended half and half with a map, whose lowest value is dark and whose highest is bright."""
    span = float(heat.max() - heat.min())
    relative = (heat - heat.min()) / span if span > 0 else np.zeros_like(heat)
    values = torch.from_numpy(relative)[None, None]
    large = torch.nn.functional.interpolate(values, image.shape[:2], mode="bilinear", align_corners=False)[0, 0].numpy()
    places = large * (len(_HEAT) - 1)
    colours = np.stack([np.interp(places, np.arange(len(_HEAT)), _HEAT[:, channel]) for channel in range(3)], axis=-1)
    mixed: Pixels = (0.5 * image + 0.5 * colours).round().astype(np.uint8)
    return mixed
