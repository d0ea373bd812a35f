"""Adapt an architecture to images other than ImageNet's: resolution, number of classes, width, activation."""

from __future__ import annotations

import math
from dataclasses import replace

from search_spaces.architecture import Architecture, Stage, check_number, round_filters

# Below this side, in pixels, the stem keeps the resolution: B0 halves five times, which turns 32 px into one pixel.
SMALL_SIDE = 64
# Below this side, and down to that one, the first stages keep it too, as far as needed: B0 halves four times after its
# stem. Source of the order, stem first and then the first stages: kuangliu/pytorch-cifar models/mobilenetv2.py.
TINY_SIDE, LEAST_SIDE = 16, 8


def adapted(
    architecture: Architecture,
    resolution: int | None = None,
    num_classes: int | None = None,
    width: float = 1.0,
    activation: str | None = None,
    in_channels: int | None = None,
) -> Architecture:
    """Return the architecture for other images, another number of classes, another width or activation.

    Where a resolution below `SMALL_SIDE` pixels is given, the stem's stride is 1, as is usual for CIFAR, so B0 at 32 px
    ends with maps of 2 x 2. From `LEAST_SIDE` to below `TINY_SIDE` pixels, as many of the first stages as necessary
    have stride 1 too, so B0 at 8 px ends with one pixel. A network that keeps its own resolution keeps its strides.
    The width multiplies the channels of stem, stages and head, rounded as in compound scaling.

    Args:
        architecture: architecture to adapt.
        resolution: side of the image in pixels; that of the architecture by default.
        num_classes: number of classes; that of the architecture by default.
        width: factor on channels, from 0.05 to 50.
        activation: one of `search_spaces.architecture.ACTIVATIONS`; that of the architecture by default.
        in_channels: channels of the image; those of the architecture by default.

    Raises:
        FieldError: a value breaks its rule, such as a resolution below the total stride.
    """
    check_number("width", width, 0.05, 50)
    small = resolution is not None and resolution < SMALL_SIDE
    stem = replace(architecture.stem, stride=1) if small else architecture.stem
    changed = replace(
        architecture,
        resolution=architecture.resolution if resolution is None else resolution,
        num_classes=architecture.num_classes if num_classes is None else num_classes,
        stem=stem,
        stages=_at_side(architecture, resolution),
        activation=architecture.activation if activation is None else activation,
        in_channels=architecture.in_channels if in_channels is None else in_channels,
    )
    if width == 1:
        return changed
    return replace(
        changed,
        stem=replace(stem, out_channels=round_filters(stem.out_channels, width)),
        stages=tuple(replace(stage, out_channels=round_filters(stage.out_channels, width)) for stage in changed.stages),
        head=replace(changed.head, out_channels=round_filters(changed.head.out_channels, width)),
    )


def _at_side(architecture: Architecture, resolution: int | None) -> tuple[Stage, ...]:
    """The stages, the first of them with stride 1 where the side is tiny and all strides would leave no pixel."""
    stages = list(architecture.stages)
    if resolution is None or not LEAST_SIDE <= resolution < TINY_SIDE:
        return architecture.stages
    for index, stage in enumerate(stages):
        if architecture.head.stride * math.prod(stage.stride for stage in stages) <= resolution:
            break
        stages[index] = replace(stage, stride=1)
    return tuple(stages)
