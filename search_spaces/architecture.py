"""`Architecture`: the one value that every part of the project passes around.

A published baseline, a searched network and a scaled network are all an `Architecture`. It is a table: a stem, stages
of equal blocks, a head. `Architecture.blocks` resolves what the table leaves implicit (input channels, squeeze width,
which blocks have a skip). Both the network and its cost are built from those blocks, so they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from search_spaces.errors import FieldError, shorten, unknown_name

# Fields of an `Architecture` that say how it is trained. Networks that differ only in these have the same cost and are
# the same member of a space.
RECIPE_FIELDS = ("dropout", "drop_connect", "bn_momentum", "bn_eps")
ACTIVATIONS = ("relu", "relu6", "swish", "hard_swish", "gelu", "mish")
SKIPS = ("identity", "pool", "none")
PADDINGS = ("symmetric", "same")

# Bounds far above any published network (L2 has 5504 channels), so that a typo is reported instead of filling memory.
MAX_CHANNELS = 65536
MAX_IN_CHANNELS = 1024
MAX_LAYERS = 1000
MAX_STAGES = 100
MAX_RESOLUTION = 8192
MAX_CLASSES = 1_000_000

# Channels of colour images. A network for these is written without them, as in files of earlier versions.
RGB = 3

# Scaled channels are rounded to multiples of this, which accelerators handle best.
DEPTH_DIVISOR = 8


def check_int(path: str, value: object, low: int, high: int) -> None:
    """Raise `FieldError` unless ``value`` is an integer from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FieldError(path, f"{shorten(value)} is not an integer from {low} to {high}")


def check_number(path: str, value: object, low: float, high: float, *, below_high: bool = False) -> None:
    """Raise `FieldError` unless ``value`` is a finite number from ``low`` to ``high``.

    Args:
        path: path of the field, for the message.
        value: value to check.
        low: smallest allowed value.
        high: largest allowed value.
        below_high: whether ``high`` itself is excluded.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or (below_high and value == high):  # type: ignore[operator]
        bound = f"to below {high:g}" if below_high else f"to {high:g}"
        raise FieldError(path, f"{shorten(value)} is not a number from {low:g} {bound}")


def _normalise_number(owner: object, name: str, low: float, high: float, *, below_high: bool = False) -> None:
    """Check the field ``name`` of a frozen dataclass with `check_number`, and make it a float.

    0 and 0.0 compare equal, so architectures that differ only in that are equal, and their digests must agree.
    """
    value = getattr(owner, name)
    check_number(name, value, low, high, below_high=below_high)
    object.__setattr__(owner, name, float(value))


def check_kernel_size(path: str, value: object) -> None:
    """Raise `FieldError` unless ``value`` is an odd integer from 1 to 15: symmetric padding needs a middle pixel."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(1, 16, 2):
        raise FieldError(path, f"{shorten(value)} is not an odd integer from 1 to 15")


def check_name(path: str, value: object, known: tuple[str, ...]) -> None:
    """Raise `FieldError` unless ``value`` is one of the known names."""
    if value not in known:
        raise FieldError(path, str(unknown_name(path, str(value), known)))


@dataclass(frozen=True)
class ConvLayer:
    """A convolution with batch norm and activation: the stem, or the 1x1 convolution of the head.

    Attributes:
        out_channels: output channels.
        kernel_size: side of the kernel in pixels.
        stride: 1 or 2.
    """

    out_channels: int
    kernel_size: int
    stride: int

    def __post_init__(self) -> None:
        check_int("out_channels", self.out_channels, 1, MAX_CHANNELS)
        check_kernel_size("kernel_size", self.kernel_size)
        check_int("stride", self.stride, 1, 2)


@dataclass(frozen=True)
class MBConv:
    """The mobile inverted bottleneck: 1x1 expansion, depthwise convolution, squeeze-excite, 1x1 projection.

    Attributes:
        kernel_size: side of the depthwise kernel in pixels.
        expand_ratio: hidden channels over input channels; with 1 there is no expansion layer.
            An MBConv of ratio 1 *is* the depthwise-separable convolution (SepConv) of MnasNet, layer by layer.
        se_ratio: squeeze-excite width over the block's *input* channels (not the expanded ones); 0 for no
            squeeze-excite. Source: tensorflow/tpu efficientnet_model.py, mnasnet_model.py.
        skip: kind of skip connection, one of `SKIPS`; see `stage_blocks`.
    """

    kernel_size: int
    expand_ratio: int
    se_ratio: float
    skip: str = "identity"

    def __post_init__(self) -> None:
        check_kernel_size("kernel_size", self.kernel_size)
        check_int("expand_ratio", self.expand_ratio, 1, 32)
        _normalise_number(self, "se_ratio", 0, 1)
        check_name("skip", self.skip, SKIPS)


