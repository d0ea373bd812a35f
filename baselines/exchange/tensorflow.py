"""The format of tensorflow/tpu: ``GlobalParams`` and block strings."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from baselines.exchange.words import (
    activation_of,
    channels_of,
    check_eights,
    check_input,
    checked,
    integer_of,
    number_of,
    stage_of,
    words_of,
)
from search_spaces.architecture import Architecture, ConvLayer, MBConv, Stage
from search_spaces.errors import FieldError, shorten


@dataclass(frozen=True)
class TensorFlowNetwork:
    """``GlobalParams`` of tensorflow/tpu's efficientnet_model.py, with the block strings of its builder.

    ``stem_size`` is from mnasnet_model.py. ``survival_prob``, 1 minus the
    ``drop_connect_rate``, takes its place in newer code. ``head_size``, ``resolution`` and ``padding`` are ours.
    """

    blocks_args: tuple[str, ...]
    num_classes: int = 1000
    dropout_rate: float = 0.2
    drop_connect_rate: float = 0.2
    batch_norm_momentum: float = 0.99
    batch_norm_epsilon: float = 1e-3
    relu_fn: str = "swish"
    width_coefficient: float = 1.0
    depth_coefficient: float = 1.0
    stem_size: int = 32
    head_size: int = 1280
    resolution: int = 224
    padding: str = "same"
    survival_prob: float | None = None


def to_tensorflow(net: Architecture) -> TensorFlowNetwork:
    """The document of an architecture. Raises `FieldError` if the format cannot express it."""
    check_eights("tensorflow/tpu", {**channels_of(net), "head.out_channels": net.head.out_channels})
    strings, channels = [], net.stem.out_channels
    for index, stage in enumerate(net.stages):
        strings.append(_tensorflow_string(f"stages[{index}].op", stage, channels))
        channels = stage.out_channels
    return TensorFlowNetwork(
        blocks_args=tuple(strings),
        num_classes=net.num_classes,
        dropout_rate=net.dropout,
        drop_connect_rate=net.drop_connect,
        batch_norm_momentum=_complement(net.bn_momentum),
        batch_norm_epsilon=net.bn_eps,
        relu_fn=net.activation,
        stem_size=net.stem.out_channels,
        head_size=net.head.out_channels,
        resolution=net.resolution,
        padding=net.padding,
    )


def _tensorflow_string(path: str, stage: Stage, in_channels: int) -> str:
    block = stage.block
    if not isinstance(block, MBConv):
        raise FieldError(path, "tensorflow/tpu's block strings cannot express a plain convolution; use another format")
    squeeze = f"_se{block.se_ratio!r}" if block.se_ratio else ""
    skip = "_noskip" if block.skip == "none" else ""
    shape = f"r{stage.num_layers}_k{block.kernel_size}_s{stage.stride}{stage.stride}_e{block.expand_ratio}"
    return f"{shape}_i{in_channels}_o{stage.out_channels}{squeeze}{skip}"


def from_tensorflow(network: TensorFlowNetwork) -> Architecture:
    """The architecture of a document. Raises `FieldError` if a field breaks its rule."""
    for name in ("width_coefficient", "depth_coefficient"):
        if getattr(network, name) != 1:
            problem = f"{shorten(getattr(network, name))} must be 1; import the unscaled network and use mnas scale"
            raise FieldError(name, problem)
    stages, channels = [], network.stem_size
    for index, text in enumerate(network.blocks_args):
        path = f"blocks_args[{index}]"
        words = words_of(path, text, required="rkseio", optional=("se",), flags=("noskip",))
        check_input(path, integer_of(path, "i", words["i"]), channels)
        if len(words["s"]) != 2 or words["s"][0] != words["s"][1]:
            raise FieldError(path, f"s{words['s']}: expected the same stride twice, such as s22")
        block = checked(
            path,
            MBConv,
            kernel_size=integer_of(path, "k", words["k"]),
            expand_ratio=integer_of(path, "e", words["e"]),
            se_ratio=number_of(path, "se", words.get("se", "0")),
            skip="none" if "noskip" in words else "identity",
        )
        stages.append(stage_of(path, block, words["o"], words["r"], words["s"][0]))
        channels = stages[-1].out_channels
    return Architecture(
        resolution=network.resolution,
        num_classes=network.num_classes,
        stem=ConvLayer(network.stem_size, 3, 2),
        stages=tuple(stages),
        head=ConvLayer(network.head_size, 1, 1),
        activation=activation_of("relu_fn", network.relu_fn),
        dropout=network.dropout_rate,
        drop_connect=_drop_connect(network),
        bn_momentum=_complement(network.batch_norm_momentum),
        bn_eps=network.batch_norm_epsilon,
        padding=network.padding,
    )


def _drop_connect(network: TensorFlowNetwork) -> float:
    """The rate by either of its names. Raises `FieldError` if both are given and differ."""
    if network.survival_prob is None:
        return network.drop_connect_rate
    rate = _complement(network.survival_prob)
    if network.drop_connect_rate not in (rate, TensorFlowNetwork.drop_connect_rate):
        problem = f"{network.survival_prob:g} contradicts drop_connect_rate: {network.drop_connect_rate:g}; remove one"
        raise FieldError("survival_prob", problem)
    return rate


def _complement(share: float) -> float:
    """1 - share, in decimal, so that 0.99 becomes exactly 0.01. TensorFlow's batch-norm momentum is 1 - ours."""
    return float(1 - Decimal(repr(share)))
