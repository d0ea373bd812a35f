"""Compound scaling: change an architecture in width, depth and resolution.

Sources: tensorflow/tpu efficientnet_model.py, facebookresearch/pycls scaler.py and huawei-noah/CV-Backbones
tinynet_pytorch for the rounding; EfficientNet (arXiv 1905.11946) section 3.3 for the method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search_spaces import Architecture, ConvLayer
from search_spaces.architecture import DEPTH_DIVISOR, check_int, check_name, check_number, round_filters

# Parts that a family may leave unscaled: the channels of stem or head, the channels of the head where they would become
# fewer, or the layers of the first and the last stage.
KEEPABLE = ("stem", "head", "large-head", "ends")
LOWEST_FACTOR, HIGHEST_FACTOR = 0.05, 50


@dataclass(frozen=True)
class Rounding:
    """How layers and channels become whole numbers after scaling.

    Attributes:
        layers_up: whether numbers of layers are rounded up; otherwise to the nearest, half to even, but at least to 1.
        floor: share of the exact channels that the multiple of 8 may not fall below: 0.9, or 0 for the nearest multiple
            (half to even).
    """

    layers_up: bool
    floor: float

    def words(self) -> str:
        """The rounding in words: ``layers rounded up, channels to 8 by the 90 % rule``."""
        layers = "layers rounded up" if self.layers_up else "layers rounded"
        return f"{layers}, channels to 8" + (f" by the {100 * self.floor:g} % rule" if self.floor else "")

    def layers(self, layers: int, depth: float) -> int:
        """Number of layers times ``depth``."""
        return round_repeats(layers, depth) if self.layers_up else max(1, round(depth * layers))

    def channels(self, channels: int, width: float) -> int:
        """Channels times ``width``, as a multiple of 8; unchanged for a width of 1."""
        if width == 1:
            return channels
        if self.floor:
            return round_filters(channels, width)
        return max(1, round(channels * width / DEPTH_DIVISOR)) * DEPTH_DIVISOR


# Whose roundings they are: tensorflow/tpu's EfficientNet, TinyNet, pycls.
EFFICIENTNET = Rounding(layers_up=True, floor=0.9)
TINYNET = Rounding(layers_up=False, floor=0.9)
PYCLS = Rounding(layers_up=False, floor=0)


@dataclass(frozen=True)
class Coefficients:
    """The factors of compound scaling, and the resolution.

    Attributes:
        width: factor on the channels of stem, stages and head, from 0.05 to 50.
        depth: factor on the number of layers of every stage, from 0.05 to 50.
        resolution: side of the input image in pixels; not a factor.
        dropout: dropout probability before the classifier; None keeps that of the architecture.
        keep: parts that are not scaled, from `KEEPABLE`. EfficientNet-Lite keeps stem, head and ends (tensorflow/tpu
            efficientnet_model.py, ``fix_head_stem``), MnasNet keeps the head (mnasnet_model.py), MobileNetV2 and
            TinyNet keep it for widths below 1 (arXiv 1801.04381; CV-Backbones tinynet_pytorch).
        rounding: how layers and channels are rounded.

    Raises:
        FieldError: a field breaks its rule.
    """

    width: float
    depth: float
    resolution: int
    dropout: float | None = None
    keep: tuple[str, ...] = ()
    rounding: Rounding = EFFICIENTNET

    def __post_init__(self) -> None:
        check_number("width", self.width, LOWEST_FACTOR, HIGHEST_FACTOR)
        check_number("depth", self.depth, LOWEST_FACTOR, HIGHEST_FACTOR)
        check_int("resolution", self.resolution, 1, 8192)
        if self.dropout is not None:
            check_number("dropout", self.dropout, 0, 1, below_high=True)
        for part in self.keep:
            check_name("keep", part, KEEPABLE)


def round_repeats(repeats: int, depth: float) -> int:
    """Return the number of layers times ``depth``, rounded up (tensorflow/tpu efficientnet_model.py)."""
    return math.ceil(depth * repeats)


def compound_scale(architecture: Architecture, coefficients: Coefficients) -> Architecture:
    """Return the architecture scaled by the coefficients.

    The width multiplies the channels of stem, stages and head. The depth multiplies the layers of all stages, including
    stages of one layer. Kernels, expansion, squeeze-excite, strides and the parts in `Coefficients.keep` do not change.
    A width of 1 leaves the channels as they are, even where they are not multiples of 8.

    Raises:
        FieldError: the result breaks a rule of architectures, such as a resolution below the total stride.
    """
    keep, rounding = coefficients.keep, coefficients.rounding
    stem, *channels, head = scaled_channels(architecture, coefficients.width, keep, rounding)
    layers = scaled_layers(architecture, coefficients.depth, keep, rounding)
    return replace(
        architecture,
        resolution=coefficients.resolution,
        dropout=architecture.dropout if coefficients.dropout is None else coefficients.dropout,
        stem=replace(architecture.stem, out_channels=stem),
        stages=tuple(
            replace(stage, out_channels=wide, num_layers=deep)
            for stage, wide, deep in zip(architecture.stages, channels, layers, strict=True)
        ),
        head=replace(architecture.head, out_channels=head),
    )


def scaled_channels(
    architecture: Architecture, width: float, keep: Sequence[str] = (), rounding: Rounding = EFFICIENTNET
) -> tuple[int, ...]:
    """Return the channels of stem, stages and head, scaled by a width."""

    def convolution(name: str, layer: ConvLayer) -> int:
        channels = rounding.channels(layer.out_channels, width)
        kept = name in keep or (f"large-{name}" in keep and channels < layer.out_channels)
        return layer.out_channels if kept else channels

    stages = (rounding.channels(stage.out_channels, width) for stage in architecture.stages)
    return convolution("stem", architecture.stem), *stages, convolution("head", architecture.head)


def scaled_layers(
    architecture: Architecture, depth: float, keep: Sequence[str] = (), rounding: Rounding = EFFICIENTNET
) -> tuple[int, ...]:
    """Return the number of layers of each stage, scaled by a depth."""
    last = len(architecture.stages) - 1
    return tuple(
        rounding.layers(stage.num_layers, 1.0 if "ends" in keep and index in (0, last) else depth)
        for index, stage in enumerate(architecture.stages)
    )
