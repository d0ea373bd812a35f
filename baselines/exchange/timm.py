"""The format of timm: arguments of its ``EfficientNet`` and ``decode_arch_def``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from baselines.exchange.words import (
    activation_of,
    channels_of,
    check_eights,
    checked,
    integer_of,
    number_of,
    stage_of,
    words_of,
)
from search_spaces.architecture import DEPTH_DIVISOR, RGB, Architecture, Block, ConvBlock, ConvLayer, MBConv, Stage
from search_spaces.errors import FieldError, shorten, unknown_name


@dataclass(frozen=True)
class TimmNetwork:
    """Arguments of timm's ``EfficientNet`` and ``decode_arch_def``, and multipliers of the functions around them.

    ``img_size`` is the side of the input in pixels. Arguments that are None here are never written; they are read if
    they say what networks have here anyway. By default ``round_chs_fn`` leaves channels unchanged.
    """

    arch_def: tuple[tuple[str, ...], ...]
    num_classes: int = 1000
    num_features: int = 1280
    stem_size: int = 32
    stem_kernel_size: int = 3
    act_layer: str = "relu"
    pad_type: str = ""
    bn_momentum: float = 0.1
    bn_eps: float = 1e-5
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    img_size: int = 224
    in_chans: int | None = None
    fix_stem: bool | None = None
    output_stride: int | None = None
    norm_layer: str | None = None
    aa_layer: str | None = None
    se_layer: str | None = None
    round_chs_fn: str | None = None
    global_pool: str | None = None
    channel_multiplier: float | None = None
    depth_multiplier: float | None = None
    experts_multiplier: int | None = None
    group_size: int | None = None


# For arguments that are not free here: the values that say so, and what networks have.
_FIXED: Mapping[str, tuple[tuple[object, ...], str]] = {
    "norm_layer": (("BatchNorm2d", "batchnorm2d", "batchnorm"), "batch norm"),
    "aa_layer": ((), "no blur before strides"),
    "se_layer": (("SqueezeExcite",), "timm's SqueezeExcite"),
    "round_chs_fn": (("round_channels",), "channels as they are, or rounded by round_channels"),
    "global_pool": (("avg",), "average pooling"),
    "channel_multiplier": ((1,), "the channels in arch_def"),
    "depth_multiplier": ((1,), "the layers in arch_def"),
    "experts_multiplier": ((1,), "no experts"),
    "group_size": ((1,), "depthwise convolutions"),
}
# The same for the words of a block string.
_FIXED_WORDS: Mapping[str, tuple[str, str]] = {
    "a": ("1", "expansions of 1x1"),
    "p": ("1", "projections of 1x1"),
    "fc": ("0", "the channels of the block before as input"),
    "d": ("0", "no space-to-depth"),
    "cc": ("0", "no experts"),
    "gs": ("1", "depthwise convolutions"),
}
_FIXED_CN_WORDS = {"gs": ("0", "no groups in plain convolutions")}
# timm's names of activations in a block string.
_WORD_ACTIVATIONS = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "swish", "mi": "mish"}

_TIMM_SKIPS = {
    ("mbconv", "identity"): "",
    ("mbconv", "none"): "_noskip",
    ("conv", "identity"): "_skip",
    ("conv", "none"): "",
}


def to_timm(net: Architecture) -> TimmNetwork:
    """The document of an architecture. Raises `FieldError` if the format cannot express it."""
    for index, stage in enumerate(net.stages):
        if stage.block.se_ratio and isinstance(stage.block, ConvBlock):
            problem = "timm cannot express squeeze-excite in a plain convolution; use another format"
            raise FieldError(f"stages[{index}].se_ratio", problem)
    return TimmNetwork(
        arch_def=tuple((_timm_string(stage),) for stage in net.stages),
        num_classes=net.num_classes,
        num_features=net.head.out_channels,
        stem_size=net.stem.out_channels,
        stem_kernel_size=net.stem.kernel_size,
        act_layer=net.activation,
        pad_type="same" if net.padding == "same" else "",
        bn_momentum=net.bn_momentum,
        bn_eps=net.bn_eps,
        drop_rate=net.dropout,
        drop_path_rate=net.drop_connect,
        img_size=net.resolution,
        in_chans=None if net.in_channels == RGB else net.in_channels,
    )


def _timm_string(stage: Stage) -> str:
    block = stage.block
    squeeze = f"_se{block.se_ratio!r}" if block.se_ratio else ""
    if isinstance(block, ConvBlock):
        kind, ratio = "cn", ""
    else:
        # timm's "ir" has an expansion even for a ratio of 1; the block without one is "ds".
        kind, ratio = "ds" if block.expand_ratio == 1 else "ir", f"_e{block.expand_ratio}"
    skip = _TIMM_SKIPS.get(("conv" if kind == "cn" else "mbconv", block.skip), "")
    shape = f"r{stage.num_layers}_k{block.kernel_size}_s{stage.stride}{ratio}_c{stage.out_channels}"
    return f"{kind}_{shape}{squeeze}{skip}"


def from_timm(network: TimmNetwork) -> Architecture:
    """The architecture of a document. Raises `FieldError` if a field breaks its rule."""
    for name, (accepted, ours) in _FIXED.items():
        value = getattr(network, name)
        if value is not None and value not in accepted:
            raise FieldError(name, _not_free(shorten(value), ours))
    activation = activation_of("act_layer", network.act_layer)
    strings = [
        (f"arch_def[{i}][{j}]", _without_activation(f"arch_def[{i}][{j}]", text, activation))
        for i, stage in enumerate(network.arch_def)
        for j, text in enumerate(stage)
    ]
    if network.pad_type not in ("", "same"):
        raise FieldError("pad_type", f"{shorten(network.pad_type)}: expected '' or 'same'")
    net = Architecture(
        resolution=network.img_size,
        num_classes=network.num_classes,
        stem=ConvLayer(network.stem_size, network.stem_kernel_size, 2),
        stages=tuple(_from_timm_string(path, text) for path, text in strings),
        head=ConvLayer(network.num_features, 1, 1),
        activation=activation,
        dropout=network.drop_rate,
        drop_connect=network.drop_path_rate,
        bn_momentum=network.bn_momentum,
        bn_eps=network.bn_eps,
        padding=network.pad_type or "symmetric",
        in_channels=RGB if network.in_chans is None else network.in_chans,
    )
    if network.round_chs_fn is not None:
        check_eights("round_channels", channels_of(net))
    _check_rounding(net)
    if network.output_stride is not None and network.output_stride < net.total_stride:
        raise FieldError("output_stride", _not_free(str(network.output_stride), f"their strides ({net.total_stride})"))
    return net


def _not_free(given: str, ours: str) -> str:
    return f"{given} cannot be imported: networks have {ours} here; remove it to import that"


def _check_rounding(net: Architecture) -> None:
    """Refuse layers of another width in timm, which rounds both to the nearest: hidden ones to multiples of 8."""
    for block in net.blocks:
        ratio, hidden = block.block.se_ratio, block.hidden_channels
        if ratio and round(block.in_channels * ratio) != block.squeeze_channels:
            problem = f"{ratio} of {block.in_channels} channels is rounded differently by timm; use another format"
            raise FieldError(f"stages[{block.stage}].se_ratio", problem)
        if isinstance(block.block, MBConv) and block.block.expand_ratio > 1 and hidden % DEPTH_DIVISOR:
            problem = f"{hidden} expanded channels are no multiple of 8, and timm would round them; use another format"
            raise FieldError(f"stages[{block.stage}].expand_ratio", problem)


def _without_activation(path: str, text: str, activation: str) -> str:
    """A block string without its activation, which must be that of the network."""
    words = text.split("_")
    for word in words[1:]:
        if re.fullmatch("n[a-z0-9]{2}", word):
            if _WORD_ACTIVATIONS.get(word[1:]) != activation:
                raise FieldError(path, _not_free(f"{word} in {shorten(text)}", f"one activation ({activation})"))
            words.remove(word)
            break
    return "_".join(words)


def _from_timm_string(path: str, text: str) -> Stage:
    kind, _, rest = text.partition("_")
    if kind not in ("ir", "ds", "cn"):
        raise FieldError(path, str(unknown_name("timm block", kind, ("ir", "ds", "cn"))))
    flags = ("skip",) if kind == "cn" else ("noskip",)
    fixed = {**_FIXED_WORDS, **(_FIXED_CN_WORDS if kind == "cn" else {})}
    optional = ("e", *(() if kind == "cn" else ("se",)), *fixed)
    words = words_of(path, rest, required="rksc", optional=optional, flags=flags)
    for key, (accepted, ours) in fixed.items():
        if words.get(key, accepted) != accepted:
            raise FieldError(path, _not_free(f"{key}{words[key]} in {shorten(text)}", ours))
    ratio = integer_of(path, "e", words.get("e", "1"))
    if kind != "ir" and ratio != 1:
        raise FieldError(path, f"e{ratio} in a block of kind {kind!r}, which has no expansion; use ir")
    if kind == "ir" and ratio == 1:
        raise FieldError(path, "ir with e1 has a 1x1 convolution that MBConv1 does not have; use ds")
    if kind == "cn":
        block: Block = checked(path, ConvBlock, kernel_size=integer_of(path, "k", words["k"]),
                                se_ratio=number_of(path, "se", words.get("se", "0")),
                                skip="identity" if "skip" in words else "none")  # fmt: skip
    else:
        block = checked(path, MBConv, kernel_size=integer_of(path, "k", words["k"]), expand_ratio=ratio,
                         se_ratio=number_of(path, "se", words.get("se", "0")),
                         skip="none" if "noskip" in words else "identity")  # fmt: skip
    return stage_of(path, block, words["c"], words["r"], words["s"])