@dataclass(frozen=True)
class ConvBlock:
    """A plain convolution with batch norm and activation: the ``conv`` of MnasNet's ConvOp (its section 4.1).

    Attributes:
        kernel_size: side of the kernel in pixels.
        se_ratio: squeeze-excite width over the block's input channels; squeeze-excite acts on the convolution's output.
        skip: kind of skip connection, one of `SKIPS`; see `stage_blocks`.
    """

    kernel_size: int
    se_ratio: float = 0.0
    skip: str = "identity"

    def __post_init__(self) -> None:
        check_kernel_size("kernel_size", self.kernel_size)
        _normalise_number(self, "se_ratio", 0, 1)
        check_name("skip", self.skip, SKIPS)


Block = MBConv | ConvBlock

# The kinds of block, by their names in a spec file.
BLOCKS: dict[str, type[Block]] = {"mbconv": MBConv, "conv": ConvBlock}


@dataclass(frozen=True)
class Stage:
    """``num_layers`` equal blocks; the first one has the stride and changes the channels.

    Source: MnasNet (arXiv 1807.11626) section 4.1.
    """

    block: Block
    out_channels: int
    num_layers: int
    stride: int

    def __post_init__(self) -> None:
        if not isinstance(self.block, tuple(BLOCKS.values())):
            raise FieldError("block", f"{shorten(self.block)} is not one of {', '.join(BLOCKS)}")
        check_int("out_channels", self.out_channels, 1, MAX_CHANNELS)
        check_int("num_layers", self.num_layers, 1, MAX_LAYERS)
        check_int("stride", self.stride, 1, 2)


@dataclass(frozen=True)
class BlockShape:
    """One block of a stage, with everything that the table leaves implicit resolved.

    Attributes:
        stage, layer: index of the stage, and index of the block in its stage, both from 0.
        in_resolution, out_resolution: height and width of the square feature maps, in pixels.
        skip: kind of skip connection that the block has; "none" where its shapes permit no skip.
    """

    stage: int
    layer: int
    block: Block
    in_channels: int
    hidden_channels: int
    squeeze_channels: int
    out_channels: int
    stride: int
    skip: str
    in_resolution: int
    out_resolution: int

    @property
    def name(self) -> str:
        """Path of the block in the network, e.g. ``stages.1.0``."""
        return f"stages.{self.stage}.{self.layer}"


