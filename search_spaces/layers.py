"""The layers and blocks that networks are built from, and their initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn.functional import conv2d, pad
from torch.nn.grad import conv2d_input

from search_spaces.architecture import Architecture, Block, BlockShape, ConvBlock, ConvLayer, MBConv

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "relu6": partial(nn.ReLU6, inplace=True),
    "swish": partial(nn.SiLU, inplace=True),
    "hard_swish": partial(nn.Hardswish, inplace=True),
    "gelu": nn.GELU,
    "mish": partial(nn.Mish, inplace=True),
}
PUBLISHED_CLASSES = 1000
"""Number of classes of ImageNet, for which the published initialisation was chosen."""
SMALL_MAP = 4
"""Side up to which the weight gradient of a depthwise convolution is computed here, in pixels."""


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: output side ceil(input / stride), any odd pixel added at the end."""

    def forward(self, inputs: Tensor) -> Tensor:
        height, width = self._missing(inputs.shape[-2]), self._missing(inputs.shape[-1])
        padded = pad(inputs, [width // 2, width - width // 2, height // 2, height - height // 2])
        result: Tensor = self._conv_forward(padded, self.weight, self.bias)
        return result

    def _missing(self, side: int) -> int:
        """Pixels that a side lacks."""
        kernel_size, stride = self.kernel_size[0], self.stride[0]
        # Not -(-side // stride): ONNX rounds quotients towards zero, and not down.
        return max(((side + stride - 1) // stride - 1) * stride + kernel_size - side, 0)


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with symmetric padding, which trains much faster on small maps on a CPU.

    PyTorch's library takes about 40 ms for the gradient of the weights of one such layer on maps of 2 x 2 or 3 x 3
    pixels, a hundred times as long as for everything else in it: half of a step for B0 at 20 px (LOG.md, "Training").
    """

    def forward(self, inputs: Tensor) -> Tensor:
        # TorchScript compiles only the first of these.
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            outputs: Tensor = self._conv_forward(inputs, self.weight, self.bias)
        else:
            outputs = self._forward(inputs)
        return outputs

    def _forward(self, inputs: Tensor) -> Tensor:
        # A symbolic trace holds for maps of any size.
        given: object = inputs
        ours = not isinstance(given, Proxy) and self.training and inputs.device.type == "cpu"
        if not ours or max(inputs.shape[-2:]) > SMALL_MAP:
            unchanged: Tensor = self._conv_forward(inputs, self.weight, self.bias)
            return unchanged
        outputs: Tensor = _DepthwiseOnSmallMap.apply(inputs, self.weight, self.stride[0])  # type: ignore[no-untyped-call]
        return outputs


class _DepthwiseOnSmallMap(torch.autograd.Function):
    """A depthwise convolution whose weight gradient is a sum of products for each place in the kernel."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.stride = stride
        return conv2d(inputs, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        inputs, weight = ctx.saved_tensors
        size, stride = weight.shape[-1], ctx.stride
        of_inputs: Tensor = conv2d_input(  # type: ignore[no-untyped-call]
            inputs.shape, weight, gradient, stride, size // 2, groups=len(weight)
        )
        of_weight = torch.zeros_like(weight)
        height, width = inputs.shape[-2:]
        for row, (down, out_down) in enumerate(_overlaps(height, size, stride)):
            for column, (across, out_across) in enumerate(_overlaps(width, size, stride)):
                products = inputs[:, :, down, across] * gradient[:, :, out_down, out_across]
                of_weight[:, 0, row, column] = products.sum((0, 2, 3))
        return of_inputs, of_weight, None


@cache
def _overlaps(side: int, kernel_size: int, stride: int) -> tuple[tuple[slice, slice], ...]:
    """For each place in a kernel, the input pixels that it meets in one dimension, and the output pixels it adds to."""
    found = []
    for offset in range(-(kernel_size // 2), kernel_size // 2 + 1):
        first = max(0, -(offset // stride))
        last = min(-(-side // stride) - 1, (side - 1 - offset) // stride)
        count = max(0, last - first + 1)
        start = first * stride + offset if count else 0
        found.append((slice(start, start + count * stride, stride), slice(first, first + count)))
    return tuple(found)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, and (unless ``activation`` is False) an activation."""

    def __init__(
        self,
        architecture: Architecture,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        activation: bool = True,
    ) -> None:
        # Without a stride, SAME is symmetric; a convolution with a stride has no dilation.
        same = architecture.padding == "same" and stride > 1
        kind = SameConv2d if same else DepthwiseConv2d if groups > 1 and dilation == 1 else nn.Conv2d
        padding = 0 if same else kernel_size // 2 * dilation
        convolution = kind(
            in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        norm = nn.BatchNorm2d(out_channels, eps=architecture.bn_eps, momentum=architecture.bn_momentum)
        layers: list[nn.Module] = [convolution, norm]
        if activation:
            layers.append(_activation(architecture))
        super().__init__(*layers)


class SqueezeExcite(nn.Module):
    """Channel gate: global mean, 1x1 reduce, activation, 1x1 expand, sigmoid, multiply. Keeps the shape (N, C, H, W).

    Source: tensorflow/tpu efficientnet_model.py (both convolutions have a bias).
    """

    def __init__(self, architecture: Architecture, channels: int, squeeze_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeeze_channels, 1)
        self.activation = _activation(architecture)
        self.expand = nn.Conv2d(squeeze_channels, channels, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        squeezed = inputs.mean((2, 3), keepdim=True)
        gate = self.expand(self.activation(self.reduce(squeezed)))
        return inputs * torch.sigmoid(gate)


class DropConnect(nn.Module):
    """In training, zero whole samples with probability ``rate`` and divide the others by ``1 - rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        mask = torch.rand([inputs.shape[0], 1, 1, 1], device=inputs.device) < keep
        return inputs * mask.to(inputs.dtype) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


class DilatedMean(nn.Module):
    """The average over 3x3 pixels, ``dilation`` apart; those outside do not count. Keeps the shape (N, C, H, W)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, inputs: Tensor) -> Tensor:
        channels, apart = inputs.shape[1], self.dilation
        kernel = torch.ones([channels, 1, 3, 3], dtype=inputs.dtype, device=inputs.device)
        inside = conv2d(torch.ones_like(inputs[:1, :1]), kernel[:1], None, 1, apart, apart)
        return conv2d(inputs, kernel, None, 1, apart, apart, channels) / inside

    def extra_repr(self) -> str:
        return f"dilation={self.dilation}"


class Residual(nn.Module):
    """Base of the blocks: adds the skip, if any (the input, or its average over 3x3 pixels at the block's stride).

    A block with a ``dilation`` has a stride of 1.
    """

    def __init__(self, architecture: Architecture, shape: BlockShape, drop_connect: float, dilation: int = 1) -> None:
        super().__init__()
        self.drop_connect = DropConnect(drop_connect) if shape.skip != "none" else None
        self.pool: nn.Module | None = None
        if shape.skip == "pool":
            plain = dilation == 1
            self.pool = nn.AvgPool2d(3, shape.stride, 1, count_include_pad=False) if plain else DilatedMean(dilation)

    def add_skip(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Return ``outputs`` plus the skip from ``inputs``."""
        if self.drop_connect is None:
            return outputs
        result: Tensor = self.drop_connect(outputs) + (inputs if self.pool is None else self.pool(inputs))
        return result


class MBConvBlock(Residual):
    """One MBConv block: (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, architecture: Architecture, shape: BlockShape, drop_connect: float, dilation: int = 1) -> None:
        super().__init__(architecture, shape, drop_connect, dilation)
        layer = partial(ConvNormAct, architecture)
        hidden = shape.hidden_channels
        self.expand = layer(shape.in_channels, hidden, 1) if hidden != shape.in_channels else nn.Identity()
        self.depthwise = layer(hidden, hidden, shape.block.kernel_size, shape.stride, groups=hidden, dilation=dilation)
        self.se = _squeeze_excite(architecture, shape)
        self.project = layer(hidden, shape.out_channels, 1, activation=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.add_skip(self.project(self.se(self.depthwise(self.expand(inputs)))), inputs)


class ConvolutionBlock(Residual):
    """One plain convolution block, with the same input and output shapes as `MBConvBlock`."""

    def __init__(self, architecture: Architecture, shape: BlockShape, drop_connect: float, dilation: int = 1) -> None:
        super().__init__(architecture, shape, drop_connect, dilation)
        channels = shape.in_channels, shape.out_channels
        self.conv = ConvNormAct(architecture, *channels, shape.block.kernel_size, shape.stride, dilation=dilation)
        self.se = _squeeze_excite(architecture, shape)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.add_skip(self.se(self.conv(inputs)), inputs)


BLOCK_MODULES: dict[type[Block], type[Residual]] = {MBConv: MBConvBlock, ConvBlock: ConvolutionBlock}


def _squeeze_excite(architecture: Architecture, shape: BlockShape) -> nn.Module:
    if not shape.squeeze_channels:
        return nn.Identity()
    return SqueezeExcite(architecture, shape.hidden_channels, shape.squeeze_channels)


def _activation(architecture: Architecture) -> nn.Module:
    return _ACTIVATIONS[architecture.activation]()


def conv_layer(architecture: Architecture, in_channels: int, layer: ConvLayer, dilation: int = 1) -> ConvNormAct:
    """The stem or the head: (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
    return ConvNormAct(
        architecture, in_channels, layer.out_channels, layer.kernel_size, layer.stride, dilation=dilation
    )


def initialise(module: nn.Module) -> None:
    """Draw weights as tensorflow/tpu does: convolutions N(0, sqrt(2 / fan_out)), the classifier U(±1/sqrt(classes)).

    TensorFlow's fan_out of a depthwise kernel is k*k; PyTorch's ``kaiming_normal_`` uses k*k*channels. A classifier of
    fewer than 1000 classes, the published number, is drawn as for 1000: with 10 classes the formula gives weights ten
    times as large, and training starts from confident wrong predictions (LOG.md, "Training").
    """
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(max(module.out_features, PUBLISHED_CLASSES))
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)
