"""`build_network` and `build_features`: turn an `Architecture` into a ``torch.nn.Module``.

Module paths equal the layer names in `search_spaces.cost`, so the table of any other counter can be compared with ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.architecture import MAX_CLASSES, Architecture, check_int
from search_spaces.errors import FieldError, shorten
from search_spaces.layers import BLOCK_MODULES, ConvNormAct, conv_layer, initialise

OUTPUT_STRIDES = (2, 4, 8, 16, 32)


def build_network(architecture: Architecture, output_stride: int | None = None) -> Network:
    """Return the network of an architecture in training mode, with initial weights as published (see `initialise`).

    Its input is a float tensor of shape (N, in_channels, H, W). H and W may be any size from the total stride up;
    `resolution` is only the size at which the cost is counted. Its output is the logits, of shape (N, num_classes).

    Args:
        architecture: architecture to build.
        output_stride: most that a side of the image is divided by, one of `OUTPUT_STRIDES`. Strides that would exceed
            it become 1, and the layers after them dilate instead, as in timm and DeepLab (arXiv 1606.00915, section
            3.1). Weights and their names stay the same, and so do skips. The architecture's cost is that of the network
            with its strides; dilated, its MACs and activations are those of the architecture with these strides at 1.

    Raises:
        FieldError: the output stride is not one of `OUTPUT_STRIDES`.
    """
    network = Network(architecture, output_stride)
    network.apply(initialise)
    return network


def build_features(
    architecture: Architecture, out_indices: int | Iterable[int] | None = None, output_stride: int | None = None
) -> FeatureNetwork:
    """Return the stem and the stages of a network as a module that returns feature maps, with initial weights.

    The maps are those of timm's ``features_only``: the last one at each resolution, by index from the largest. B0 has
    five, at strides of 2, 4, 8, 16 and 32. The head and the classifier are left out, and so are stages after the last
    map. Weights of a trained network load into it, with ``load_state_dict`` or with
    `baselines.exchange.weights.load_weights`; those of layers that are left out are left aside.

    Args:
        architecture: architecture to build.
        out_indices: indices of the maps to return, in this order; negative ones count from the end. A number stands for
            that many of the last. By default all maps are returned.
        output_stride: as for `build_network`. The maps are as many as without it, but not smaller.

    Raises:
        FieldError: an index names no map, or the output stride is not one of `OUTPUT_STRIDES`.
    """
    features = FeatureNetwork(architecture, out_indices, output_stride)
    features.apply(initialise)
    return features


def _strides(architecture: Architecture, output_stride: int | None) -> list[tuple[int, int]]:
    """Stride and dilation of every block, and last of the head. Raises `FieldError` for an unknown output stride."""
    if output_stride is not None and (type(output_stride) is not int or output_stride not in OUTPUT_STRIDES):
        known = ", ".join(map(str, OUTPUT_STRIDES))
        raise FieldError("output_stride", f"{shorten(output_stride)} is not one of {known}")
    found = []
    reached, dilation = architecture.stem.stride, 1
    for stride in (*(shape.stride for shape in architecture.blocks), architecture.head.stride):
        if output_stride is not None and reached * stride > output_stride:
            # The first layer at a stride of 1 still sees neighbours as far apart as before; those after it do not.
            found.append((1, dilation))
            dilation *= stride
        else:
            found.append((stride, dilation))
            reached *= stride
    return found


def _stem_and_stages(
    architecture: Architecture, strides: Sequence[tuple[int, int]], stages: int
) -> tuple[ConvNormAct, nn.ModuleList]:
    """The stem, and the first so many stages."""
    stem = conv_layer(architecture, architecture.in_channels, architecture.stem)
    built = [nn.Sequential() for _ in range(stages)]
    blocks = architecture.blocks
    for index, (shape, (stride, dilation)) in enumerate(zip(blocks, strides, strict=False)):
        if shape.stage < stages:
            # Linear in the block's index over all stages: 0 for the first block, (n - 1) / n of the rate for the last.
            rate = architecture.drop_connect * index / len(blocks)
            block = BLOCK_MODULES[type(shape.block)](architecture, replace(shape, stride=stride), rate, dilation)
            built[shape.stage].append(block)
    return stem, nn.ModuleList(built)


@contextmanager
def _running_statistics_frozen(module: nn.Module) -> Iterator[None]:
    """Let batch norm normalise with the batch's statistics, as in training, without updating its running statistics.

    Otherwise, the second forward pass of a block would count its batch twice.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Not with `track_running_stats`: autograd must keep as many tensors as in the first pass.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches


