"""The ``mnasnet`` spaces: the factorised hierarchical space of MnasNet (arXiv 1807.11626, section 4.1).

There are seven stages. Each stage chooses its kind of convolution, kernel, squeeze-excite, skip, channels and number of
layers. Channels are {0.75, 1, 1.25} times those of a skeleton, rounded to multiples of 8 (`round_filters`; equal
products are one value). The number of layers is that of the skeleton, one fewer or one more. A stage without layers is
excluded: its stride and its change of channels must happen somewhere.

- ``mnasnet``: the literal space, on MobileNetV2's skeleton. It contains no published MnasNet or EfficientNet: they have
  112 channels where the skeleton has 96, or 192 where it has 160, and no multiplier gives those.
- ``mnasnet:b0``: on EfficientNet-B0's skeleton. The 96 and 160 channels of MnasNet-B1 and A1 are further values, and
  the activation is a choice (MnasNet has ReLU, EfficientNet Swish), so B0, MnasNet-A1 and B1 are members.

The paper counts 432 options per stage and does not say how. Here they are 4 ops x 2 kernels x 2 squeeze-excite ratios x
3 skips x 3 channels x 3 layers. A stage has fewer where several multipliers round to the same channels, or where the
skeleton has one layer.
"""

from __future__ import annotations

from dataclasses import replace

from search_spaces.architecture import Architecture, ConvLayer, MBConv, Stage, round_filters
from search_spaces.stage_space import StageChoices, StageSpace

_MULTIPLIERS = (0.75, 1.0, 1.25)

#              out_channels, num_layers, stride; MobileNetV2 (arXiv 1801.04381) Table 2
_MOBILENET_V2 = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
# EfficientNet (arXiv 1905.11946) Table 1
_B0 = ((16, 1, 1), (24, 2, 2), (40, 2, 2), (80, 3, 2), (112, 3, 1), (192, 4, 2), (320, 1, 1))
# Channels of MnasNet-B1's fifth stage and of MnasNet-A1's sixth, by index of the stage.
_FURTHER_CHANNELS = {4: 96, 5: 160}


def _template(skeleton: tuple[tuple[int, int, int], ...], activation: str) -> Architecture:
    block = MBConv(kernel_size=3, expand_ratio=6, se_ratio=0.0)
    return Architecture(
        resolution=224,
        num_classes=1000,
        stem=ConvLayer(out_channels=32, kernel_size=3, stride=2),
        stages=tuple(Stage(block, *numbers) for numbers in skeleton),
        head=ConvLayer(out_channels=1280, kernel_size=1, stride=1),
        activation=activation,
    )


def _choices(out_channels: int, num_layers: int, stride: int) -> StageChoices:
    return StageChoices(
        op=("conv", "sepconv", "mbconv3", "mbconv6"),
        kernel_size=(3, 5),
        expand_ratio=(),
        se_ratio=(0.0, 0.25),
        skip=("identity", "pool", "none"),
        out_channels=tuple(sorted({round_filters(out_channels, multiplier) for multiplier in _MULTIPLIERS})),
        num_layers=tuple(layers for layers in (num_layers - 1, num_layers, num_layers + 1) if layers > 0),
        stride=stride,
    )


def mnasnet_space() -> StageSpace:
    """Return the literal space on MobileNetV2's skeleton; see the module."""
    return StageSpace("mnasnet", _template(_MOBILENET_V2, "relu"), [_choices(*numbers) for numbers in _MOBILENET_V2])


def mnasnet_b0_space() -> StageSpace:
    """Return the space on EfficientNet-B0's skeleton; see the module."""
    stages = [_choices(*numbers) for numbers in _B0]
    for index, channels in _FURTHER_CHANNELS.items():
        stages[index] = replace(stages[index], out_channels=tuple(sorted({*stages[index].out_channels, channels})))
    return StageSpace("mnasnet:b0", _template(_B0, "swish"), stages, activation=("swish", "relu"))
