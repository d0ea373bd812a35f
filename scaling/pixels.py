"""Exact costs of a network as a sum over its feature maps: what each costs for one pixel, times its pixels.

Every layer costs in proportion to the pixels of its output, and all blocks of a stage but the first are equal. So the
layer costs of `search_spaces.cost`, taken once for some channels, give the costs for any number of layers and any
resolution. Squeeze-excite and the classifier run on one pixel, and parameters do not depend on pixels at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search_spaces import Architecture, ConvLayer
from search_spaces.architecture import Block, Stage, strided
from search_spaces.cost import LayerCost, head_costs, stage_layer_costs, stem_cost

# The costs that have this form.
EXACT_COSTS = ("macs", "params", "activations")
Integers = NDArray[np.int64]
# A side at which an input, an output of half the side and a single pixel differ.
_SIDE = 4


@dataclass(frozen=True)
class PixelCosts:
    """Costs of a network on one pixel of each feature map.

    The maps are those of `map_sides`, and a single pixel as the last one. Costs are in the order of `EXACT_COSTS`.

    Attributes:
        once: costs of everything but repeated blocks, of shape (costs, maps).
        repeated: costs of a block of each stage other than the first, of shape (costs, stages, maps).
    """

    once: Integers
    repeated: Integers


def pixel_costs(base: Architecture, channels: Sequence[int]) -> PixelCosts:
    """Return the costs of a network on one pixel of each map.

    Args:
        base: network; its channels and its numbers of layers do not matter.
        channels: channels of stem, stages and head instead.
    """
    stem, *outputs, head = channels
    blocks = [
        _blocks(stage.block, in_channels, out_channels, stage.stride)
        for stage, in_channels, out_channels in zip(base.stages, channels, outputs, strict=False)
    ]
    ends = (
        _stem(base.stem.kernel_size, base.stem.stride, stem, base.in_channels),
        _head(base.head.kernel_size, base.head.stride, head, channels[-2], base.num_classes),
    )
    places = _places(_strides(base))
    # Letters: k costs, s parts of the network, c the three columns of a part, m maps.
    first = np.array([ends[0], *(first for first, _ in blocks), ends[1]])
    return PixelCosts(
        once=np.einsum("skc,scm->km", first, places),
        repeated=np.einsum("skc,scm->ksm", np.array([rest for _, rest in blocks]), places[1:-1]),
    )


def map_sides(architecture: Architecture, resolution: int) -> list[int]:
    """Sides of the feature maps of a network, each once for every convolution with a stride, from the stem's on."""
    first, *others = _strides(architecture)
    sides = [strided(resolution, first)]
    for stride in others:
        if stride > 1:
            sides.append(strided(sides[-1], stride))
    return sides


def pixels(architecture: Architecture, resolutions: Sequence[int]) -> Integers:
    """Pixels of every map and of the single one, of shape (resolutions, maps)."""
    sides = [[*map_sides(architecture, side), 1] for side in resolutions]
    return np.array(sides, dtype=np.int64).reshape(len(resolutions), -1) ** 2


def _strides(architecture: Architecture) -> tuple[int, ...]:
    """Strides of stem, stages and head."""
    return (architecture.stem.stride, *(stage.stride for stage in architecture.stages), architecture.head.stride)


@lru_cache(maxsize=64)
def _places(strides: tuple[int, ...]) -> Integers:
    """The map of each part's input, of its output, and the single pixel, as ones; shape (parts, 3, maps)."""
    maps = 2 + sum(stride > 1 for stride in strides[1:])
    found = np.zeros((len(strides), 3, maps), dtype=np.int64)
    place = 0
    for part, stride in enumerate(strides):
        found[part, 0, place] = found[part, 2, -1] = 1
        place += part > 0 and stride > 1
        found[part, 1, place] = 1
    return found


# --- one layer or block; neighbouring widths differ in the channels of one or two stages ------------------------------


@lru_cache(maxsize=1024)
def _stem(kernel_size: int, stride: int, channels: int, in_channels: int) -> Integers:
    """Costs of the stem, as of a block."""
    layer = stem_cost(ConvLayer(channels, kernel_size, stride), _SIDE * stride, in_channels)
    return _sums([layer], (0, _SIDE, 1))


@lru_cache(maxsize=4096)
def _head(kernel_size: int, stride: int, channels: int, in_channels: int, classes: int) -> Integers:
    """Costs of head and classifier, as of a block."""
    layers = head_costs(ConvLayer(channels, kernel_size, stride), in_channels, _SIDE * stride, classes)
    return _sums(layers, (0, _SIDE, 1))


@lru_cache(maxsize=8192)
def _blocks(block: Block, in_channels: int, out_channels: int, stride: int) -> tuple[Integers, Integers]:
    """Costs of the first and of another block of a stage, on one pixel of its input, of its output and on a single one.

    Without a stride, the input has the pixels of the output.
    """
    layers = list(stage_layer_costs(Stage(block, out_channels, 2, stride), in_channels, _SIDE))
    first, rest = ([layer for layer in layers if layer.name.split(".")[2] == place] for place in ("0", "1"))
    sides = (0 if stride == 1 else _SIDE, _SIDE // stride, 1)
    return _sums(first, sides), _sums(rest, sides)


def _sums(layers: Iterable[LayerCost], sides: tuple[int, ...]) -> Integers:
    """Costs of layers on one pixel of each of some maps, which are told by their sides; the last is a single pixel."""
    found = np.zeros((len(EXACT_COSTS), len(sides)), dtype=np.int64)
    for layer in layers:
        for row, cost in enumerate(EXACT_COSTS):
            column = -1 if cost == "params" else sides.index(layer.resolution)
            found[row, column] += getattr(layer.cost, cost) // (1 if cost == "params" else layer.resolution**2)
    return found