class Network(nn.Module):
    """The network of an `Architecture`; see `build_network`.

    Attributes:
        architecture: architecture that the network was built from; `reset_classifier` changes its number of classes.
        recompute: whether training keeps only the inputs of stem, blocks and head, and recomputes the rest during the
            backward pass (activation checkpointing). This takes less memory (`search_spaces.memory`) and about a third
            more time; gradients and statistics are the same.
    """

    def __init__(self, architecture: Architecture, output_stride: int | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.recompute = False
        strides = _strides(architecture, output_stride)
        self.stem, self.stages = _stem_and_stages(architecture, strides, len(architecture.stages))
        head = replace(architecture.head, stride=strides[-1][0])
        self.head = conv_layer(architecture, architecture.stages[-1].out_channels, head, strides[-1][1])
        self.dropout = nn.Dropout(architecture.dropout)
        self.classifier: nn.Module = nn.Linear(architecture.head.out_channels, architecture.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.forward_features(images).mean((2, 3))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map: the head's convolution after its batch norm and activation, as in timm.

        Args:
            images: images of shape (N, in_channels, H, W).

        Returns:
            A tensor of shape (N, C, h, w): C is ``architecture.head.out_channels``, and h and w are H and W divided by
            the total stride (or by the output stride), rounded up at each layer.
        """
        # TorchScript compiles only the first of these, which never recomputes.
        if torch.jit.is_scripting() or not self.recompute:  # type: ignore[attr-defined]
            features = self.stem(images)
            for stage in self.stages:
                features = stage(features)
            result: Tensor = self.head(features)
        else:
            result = self._recomputed(images)
        return result

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a new one, with initial weights, and set the architecture's number of classes.

        Args:
            num_classes: number of classes, or 0 for no classifier, as in timm: the network then returns what the
                classifier would get, the pooled features of shape (N, ``architecture.head.out_channels``), and its
                architecture, which always has classes, stays as it is.

        Raises:
            FieldError: the number is not an integer, or out of range.
        """
        check_int("num_classes", num_classes, 0, MAX_CLASSES)
        if num_classes == 0:
            self.classifier = nn.Identity()
            return
        weight = next(self.head.parameters())
        classifier = nn.Linear(self.architecture.head.out_channels, num_classes)
        initialise(classifier)
        self.classifier = classifier.to(weight.device, weight.dtype)
        self.architecture = replace(self.architecture, num_classes=num_classes)

    def _recomputed(self, images: Tensor) -> Tensor:
        """The features, with the input of each part kept only."""
        for part in (self.stem, *chain.from_iterable(stage.children() for stage in self.stages), self.head):
            images = self._run(part, images)
        return images

    def _run(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """Run a part of the network; with `recompute`, keep only its input for the backward pass."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            outputs: Tensor = module(inputs)
            return outputs
        from torch.utils.checkpoint import checkpoint

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _running_statistics_frozen(module)

        recomputed: Tensor = checkpoint(module, inputs, use_reentrant=False, context_fn=contexts)
        return recomputed


@dataclass(frozen=True)
class FeatureInfo:
    """The feature maps of a network; methods and keys are those of timm's class of this name.

    Attributes:
        info: for every map its ``index``, its channels (``num_chs``), the side of the image divided by that of the map
            (``reduction``), and the path of the module that returns it (``module``).
        out_indices: indices of the maps that are returned, in this order.
    """

    info: tuple[dict[str, Any], ...]
    out_indices: tuple[int, ...]

    def channels(self) -> list[int]:
        """Channels of each returned map."""
        return [self.info[index]["num_chs"] for index in self.out_indices]

    def reduction(self) -> list[int]:
        """Side of the image divided by that of each returned map, up to rounding."""
        return [self.info[index]["reduction"] for index in self.out_indices]

    def module_name(self) -> list[str]:
        """Path of the module that returns each returned map."""
        return [self.info[index]["module"] for index in self.out_indices]

    def get_dicts(self, keys: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """What is known of each returned map, under these keys or all."""
        wanted = ("index", "num_chs", "reduction", "module") if keys is None else tuple(keys)
        return [{key: self.info[index][key] for key in wanted} for index in self.out_indices]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.info[index]

    def __len__(self) -> int:
        return len(self.info)


class FeatureNetwork(nn.Module):
    """Stem and stages of a network, which return feature maps; see `build_features`.

    Attributes:
        architecture: architecture of the whole network.
        feature_info: channels and strides of the maps.
    """

    def __init__(
        self, architecture: Architecture, out_indices: int | Iterable[int] | None, output_stride: int | None
    ) -> None:
        super().__init__()
        self.architecture = architecture
        strides = _strides(architecture, output_stride)
        levels = list(_levels(architecture, strides))
        info = tuple(
            {
                "index": index,
                "num_chs": channels,
                "reduction": reduction,
                "module": f"stages.{after - 1}" if after else "stem",
            }
            for index, (after, channels, reduction) in enumerate(levels)
        )
        self.feature_info = FeatureInfo(info, _chosen(out_indices, len(levels)))
        # Number of stages before each returned map, and the place of each in their order.
        after = [levels[index][0] for index in self.feature_info.out_indices]
        self._after = sorted(set(after))
        self._places = [self._after.index(number) for number in after]
        self.stem, self.stages = _stem_and_stages(architecture, strides, self._after[-1])
        self.register_load_state_dict_pre_hook(_leave_aside)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.stem(images)
        maps: list[Tensor] = []
        if 0 in self._after:
            maps.append(features)
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index + 1 in self._after:
                maps.append(features)
        return [maps[place] for place in self._places]


def _levels(architecture: Architecture, strides: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """The last map at each resolution: number of stages before it, its channels, and the image's side over its own."""
    after, channels, reduction = 0, architecture.stem.out_channels, architecture.stem.stride
    for shape, (stride, _) in zip(architecture.blocks, strides, strict=False):
        # By the strides of the table, so that an output stride leaves the indices as they are.
        if shape.stride > 1:
            yield after, channels, reduction
        after, channels, reduction = shape.stage + 1, shape.out_channels, reduction * stride
    yield after, channels, reduction


def _chosen(out_indices: int | Iterable[int] | None, count: int) -> tuple[int, ...]:
    """The indices that were asked for, from 0. Raises `FieldError` for one that is not there."""
    if out_indices is None:
        return tuple(range(count))
    if isinstance(out_indices, int):
        check_int("out_indices", out_indices, 1, count)
        return tuple(range(count - out_indices, count))
    given = tuple(out_indices)
    if not given:
        raise FieldError("out_indices", f"() names no feature map; expected indices from {-count} to {count - 1}")
    for place, index in enumerate(given):
        check_int(f"out_indices[{place}]", index, -count, count - 1)
    return tuple(index % count for index in given)


def _leave_aside(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Remove weights of layers that the whole network has and this module does not, before it loads them."""
    assert isinstance(module, FeatureNetwork)
    absent = range(len(module.stages), len(module.architecture.stages))
    parts = ("head.", "classifier.", *(f"stages.{index}." for index in absent))
    for name in list(state_dict):
        if name.startswith(tuple(prefix + part for part in parts)):
            del state_dict[name]
