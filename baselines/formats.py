"""Architectures in the words of other projects: timm, tensorflow/tpu and torchvision.

Each format is a document (plain data, JSON or YAML) whose keys are the arguments that the project's own code takes. A
few keys are ours, because the project has that value written in its code; they are marked below and have the project's
value as default, so a document without them means what it means there.

What a format cannot say is refused: every document is read back before it is given out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from search_spaces.architecture import Architecture, Block, ConvBlock, ConvLayer, MBConv, Stage
from search_spaces.errors import FieldError, shorten, unknown_name
from search_spaces.serialization import architecture_to_dict, from_dict, to_dict


@dataclass(frozen=True)
class TimmNetwork:
    """Arguments of timm's ``EfficientNet`` and ``decode_arch_def``; its ``round_chs_fn`` must keep channels.

    ``img_size`` is the side of the input, in pixels.
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


@dataclass(frozen=True)
class TensorFlowNetwork:
    """``GlobalParams`` of tensorflow/tpu's efficientnet_model.py with the block strings of its builder.

    ``stem_size`` is mnasnet_model.py's. ``head_size``, ``resolution`` and ``padding`` are ours.
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
    """Arguments of ``norm_layer``, a batch norm."""

    eps: float = 1e-5
    momentum: float = 0.1


@dataclass(frozen=True)
class TorchvisionNetwork:
    """Arguments of torchvision's ``EfficientNet``. ``activation`` and ``padding`` are ours.

    ``crop_size`` is an argument of the transforms of its weights. Without a ``last_channel``, the head has four times
    the channels of the last row.
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


Network = TimmNetwork | TensorFlowNetwork | TorchvisionNetwork


# --- timm -------------------------------------------------------------------------------------------------------------

_TIMM_SKIPS = {
    ("mbconv", "identity"): "",
    ("mbconv", "none"): "_noskip",
    ("conv", "identity"): "_skip",
    ("conv", "none"): "",
}


def _to_timm(net: Architecture) -> TimmNetwork:
    for block in net.blocks:
        path, ratio = f"stages[{block.stage}].se_ratio", block.block.se_ratio
        if ratio and isinstance(block.block, ConvBlock):
            raise FieldError(path, "squeeze-excite in a plain convolution has no word in timm; export another format")
        # timm rounds the width of squeeze-excite to the nearest number, we and TensorFlow down.
        if ratio and round(block.in_channels * ratio) != block.squeeze_channels:
            problem = f"{ratio} of {block.in_channels} channels is another width in timm; export another format"
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
        # timm's "ir" expands even by 1; without an expansion the block is its "ds".
        kind, ratio = "ds" if block.expand_ratio == 1 else "ir", f"_e{block.expand_ratio}"
    skip = _TIMM_SKIPS.get(("conv" if kind == "cn" else "mbconv", block.skip), "")
    shape = f"r{stage.num_layers}_k{block.kernel_size}_s{stage.stride}{ratio}_c{stage.out_channels}"
    return f"{kind}_{shape}{squeeze}{skip}"


