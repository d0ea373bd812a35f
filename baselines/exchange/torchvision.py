"""The format of torchvision: rows of ``MBConvConfig``."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.exchange.words import activation_of, channels_of, check_eights, check_input, checked
from search_spaces.architecture import Architecture, ConvLayer, MBConv, Stage
from search_spaces.errors import FieldError


@dataclass(frozen=True)
class TorchvisionRow:
    """Arguments of torchvision's ``MBConvConfig``. ``se_ratio`` and ``skip`` are ours."""

    expand_ratio: float
    kernel: int
    stride: int
    input_channels: int
    out_channels: int
    num_layers: int
    se_ratio: float = 0.25
    skip: str = "identity"


@dataclass(frozen=True)
class TorchvisionNorm:
    """Arguments of ``norm_layer``, which is batch norm."""

    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True)
class TorchvisionNetwork:
    """Arguments of torchvision's ``EfficientNet``. ``activation`` and ``padding`` are ours.

    ``crop_size`` is an argument of the transforms that come with its weights. Without a ``last_channel``, the head has
    four times the channels of the last row.
    """

    inverted_residual_setting: tuple[TorchvisionRow, ...]
    dropout: float
    stochastic_depth_prob: float = 0.2
    num_classes: int = 1000
    norm_layer: TorchvisionNorm = TorchvisionNorm()
    last_channel: int | None = None
    crop_size: int = 224
    activation: str = "swish"
    padding: str = "symmetric"


def to_torchvision(net: Architecture) -> TorchvisionNetwork:
    """The document of an architecture. Raises `FieldError` if the format cannot express it."""
    check_eights("torchvision", channels_of(net))
    rows, channels = [], net.stem.out_channels
    for index, stage in enumerate(net.stages):
        block = stage.block
        if not isinstance(block, MBConv):
            problem = "torchvision's MBConvConfig cannot express a plain convolution; use another format"
            raise FieldError(f"stages[{index}].op", problem)
        row = TorchvisionRow(float(block.expand_ratio), block.kernel_size, stage.stride, channels, stage.out_channels,
                             stage.num_layers, block.se_ratio, block.skip)  # fmt: skip
        rows.append(row)
        channels = stage.out_channels
    return TorchvisionNetwork(
        inverted_residual_setting=tuple(rows),
        dropout=net.dropout,
        stochastic_depth_prob=net.drop_connect,
        num_classes=net.num_classes,
        norm_layer=TorchvisionNorm(net.bn_eps, net.bn_momentum),
        last_channel=net.head.out_channels,
        crop_size=net.resolution,
        activation=net.activation,
        padding=net.padding,
    )


def from_torchvision(network: TorchvisionNetwork) -> Architecture:
    """The architecture of a document. Raises `FieldError` if a field breaks its rule."""
    rows = network.inverted_residual_setting
    if not rows:
        raise FieldError("inverted_residual_setting", "(): expected one or more rows")
    stages, channels = [], rows[0].input_channels
    for index, row in enumerate(rows):
        path = f"inverted_residual_setting[{index}]"
        check_input(path, row.input_channels, channels)
        if not float(row.expand_ratio).is_integer():
            raise FieldError(f"{path}.expand_ratio", f"{row.expand_ratio}: expected a whole number")
        block = checked(path, MBConv, kernel_size=row.kernel, expand_ratio=int(row.expand_ratio),
                         se_ratio=row.se_ratio, skip=row.skip)  # fmt: skip
        stages.append(checked(path, Stage, block=block, out_channels=row.out_channels, num_layers=row.num_layers,
                               stride=row.stride))  # fmt: skip
        channels = row.out_channels
    last = 4 * channels if network.last_channel is None else network.last_channel
    return Architecture(
        resolution=network.crop_size,
        num_classes=network.num_classes,
        stem=ConvLayer(rows[0].input_channels, 3, 2),
        stages=tuple(stages),
        head=ConvLayer(last, 1, 1),
        activation=activation_of("activation", network.activation),
        dropout=network.dropout,
        drop_connect=network.stochastic_depth_prob,
        bn_momentum=network.norm_layer.momentum,
        bn_eps=network.norm_layer.eps,
        padding=network.padding,
    )