@dataclass(frozen=True)
class Architecture:
    """A network of stages of equal blocks, as a table.

    Attributes:
        resolution: height and width of the input image, in pixels.
        num_classes: number of outputs of the classifier.
        stem: first convolution, on the image.
        stages: stages of blocks, the part that is searched.
        head: 1x1 convolution before pooling and classifier.
        activation: one of `ACTIVATIONS`, used everywhere except in the gate of squeeze-excite (sigmoid).
        padding: ``symmetric`` pads half a kernel on all sides; ``same`` is TensorFlow's SAME, which pads a strided
            convolution more on the right and at the bottom. Shapes and cost are equal, but weights trained with one
            see shifted features with the other.
        dropout: dropout probability before the classifier, in training.
        drop_connect: probability of dropping a whole residual branch at the end of the network, in training; earlier
            blocks have proportionally less (tensorflow/tpu efficientnet_model.py).
        bn_momentum: weight of a new batch in the running statistics (PyTorch's convention; TensorFlow's 0.99 is 0.01).
        bn_eps: constant added to the variance in batch norm.
        in_channels: channels of the image: 3 for RGB, 1 for grey.

    Raises:
        FieldError: a field breaks its rule; the message names the field.
    """

    resolution: int
    num_classes: int
    stem: ConvLayer
    stages: tuple[Stage, ...]
    head: ConvLayer
    activation: str = "swish"
    dropout: float = 0.2
    drop_connect: float = 0.2
    bn_momentum: float = 0.01
    bn_eps: float = 1e-3
    padding: str = "symmetric"
    in_channels: int = RGB

    def __post_init__(self) -> None:
        check_int("resolution", self.resolution, 1, MAX_RESOLUTION)
        check_int("num_classes", self.num_classes, 1, MAX_CLASSES)
        check_int("in_channels", self.in_channels, 1, MAX_IN_CHANNELS)
        if not isinstance(self.stem, ConvLayer):
            raise FieldError("stem", f"{shorten(self.stem)} is not a convolution")
        if not isinstance(self.head, ConvLayer):
            raise FieldError("head", f"{shorten(self.head)} is not a convolution")
        given: object = self.stages
        if not isinstance(given, tuple) or not given:
            raise FieldError("stages", f"{shorten(given)} is not a tuple of one or more stages")
        if len(given) > MAX_STAGES:
            raise FieldError("stages", f"{len(given)} stages are more than {MAX_STAGES}")
        for index, stage in enumerate(self.stages):
            if not isinstance(stage, Stage):
                raise FieldError(f"stages[{index}]", f"{shorten(stage)} is not a stage")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("padding", self.padding, PADDINGS)
        _normalise_number(self, "dropout", 0, 1, below_high=True)
        _normalise_number(self, "drop_connect", 0, 1, below_high=True)
        _normalise_number(self, "bn_momentum", 0, 1)
        _normalise_number(self, "bn_eps", 0, 1)
        if self.resolution < self.total_stride:
            raise FieldError(
                "resolution", f"{self.resolution} is smaller than the network's total stride of {self.total_stride}"
            )

    @property
    def total_stride(self) -> int:
        """Side of the input divided by the side of the last feature map, up to rounding."""
        return self.stem.stride * self.head.stride * math.prod(stage.stride for stage in self.stages)

    @property
    def num_blocks(self) -> int:
        """Number of blocks in all stages."""
        return sum(stage.num_layers for stage in self.stages)

    @cached_property
    def blocks(self) -> tuple[BlockShape, ...]:
        """All blocks of all stages, in order."""
        return tuple(self._resolve_blocks())

    def _resolve_blocks(self) -> Iterator[BlockShape]:
        in_channels = self.stem.out_channels
        resolution = strided(self.resolution, self.stem.stride)
        for index, stage in enumerate(self.stages):
            for block in stage_blocks(stage, in_channels, resolution, index):
                yield block
                in_channels, resolution = block.out_channels, block.out_resolution


def round_filters(filters: int, width: float) -> int:
    """Return channels times ``width``, rounded to the nearest multiple of 8 but never below 90 % of the product.

    Source: tensorflow/tpu efficientnet_model.py.
    """
    scaled = filters * width
    rounded = max(DEPTH_DIVISOR, int(scaled + DEPTH_DIVISOR / 2) // DEPTH_DIVISOR * DEPTH_DIVISOR)
    return rounded + DEPTH_DIVISOR if rounded < 0.9 * scaled else rounded


def strided(resolution: int, stride: int) -> int:
    """Return the side of a padded convolution's output: ceil(resolution / stride)."""
    return -(-resolution // stride)


def stage_blocks(stage: Stage, in_channels: int, resolution: int, index: int = 0) -> Iterator[BlockShape]:
    """Yield the blocks of the stage at ``index``, for input of ``in_channels`` x ``resolution`` x ``resolution``.

    An ``identity`` skip needs stride 1 and equal channels. A ``pool`` skip needs only equal channels: it adds the input
    averaged over 3x3 pixels at the block's stride (MnasNet's paper leaves the kind of pooling open; this is our
    choice). Where the shapes do not permit its skip, a block has none.
    """
    for layer in range(stage.num_layers):
        stride = stage.stride if layer == 0 else 1
        out_resolution = strided(resolution, stride)
        block = stage.block
        equal = in_channels == stage.out_channels
        permitted = {"identity": equal and stride == 1, "pool": equal, "none": True}
        hidden = in_channels * block.expand_ratio if isinstance(block, MBConv) else stage.out_channels
        yield BlockShape(
            stage=index,
            layer=layer,
            block=block,
            in_channels=in_channels,
            hidden_channels=hidden,
            squeeze_channels=max(1, int(in_channels * block.se_ratio)) if block.se_ratio else 0,
            out_channels=stage.out_channels,
            stride=stride,
            skip=block.skip if permitted[block.skip] else "none",
            in_resolution=resolution,
            out_resolution=out_resolution,
        )
        in_channels, resolution = stage.out_channels, out_resolution
