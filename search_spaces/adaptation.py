"""Adapt an architecture to images other than ImageNet's: resolution, number of classes, width, activation."""

from __future__ import annotations

from dataclasses import replace

from search_spaces.architecture import Architecture, check_number, round_filters

# Below this side, in pixels, the stem keeps the resolution: B0 halves five times, which turns 32 px into one pixel.
SMALL_SIDE = 64


def adapted(
    architecture: Architecture,
    resolution: int | None = None,
    num_classes: int | None = None,
    width: float = 1.0,
    activation: str | None = None,
) -> Architecture:
    """Return the architecture for another resolution, number of classes, width or activation.

    Where a resolution below `SMALL_SIDE` pixels is given, the stem's stride is 1, as is usual for CIFAR, so B0 at 32 px
    ends with maps of 2 x 2. A network that keeps its own resolution keeps its stem.
    The width multiplies the channels of stem, stages and head, rounded as in compound scaling.

    Args:
        architecture: architecture to adapt.
        resolution: side of the image in pixels; that of the architecture by default.
        num_classes: number of classes; that of the architecture by default.
        width: factor on channels, from 0.05 to 50.
        activation: one of `search_spaces.architecture.ACTIVATIONS`; that of the architecture by default.

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
        activation=architecture.activation if activation is None else activation,
    )
    if width == 1:
        return changed
    return replace(
        changed,
        stem=replace(stem, out_channels=round_filters(stem.out_channels, width)),
        stages=tuple(replace(stage, out_channels=round_filters(stage.out_channels, width)) for stage in changed.stages),
        head=replace(changed.head, out_channels=round_filters(changed.head.out_channels, width)),
    )
