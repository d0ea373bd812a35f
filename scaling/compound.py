"""Compound scaling: grow an architecture in width, depth and resolution.

Sources: tensorflow/tpu efficientnet_model.py for the rounding rules; EfficientNet (arXiv 1905.11946) section 3.3 for
the method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from search_spaces import Architecture, ConvLayer, Stage
from search_spaces.architecture import check_int, check_name, check_number, round_filters

# Parts that a family may leave unscaled: the channels of stem or head, or the layers of the first and the last stage.
KEEPABLE = ("stem", "head", "ends")


@dataclass(frozen=True)
class Coefficients:
    """The factors of compound scaling, and the resolution.

    Attributes:
        width: factor on the channels of stem, stages and head, from 0.05 to 50.
        depth: factor on the number of layers of every stage, from 0.05 to 50.
        resolution: side of the input image in pixels; not a factor.
        dropout: dropout probability before the classifier; None keeps that of the architecture.
        keep: parts that are not scaled, from `KEEPABLE`. EfficientNet-Lite keeps all three (tensorflow/tpu
            efficientnet_model.py, ``fix_head_stem``), MnasNet keeps the head (mnasnet_model.py), MobileNetV2 keeps it
            for widths below 1 (arXiv 1801.04381).

    Raises:
        FieldError: a field breaks its rule.
    """

    width: float
    depth: float
    resolution: int
    dropout: float | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_number("width", self.width, 0.05, 50)
        check_number("depth", self.depth, 0.05, 50)
        check_int("resolution", self.resolution, 1, 8192)
        if self.dropout is not None:
            check_number("dropout", self.dropout, 0, 1, below_high=True)
        for part in self.keep:
            check_name("keep", part, KEEPABLE)


def round_repeats(repeats: int, depth: float) -> int:
    """Return the number of layers times ``depth``, rounded up."""
    return math.ceil(depth * repeats)


def compound_scale(architecture: Architecture, coefficients: Coefficients) -> Architecture:
    """Return the architecture grown by the coefficients.

    The width multiplies the channels of stem, stages and head. The depth multiplies the layers of all stages, including
    stages of one layer. Kernels, expansion, squeeze-excite, strides and the parts in `Coefficients.keep` do not change.
    A width of 1 leaves the channels as they are, even where they are not multiples of 8.
    """

    keep = coefficients.keep
    ends = (0, len(architecture.stages) - 1) if "ends" in keep else ()

    def channels(filters: int) -> int:
        return filters if coefficients.width == 1 else round_filters(filters, coefficients.width)

    def scaled(index: int, stage: Stage) -> Stage:
        depth = 1.0 if index in ends else coefficients.depth
        num_layers = round_repeats(stage.num_layers, depth)
        return replace(stage, out_channels=channels(stage.out_channels), num_layers=num_layers)

    def convolution(name: str, layer: ConvLayer) -> ConvLayer:
        return layer if name in keep else replace(layer, out_channels=channels(layer.out_channels))

    dropout = architecture.dropout if coefficients.dropout is None else coefficients.dropout
    return replace(
        architecture,
        resolution=coefficients.resolution,
        dropout=dropout,
        stem=convolution("stem", architecture.stem),
        stages=tuple(scaled(index, stage) for index, stage in enumerate(architecture.stages)),
        head=convolution("head", architecture.head),
    )
