"""`build_network`: an `Architecture` as a ``torch.nn.Module``.

Module paths equal the layer names of `search_spaces.cost`, so that any counter's table can be put beside ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

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
"""Of ImageNet, for which the published initial weights were chosen."""


def build_network(architecture: Architecture) -> Network:
    """The network of an architecture, initialised as published (for few classes: `_initialise`), in training mode.

    Input: float tensor of shape (N, 3, H, W); any H and W at least the total stride will run, `resolution` is what
    the cost is counted at. Output: logits of shape (N, num_classes).
    """
    network = Network(architecture)
    network.apply(_initialise)
    return network


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: output side ceil(input / stride), an odd pixel goes to the end."""

    def forward(self, inputs: Tensor) -> Tensor:
        (kernel_size, _), (stride, _) = self.kernel_size, self.stride
        height, width = (max((-(-n // stride) - 1) * stride + kernel_size - n, 0) for n in inputs.shape[-2:])
        padded = pad(inputs, (width // 2, width - width // 2, height // 2, height - height // 2))
        result: Tensor = self._conv_forward(padded, self.weight, self.bias)
        return result


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, and (unless ``activation`` is None) an activation."""

    def __init__(
        self,
        architecture: Architecture,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        # Without a stride, SAME is symmetric.
        same = architecture.padding == "same" and stride > 1
        kind, padding = (SameConv2d, 0) if same else (nn.Conv2d, kernel_size // 2)
        convolution = kind(in_channels, out_channels, kernel_size, stride, padding=padding, groups=groups, bias=False)
        norm = nn.BatchNorm2d(out_channels, eps=architecture.bn_eps, momentum=architecture.bn_momentum)
        layers: list[nn.Module] = [convolution, norm]
        if activation:
            layers.append(_activation(architecture))
        super().__init__(*layers)


class SqueezeExcite(nn.Module):
    """Channel gate: global mean, 1x1 reduce, activation, 1x1 expand, sigmoid, multiply. Shape (N, C, H, W) kept.

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
    """In training, zero whole samples with probability ``rate`` and divide the others by the probability to stay."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return inputs
        keep = 1 - self.rate
        mask = torch.rand(inputs.shape[0], 1, 1, 1, device=inputs.device) < keep
        return inputs * mask.to(inputs.dtype) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


class Residual(nn.Module):
    """Adds the skip of a block, if it has one: the block's input, or its average over 3x3 pixels at its stride."""

    def __init__(self, architecture: Architecture, shape: BlockShape, drop_connect: float) -> None:
        super().__init__()
        self.drop_connect = DropConnect(drop_connect) if shape.skip != "none" else None
        self.pool = nn.AvgPool2d(3, shape.stride, 1, count_include_pad=False) if shape.skip == "pool" else None

    def add_skip(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """``outputs`` plus the skip from ``inputs``."""
        if self.drop_connect is None:
            return outputs
        result: Tensor = self.drop_connect(outputs) + (inputs if self.pool is None else self.pool(inputs))
        return result


class MBConvBlock(Residual):
    """One MBConv block: (N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, architecture: Architecture, shape: BlockShape, drop_connect: float) -> None:
        super().__init__(architecture, shape, drop_connect)
        layer = partial(ConvNormAct, architecture)
        hidden = shape.hidden_channels
        self.expand = layer(shape.in_channels, hidden, 1) if hidden != shape.in_channels else nn.Identity()
        self.depthwise = layer(hidden, hidden, shape.block.kernel_size, shape.stride, groups=hidden)
        self.se = _squeeze_excite(architecture, shape)
        self.project = layer(hidden, shape.out_channels, 1, activation=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.add_skip(self.project(self.se(self.depthwise(self.expand(inputs)))), inputs)


class ConvolutionBlock(Residual):
    """One plain convolution block; shapes as of `MBConvBlock`."""

    def __init__(self, architecture: Architecture, shape: BlockShape, drop_connect: float) -> None:
        super().__init__(architecture, shape, drop_connect)
        kernel_size = shape.block.kernel_size
        self.conv = ConvNormAct(architecture, shape.in_channels, shape.out_channels, kernel_size, shape.stride)
        self.se = _squeeze_excite(architecture, shape)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.add_skip(self.se(self.conv(inputs)), inputs)


_BLOCKS: dict[type[Block], type[Residual]] = {MBConv: MBConvBlock, ConvBlock: ConvolutionBlock}


def _squeeze_excite(architecture: Architecture, shape: BlockShape) -> nn.Module:
    if not shape.squeeze_channels:
        return nn.Identity()
    return SqueezeExcite(architecture, shape.hidden_channels, shape.squeeze_channels)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norm normalises with the batch's own statistics, as in training, but leaves its running ones as they are.

    Without this, the second forward pass of a block would count its batch twice.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Not `track_running_stats`: autograd must keep as many tensors as in the first pass.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


class Network(nn.Module):
    """The network of an `Architecture`; see `build_network`.

    Attributes:
        recompute: whether training keeps only what stem, blocks and head begin with, and computes the rest again
            during the backward pass (activation checkpointing): less memory (`search_spaces.memory`), about a third
            more time, the same gradients and statistics.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.recompute = False
        blocks = architecture.blocks
        self.stem = _conv_layer(architecture, 3, architecture.stem)
        stages = [nn.Sequential() for _ in architecture.stages]
        for index, shape in enumerate(blocks):
            # Linear in the block's index over all stages: 0 for the first, (n - 1) / n of the full rate for the last.
            rate = architecture.drop_connect * index / len(blocks)
            stages[shape.stage].append(_BLOCKS[type(shape.block)](architecture, shape, rate))
        self.stages = nn.ModuleList(stages)
        self.head = _conv_layer(architecture, blocks[-1].out_channels, architecture.head)
        self.dropout = nn.Dropout(architecture.dropout)
        self.classifier = nn.Linear(architecture.head.out_channels, architecture.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self._run(self.stem, images)
        parts: Iterable[nn.Module] = self.stages
        if self.recompute:
            parts = chain.from_iterable(stage.children() for stage in self.stages)
        for part in parts:
            features = self._run(part, features)
        pooled = self._run(self.head, features).mean((2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def _run(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """A part of the network, whose inner maps are not kept where they are to be computed again."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            outputs: Tensor = module(inputs)
            return outputs
        from torch.utils.checkpoint import checkpoint

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(module)

        recomputed: Tensor = checkpoint(module, inputs, use_reentrant=False, context_fn=contexts)
        return recomputed


def _activation(architecture: Architecture) -> nn.Module:
    return _ACTIVATIONS[architecture.activation]()


def _conv_layer(architecture: Architecture, in_channels: int, layer: ConvLayer) -> ConvNormAct:
    return ConvNormAct(architecture, in_channels, layer.out_channels, layer.kernel_size, layer.stride)


def _initialise(module: nn.Module) -> None:
    """Weights as tensorflow/tpu draws them: convolutions N(0, sqrt(2 / fan_out)), the classifier U(±1/sqrt(classes)).

    TensorFlow's fan_out of a depthwise kernel is k*k; PyTorch's own ``kaiming_normal_`` takes k*k*channels. Below the
    1000 classes that it was published for, the classifier keeps what 1000 have: at 10 the formula's weights are ten
    times as large, and a network begins sure of the wrong class (LOG.md, "Training").
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
