"""Activation memory of a network in closed form, in elements for one image (times 4 for bytes of float32).

*Inference* is the peak while the layers run one after another. Each convolution runs together with its batch norm and
activation; additions and gates are done in place. A deployed runtime that does not reorder layers needs this much.

*Training* is the total kept from the forward to the backward pass, as PyTorch's autograd keeps it for the network that
`search_spaces.network.build_network` builds: the input of every convolution, linear layer and batch norm, and the
input of every activation (the output for ReLU).

*Recomputing* is the peak during a backward pass that has kept only the inputs of stem, blocks and head, and recomputes
the rest of each part when it needs it (`search_spaces.network.Network.recompute`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search_spaces.architecture import Architecture, BlockShape, ConvBlock, MBConv, strided


@dataclass(frozen=True)
class LayerMemory:
    """Memory of one layer, in elements for one image.

    Attributes:
        name: path of the layer, as in `search_spaces.cost.LayerCost`.
        live: elements alive while the layer runs: its input, its output, and maps waiting for a later addition.
        kept: elements kept for the backward pass, by this layer and everything up to the next one.
        out: elements passed to the next layer.
    """

    name: str
    live: int
    kept: int
    out: int


@dataclass(frozen=True)
class Memory:
    """Memory of a whole network, in elements for one image; see the module.

    Attributes:
        inference: peak during inference.
        training: total kept for the backward pass.
        recomputing: peak of a backward pass that recomputes the inner maps of blocks.
    """

    inference: int
    training: int
    recomputing: int


@dataclass
class _Map:
    """A feature map: channels, side in pixels, and whether it is already kept for the backward pass."""

    channels: int
    side: int
    kept: bool = False

    @property
    def size(self) -> int:
        return self.channels * self.side**2

    def keep(self) -> int:
        """Mark the map as kept, and return how many elements that adds."""
        added = 0 if self.kept else self.size
        self.kept = True
        return added


def network_memory(architecture: Architecture) -> Memory:
    """Return the memory that the network needs for inference, training and training with recomputation."""
    layers = list(layer_memory(architecture))
    return Memory(
        inference=max(layer.live for layer in layers),
        training=sum(layer.kept for layer in layers),
        recomputing=_peak_of_recomputing(layers),
    )


def _peak_of_recomputing(layers: Sequence[LayerMemory]) -> int:
    """Return the maximum, over all layers, of what is alive at that layer.

    That is the inputs of all earlier parts (stem, blocks, head, classifier), what the layer's own part has kept up to
    the layer, and two gradients: those of the layer's output before and after its activation or batch norm.
    """
    most = before = kept = out = 0
    part = ""
    for layer in layers:
        name = ".".join(layer.name.split(".")[:3])  # stages.STAGE.BLOCK
        if name != part:
            before, kept, part = before + out, 0, name
        kept += layer.kept
        most = max(most, before + kept + 2 * layer.out)
        out = layer.out
    return most


def layer_memory(architecture: Architecture) -> Iterator[LayerMemory]:
    """Yield the memory of every convolution and linear layer, in order."""
    # Only ReLU keeps its output, which determines its derivative; it is the same map that the next layer takes.
    output_kept = architecture.activation == "relu"
    stem, head = architecture.stem, architecture.head
    image = _Map(architecture.in_channels, architecture.resolution)
    features = _Map(stem.out_channels, strided(image.side, stem.stride), output_kept)
    kept = _keep_input(architecture, image, features, stem.kernel_size, stem.stride)
    yield LayerMemory("stem", image.size + features.size, kept + 2 * features.size, features.size)
    for index, block in enumerate(architecture.blocks):
        # The drop-connect mask: one number per image.
        mask = 1 if block.skip != "none" and architecture.drop_connect * index > 0 else 0
        yield from _block_memory(architecture, block, features, output_kept, mask)
        # Usually the output of a projection or an addition; a plain convolution block ends with its activation.
        ends_with_activation = (
            isinstance(block.block, ConvBlock) and block.skip == "none" and not block.squeeze_channels
        )
        features = _Map(block.out_channels, block.out_resolution, ends_with_activation and output_kept)
    after = _Map(head.out_channels, strided(features.side, head.stride), output_kept)
    kept = _keep_input(architecture, features, after, head.kernel_size, head.stride)
    yield LayerMemory("head", features.size + after.size, kept + 2 * after.size, after.size)
    # The classifier keeps its input, and dropout keeps its mask.
    vectors = 2 if architecture.dropout else 1
    live = head.out_channels + architecture.num_classes
    yield LayerMemory("classifier", live, vectors * head.out_channels, architecture.num_classes)


def _keep_input(architecture: Architecture, inputs: _Map, outputs: _Map, kernel_size: int, stride: int) -> int:
    """Return how many elements a convolution keeps of its input: the map, or a copy with TensorFlow's padding."""
    if architecture.padding == "same" and stride > 1:
        padded = max((outputs.side - 1) * stride + kernel_size, inputs.side)
        return inputs.channels * padded**2
    return inputs.keep()


def _block_memory(
    architecture: Architecture, block: BlockShape, entry: _Map, output_kept: bool, mask: int
) -> Iterator[LayerMemory]:
    kernel_size, stride, name = block.block.kernel_size, block.stride, block.name
    inverted = isinstance(block.block, MBConv)
    # The input of the block waits for the addition at its end.
    waiting = 0 if block.skip == "none" else entry.size
    exit_ = block.out_channels * block.out_resolution**2
    pooled = exit_ if block.skip == "pool" else 0
    inputs = entry
    if inverted and block.hidden_channels != block.in_channels:
        inputs = _Map(block.hidden_channels, block.in_resolution, output_kept)
        yield LayerMemory(f"{name}.expand", entry.size + inputs.size, entry.keep() + 2 * inputs.size, inputs.size)
    hidden = _Map(block.hidden_channels, block.out_resolution, output_kept)
    layers = [
        LayerMemory(
            f"{name}.depthwise" if inverted else f"{name}.conv",
            inputs.size + hidden.size + (waiting if inputs is not entry else 0),
            _keep_input(architecture, inputs, hidden, kernel_size, stride) + 2 * hidden.size,
            hidden.size,
        )
    ]
    if block.squeeze_channels:
        # The product keeps the map and the gate; the two layers keep the mean and the squeezed vector; the activation
        # between them keeps its input (ReLU keeps its output, which is the squeezed vector itself).
        width, squeeze = block.hidden_channels, block.squeeze_channels
        live = waiting + hidden.size + width + squeeze
        vectors = squeeze if output_kept else 2 * squeeze
        layers.append(LayerMemory(f"{name}.se.reduce", live, hidden.keep() + width, squeeze))
        layers.append(LayerMemory(f"{name}.se.expand", live, vectors + width, hidden.size))
        hidden = _Map(hidden.channels, hidden.side)
    if inverted:
        layers.append(LayerMemory(f"{name}.project", waiting + hidden.size + exit_, hidden.keep() + exit_, exit_))
    # The addition follows the last layer.
    last = layers[-1]
    kept = last.kept + mask + (entry.keep() if block.skip == "pool" else 0)
    yield from layers[:-1]
    yield LayerMemory(last.name, max(last.live, waiting + exit_ + pooled), kept, exit_)