def _from_timm(network: TimmNetwork) -> Architecture:
    strings = [
        (f"arch_def[{i}][{j}]", text) for i, stage in enumerate(network.arch_def) for j, text in enumerate(stage)
    ]
    if network.pad_type not in ("", "same"):
        raise FieldError("pad_type", f"{shorten(network.pad_type)} is neither '' nor 'same'")
    return Architecture(
        resolution=network.img_size,
        num_classes=network.num_classes,
        stem=ConvLayer(network.stem_size, network.stem_kernel_size, 2),
        stages=tuple(_from_timm_string(path, text) for path, text in strings),
        head=ConvLayer(network.num_features, 1, 1),
        activation=network.act_layer,
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
    words = _words(path, rest, required="rksc", optional=() if kind == "cn" else ("e", "se"), flags=flags)
    ratio = _whole(path, "e", words.get("e", "1"))
    if kind != "ir" and ratio != 1:
        raise FieldError(path, f"e{ratio} in a block of kind {kind!r}, which does not expand")
    if kind == "ir" and ratio == 1:
        raise FieldError(path, "ir with e1 has a 1x1 convolution that MBConv1 does not have; write ds")
    if kind == "cn":
        block: Block = _checked(path, ConvBlock, kernel_size=_whole(path, "k", words["k"]),
                                se_ratio=_number(path, "se", words.get("se", "0")),
                                skip="identity" if "skip" in words else "none")  # fmt: skip
    else:
        block = _checked(path, MBConv, kernel_size=_whole(path, "k", words["k"]), expand_ratio=ratio,
                         se_ratio=_number(path, "se", words.get("se", "0")),
                         skip="none" if "noskip" in words else "identity")  # fmt: skip
    return _stage(path, block, words["c"], words["r"], words["s"])


# --- tensorflow/tpu ---------------------------------------------------------------------------------------------------


def _to_tensorflow(net: Architecture) -> TensorFlowNetwork:
    _check_eights("tensorflow/tpu", {**_channels(net), "head.out_channels": net.head.out_channels})
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
        raise FieldError(
            path, "a plain convolution has no word in tensorflow/tpu's block strings; export another format"
        )
    squeeze = f"_se{block.se_ratio!r}" if block.se_ratio else ""
    skip = "_noskip" if block.skip == "none" else ""
    shape = f"r{stage.num_layers}_k{block.kernel_size}_s{stage.stride}{stage.stride}_e{block.expand_ratio}"
    return f"{shape}_i{in_channels}_o{stage.out_channels}{squeeze}{skip}"


def _from_tensorflow(network: TensorFlowNetwork) -> Architecture:
    for name in ("width_coefficient", "depth_coefficient"):
        if getattr(network, name) != 1:
            problem = f"{shorten(getattr(network, name))} is not 1; import the unscaled network and use mnas scale"
            raise FieldError(name, problem)
    stages, channels = [], network.stem_size
    for index, text in enumerate(network.blocks_args):
        path = f"blocks_args[{index}]"
        words = _words(path, text, required="rkseio", optional=("se",), flags=("noskip",))
        _check_input(path, _whole(path, "i", words["i"]), channels)
        if len(words["s"]) != 2 or words["s"][0] != words["s"][1]:
            raise FieldError(path, f"s{words['s']} is not one stride twice, such as s22")
        block = _checked(path, MBConv, kernel_size=_whole(path, "k", words["k"]),
                         expand_ratio=_whole(path, "e", words["e"]), se_ratio=_number(path, "se", words.get("se", "0")),
                         skip="none" if "noskip" in words else "identity")  # fmt: skip
        stages.append(_stage(path, block, words["o"], words["r"], words["s"][0]))
        channels = stages[-1].out_channels
    return Architecture(
        resolution=network.resolution,
        num_classes=network.num_classes,
        stem=ConvLayer(network.stem_size, 3, 2),
        stages=tuple(stages),
        head=ConvLayer(network.head_size, 1, 1),
        activation=network.relu_fn,
        dropout=network.dropout_rate,
        drop_connect=network.drop_connect_rate,
        bn_momentum=_complement(network.batch_norm_momentum),
        bn_eps=network.batch_norm_epsilon,
        padding=network.padding,
    )


def _complement(share: float) -> float:
    """1 - share in decimal, so that 0.99 becomes 0.01 and back. TensorFlow's batch-norm momentum is 1 - ours."""
    return float(1 - Decimal(repr(share)))


# --- torchvision ------------------------------------------------------------------------------------------------------


def _to_torchvision(net: Architecture) -> TorchvisionNetwork:
    _check_eights("torchvision", _channels(net))
    rows, channels = [], net.stem.out_channels
    for index, stage in enumerate(net.stages):
        block = stage.block
        if not isinstance(block, MBConv):
            problem = "a plain convolution is no MBConvConfig; export another format"
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


def _from_torchvision(network: TorchvisionNetwork) -> Architecture:
    rows = network.inverted_residual_setting
    if not rows:
        raise FieldError("inverted_residual_setting", "() is not one or more rows")
    stages, channels = [], rows[0].input_channels
    for index, row in enumerate(rows):
        path = f"inverted_residual_setting[{index}]"
        _check_input(path, row.input_channels, channels)
        if not float(row.expand_ratio).is_integer():
            raise FieldError(f"{path}.expand_ratio", f"{row.expand_ratio} is not a whole number")
        block = _checked(path, MBConv, kernel_size=row.kernel, expand_ratio=int(row.expand_ratio),
                         se_ratio=row.se_ratio, skip=row.skip)  # fmt: skip
        stages.append(_checked(path, Stage, block=block, out_channels=row.out_channels, num_layers=row.num_layers,
                               stride=row.stride))  # fmt: skip
        channels = row.out_channels
    last = 4 * channels if network.last_channel is None else network.last_channel
    return Architecture(
        resolution=network.crop_size,
        num_classes=network.num_classes,
        stem=ConvLayer(rows[0].input_channels, 3, 2),
        stages=tuple(stages),
        head=ConvLayer(last, 1, 1),
        activation=network.activation,
        dropout=network.dropout,
        drop_connect=network.stochastic_depth_prob,
        bn_momentum=network.norm_layer.momentum,
        bn_eps=network.norm_layer.eps,
        padding=network.padding,
    )


# --- all --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Format:
    document: type[Any]
    write: Callable[[Architecture], Network]
    read: Callable[[Any], Architecture]


FORMATS: dict[str, _Format] = {
    "timm": _Format(TimmNetwork, _to_timm, _from_timm),
    "torchvision": _Format(TorchvisionNetwork, _to_torchvision, _from_torchvision),
    "tf": _Format(TensorFlowNetwork, _to_tensorflow, _from_tensorflow),
}


def export_architecture(architecture: Architecture, name: str) -> dict[str, Any]:
    """The document of an architecture in a format.

    Raises:
        MnasError: the format is unknown.
        FieldError: it cannot say what the architecture has; the field is named.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    document: dict[str, Any] = json.loads(json.dumps(to_dict(FORMATS[name].write(architecture))))
    again = import_architecture(document, name)
    if again != architecture:
        ours, theirs = architecture_to_dict(architecture), architecture_to_dict(again)
        path, value, other = _first_difference("", ours, theirs)
        raise FieldError(
            path, f"{value} cannot be said in the format {name}, which has {other} there; export another one"
        )
    return document


def import_architecture(document: object, name: str) -> Architecture:
    """The architecture of a document in a format. Raises `MnasError` as `export_architecture` does, with its field."""
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    return FORMATS[name].read(from_dict(FORMATS[name].document, document))


def _first_difference(path: str, a: Any, b: Any) -> tuple[str, Any, Any]:
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        pairs: Iterable[tuple[str, Any, Any]] = ((f"{path}.{key}".strip("."), a[key], b[key]) for key in a)
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = ((f"{path}[{index}]", x, y) for index, (x, y) in enumerate(zip(a, b, strict=True)))
    else:
        return path, a, b
    return next(_first_difference(inner, x, y) for inner, x, y in pairs if x != y)


def _words(path: str, text: str, *, required: str, optional: tuple[str, ...], flags: tuple[str, ...]) -> dict[str, str]:
    """The words of a block string: letters and value, such as ``k3`` or ``se0.25``, and flags without a value."""
    words: dict[str, str] = {}
    for word in text.split("_"):
        match = re.fullmatch(r"([a-z]+)([0-9][0-9.e-]{0,20})?", word)
        key, value = match.groups(default="") if match else ("", "")
        known = key in flags if not value else key in (*required, *optional)
        if not known:
            names = ", ".join([*required, *optional, *flags])
            raise FieldError(path, f"{shorten(word)} in {shorten(text)} is unknown; known: {names}")
        if key in words:
            raise FieldError(path, f"{key} stands twice in {shorten(text)}; keep one")
        words[key] = value
    for key in required:
        if key not in words:
            raise FieldError(path, f"{key} is missing in {shorten(text)}")
    return words


def _whole(path: str, key: str, text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise FieldError(path, f"{key}{text} is not {key.strip()} with a whole number")
    return int(text)


def _number(path: str, key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FieldError(path, f"{key}{text} is not {key} with a number") from None


def _channels(net: Architecture) -> dict[str, int]:
    stages = {f"stages[{index}].out_channels": stage.out_channels for index, stage in enumerate(net.stages)}
    return {"stem.out_channels": net.stem.out_channels, **stages}


def _check_eights(project: str, channels: Mapping[str, int]) -> None:
    """Refuse channels that the project's code would round to multiples of 8."""
    for path, count in channels.items():
        if count % 8:
            raise FieldError(path, f"{count} is no multiple of 8, and {project} rounds to one; export another format")


def _check_input(path: str, given: int, channels: int) -> None:
    if given != channels:
        raise FieldError(path, f"{given} input channels, but {channels} come in from the part before; make them equal")


def _stage(path: str, block: Block, channels: str, layers: str, stride: str) -> Stage:
    made: Stage = _checked(
        path,
        Stage,
        block=block,
        out_channels=_whole(path, "channels ", channels),
        num_layers=_whole(path, "r", layers),
        stride=_whole(path, "s", stride),
    )
    return made


def _checked(path: str, cls: Callable[..., Any], **values: Any) -> Any:
    try:
        return cls(**values)
    except FieldError as error:
        raise error.inside(path) from None
