"""The format of timm: arguments of its ``EfficientNet`` and ``decode_arch_def``."""

from __future__ import annotations

from dataclasses import dataclass

from baselines.exchange.words import activation_of, checked, integer_of, number_of, stage_of, words_of
from search_spaces.architecture import Architecture, Block, ConvBlock, ConvLayer, MBConv, Stage
from search_spaces.errors import FieldError, shorten, unknown_name


@dataclass(frozen=True)
class TimmNetwork:
    """Arguments of timm's ``EfficientNet`` and ``decode_arch_def``. ``round_chs_fn`` must leave channels unchanged.

    ``img_size`` is the side of the input in pixels.
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


_TIMM_SKIPS = {
    ("mbconv", "identity"): "",
    ("mbconv", "none"): "_noskip",
    ("conv", "identity"): "_skip",
    ("conv", "none"): "",
}


def to_timm(net: Architecture) -> TimmNetwork:
    """The document of an architecture. Raises `FieldError` if the format cannot express it."""
    for block in net.blocks:
        path, ratio = f"stages[{block.stage}].se_ratio", block.block.se_ratio
        if ratio and isinstance(block.block, ConvBlock):
            raise FieldError(path, "timm cannot express squeeze-excite in a plain convolution; use another format")
        # timm rounds the width of squeeze-excite to the nearest integer; TensorFlow and we round it down.
        if ratio and round(block.in_channels * ratio) != block.squeeze_channels:
            problem = f"{ratio} of {block.in_channels} channels is rounded differently by timm; use another format"
            raise FieldError(path, problem)
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
    strings = [
        (f"arch_def[{i}][{j}]", text) for i, stage in enumerate(network.arch_def) for j, text in enumerate(stage)
    ]
    if network.pad_type not in ("", "same"):
        raise FieldError("pad_type", f"{shorten(network.pad_type)}: expected '' or 'same'")
    return Architecture(
        resolution=network.img_size,
        num_classes=network.num_classes,
        stem=ConvLayer(network.stem_size, network.stem_kernel_size, 2),
        stages=tuple(_from_timm_string(path, text) for path, text in strings),
        head=ConvLayer(network.num_features, 1, 1),
        activation=activation_of("act_layer", network.act_layer),
        dropout=network.drop_rate,
        drop_connect=network.drop_path_rate,
        bn_momentum=network.bn_momentum,
        bn_eps=network.bn_eps,
        padding=network.pad_type or "symmetric",
    )


def _from_timm_string(path: str, text: str) -> Stage:
    kind, _, rest = text.partition("_")
    if kind not in ("ir", "ds", "cn"):
        raise FieldError(path, str(unknown_name("timm block", kind, ("ir", "ds", "cn"))))
    flags = ("skip",) if kind == "cn" else ("noskip",)
    words = words_of(path, rest, required="rksc", optional=() if kind == "cn" else ("e", "se"), flags=flags)
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
