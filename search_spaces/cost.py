"""Exact cost of a network in closed form: multiply-adds, parameters and activations, without building it.

``macs`` counts the multiply-adds of convolutions and linear layers, squeeze-excite included, and nothing else; one
fused multiply-add counts as 1. EfficientNet (arXiv 1905.11946) and MnasNet (arXiv 1807.11626) call this FLOPS: B0's
"0.39B" is 385,814,752. Batch norm, activations, pooling and the squeeze-excite product are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from search_spaces.architecture import (
    RGB,
    Architecture,
    BlockShape,
    ConvLayer,
    MBConv,
    Stage,
    stage_blocks,
    strided,
)


@dataclass(frozen=True)
class Cost:
    """Cost of a network or a part of it, for one image.

    Attributes:
        macs: multiply-adds of convolutions and linear layers.
        params: trainable parameters (running statistics of batch norm are not parameters).
        activations: output elements of convolutions and linear layers.
    """

    macs: int = 0
    params: int = 0
    activations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params, self.activations + other.activations)

    def __mul__(self, times: int) -> Cost:
        return Cost(self.macs * times, self.params * times, self.activations * times)


@dataclass(frozen=True)
class LayerCost:
    """Cost of one convolution or linear layer.

    Attributes:
        name: path of the layer in the network that `build_network` builds, e.g. ``stages.1.0.expand``.
        out_channels: output channels (or features).
        resolution: side of the square output map, in pixels; 1 for squeeze-excite and the classifier.
        cost: cost of the layer, including its batch norm or bias.
    """

    name: str
    out_channels: int
    resolution: int
    cost: Cost


# A layer as the formulas below return it: its name in the block, channels and side of its output, and its cost as bare
# numbers (MACs, params, activations). A search costs architectures by the million, so objects are created only for
# callers that look at single layers.
_Layer = tuple[str, int, int, tuple[int, int, int]]


def architecture_cost(architecture: Architecture) -> Cost:
    """Return the exact cost of the whole network, for one image at the architecture's own resolution."""
    stem = architecture.stem
    resolution, channels = strided(architecture.resolution, stem.stride), stem.out_channels
    result = stem_cost(stem, architecture.resolution, architecture.in_channels).cost
    for stage in architecture.stages:
        result += stage_cost(stage, channels, resolution)
        resolution, channels = strided(resolution, stage.stride), stage.out_channels
    layers = _head_layers(architecture.head, channels, resolution, architecture.num_classes)
    return result + _sum(layers)


def part_costs(architecture: Architecture) -> list[tuple[str, Cost]]:
    """Return the cost of stem, each stage, head and classifier, in order, by the names of the network's modules."""
    parts: dict[str, Cost] = {}
    for layer in layer_costs(architecture):
        path = layer.name.split(".")
        part = ".".join(path[:2]) if path[0] == "stages" else path[0]
        parts[part] = parts.get(part, Cost()) + layer.cost
    return list(parts.items())


def stage_cost(stage: Stage, in_channels: int, resolution: int) -> Cost:
    """Return the exact cost of one stage, for input of ``in_channels`` x ``resolution`` x ``resolution``."""
    first, *second = (_sum(_block_layers(block)) for block in islice(stage_blocks(stage, in_channels, resolution), 2))
    # All blocks but the first are equal.
    return first + second[0] * (stage.num_layers - 1) if second else first


def stage_layer_costs(stage: Stage, in_channels: int, resolution: int) -> Iterator[LayerCost]:
    """Yield the cost of every layer of one stage, for input of ``in_channels`` x ``resolution`` x ``resolution``."""
    for block in stage_blocks(stage, in_channels, resolution):
        yield from _named(f"{block.name}.", _block_layers(block))


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs."""
    return sum(costs, Cost())


def layer_costs(architecture: Architecture) -> Iterator[LayerCost]:
    """Yield the cost of every convolution and linear layer, in order."""
    yield stem_cost(architecture.stem, architecture.resolution, architecture.in_channels)
    for block in architecture.blocks:
        yield from _named(f"{block.name}.", _block_layers(block))
    last = architecture.blocks[-1]
    yield from head_costs(architecture.head, last.out_channels, last.out_resolution, architecture.num_classes)


def stem_cost(stem: ConvLayer, resolution: int, in_channels: int = RGB) -> LayerCost:
    """Return the cost of the first convolution, on an image of ``in_channels`` x ``resolution`` x ``resolution``."""
    side = strided(resolution, stem.stride)
    (layer,) = _named("", [_convolution("stem", in_channels, stem.out_channels, stem.kernel_size, side)])
    return layer


def head_costs(head: ConvLayer, in_channels: int, resolution: int, num_classes: int) -> Iterator[LayerCost]:
    """Yield the costs of the last convolution and of the classifier."""
    return _named("", _head_layers(head, in_channels, resolution, num_classes))


def _named(prefix: str, layers: Iterable[_Layer]) -> Iterator[LayerCost]:
    for name, channels, resolution, cost in layers:
        yield LayerCost(prefix + name, channels, resolution, Cost(*cost))


def _sum(layers: Iterable[_Layer]) -> Cost:
    macs = params = activations = 0
    for _, _, _, cost in layers:
        macs += cost[0]
        params += cost[1]
        activations += cost[2]
    return Cost(macs, params, activations)


def _head_layers(head: ConvLayer, in_channels: int, resolution: int, num_classes: int) -> Iterator[_Layer]:
    yield _convolution("head", in_channels, head.out_channels, head.kernel_size, strided(resolution, head.stride))
    yield _pointwise_with_bias("classifier", head.out_channels, num_classes)


def _block_layers(block: BlockShape) -> Iterator[_Layer]:
    hidden, kernel_size, out_resolution = block.hidden_channels, block.block.kernel_size, block.out_resolution
    inverted = isinstance(block.block, MBConv)
    if not inverted:
        yield _convolution("conv", block.in_channels, hidden, kernel_size, out_resolution)
    else:
        if hidden != block.in_channels:
            yield _convolution("expand", block.in_channels, hidden, 1, block.in_resolution)
        yield _convolution("depthwise", hidden, hidden, kernel_size, out_resolution, groups=hidden)
    if block.squeeze_channels:
        yield _pointwise_with_bias("se.reduce", hidden, block.squeeze_channels)
        yield _pointwise_with_bias("se.expand", block.squeeze_channels, hidden)
    if inverted:
        yield _convolution("project", hidden, block.out_channels, 1, out_resolution)


def _convolution(
    name: str, in_channels: int, out_channels: int, kernel_size: int, out_resolution: int, groups: int = 1
) -> _Layer:
    """A convolution without bias, including the batch norm after it (two parameters per channel)."""
    weights = kernel_size * kernel_size * (in_channels // groups) * out_channels
    pixels = out_resolution * out_resolution
    return name, out_channels, out_resolution, (weights * pixels, weights + 2 * out_channels, out_channels * pixels)


def _pointwise_with_bias(name: str, in_features: int, out_features: int) -> _Layer:
    """A linear layer, or a 1x1 convolution on a one-pixel map."""
    weights = in_features * out_features
    return name, out_features, 1, (weights, weights + out_features, out_features)
