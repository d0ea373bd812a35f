"""Weights of a smaller network for a larger one of the same stages, as in Net2Net (arXiv 1511.05641).

*Wider*: channel j of the larger network is a copy of channel j mod n of the smaller one's n. What reads the copies of a
channel shares its weight among them, so that their sum is unchanged, also through batch norm, activations and
squeeze-excite. The shares are drawn, a little unequal: copies that are read alike would stay alike for good.

*Deeper*: a block that the smaller network lacks starts with a last batch norm of zeros. Where it has an identity skip,
it passes on its input, unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from baselines.text import counted
from search_spaces.architecture import Architecture, BlockShape, MBConv
from search_spaces.errors import MnasError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Fields of an architecture with which a network of other channels and layers computes another function.
_SHARED = ("resolution", "activation", "padding", "bn_eps")


@dataclass(frozen=True)
class Grown:
    """Weights of a larger network that come from a smaller one.

    Attributes:
        weights: all weights of the larger network.
        wider: number of tensors with copied channels.
        added: names of the added blocks.
        changing: what keeps the larger network from computing the smaller one's function, in words: blocks with another
            skip, and added ones without an identity skip.
    """

    weights: dict[str, Tensor]
    wider: int
    added: tuple[str, ...]
    changing: tuple[str, ...]


def grown(
    smaller: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    architecture: Architecture,
    seed: int = 0,
) -> Grown:
    """The weights of a smaller network, grown to a larger one.

    Args:
        smaller: weights of the smaller network by our names. Without a classifier, the fresh one is kept.
        fresh: initial weights of the larger network.
        architecture: architecture of the larger network.
        seed: random seed of the shares.

    Raises:
        MnasError: a layer of the smaller network is larger, has another kernel, or is missing.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    known = {_block(name) for name in smaller}
    added = {shape.name: shape for shape in architecture.blocks if shape.name not in known and shape.layer > 0}
    for name in smaller:
        if name not in fresh:
            raise MnasError(f"weights: {name} is not a layer of this network; use weights of a smaller one of its kind")
    weights, wider = dict(fresh), 0
    for name, tensor in fresh.items():
        if _block(name) in added or name.endswith(".num_batches_tracked"):
            continue
        if name not in smaller:
            if name.startswith("classifier."):
                continue
            raise MnasError(f"weights: {name} is missing; use weights of a smaller network of the same kind of blocks")
        weights[name] = _widened(name, smaller[name], tensor, generator)
        wider += smaller[name].shape != tensor.shape
    for name, shape in added.items():
        last = f"{name}.{'project' if isinstance(shape.block, MBConv) else 'conv'}.1"
        weights[f"{last}.weight"] = torch.zeros_like(weights[f"{last}.weight"])
    changing = tuple(
        [f"{name} has no identity skip" for name, shape in added.items() if shape.skip != "identity"]
        + [f"{shape.name} {_SKIPS[shape.skip != 'none']}" for shape in _other_skips(smaller, architecture, set(added))]
    )
    return Grown(weights, wider, tuple(added), changing)


def _block(name: str) -> str:
    """The path of the block that a tensor is in."""
    return ".".join(name.split(".")[:3])


# By whether the larger network has one.
_SKIPS = ("has a skip only in the smaller one", "has a skip only in this one")


def _other_skips(smaller: Mapping[str, Tensor], architecture: Architecture, added: set[str]) -> Iterator[BlockShape]:
    """Blocks that have a skip in only one of the two networks, since input and output have as many channels."""
    for shape in architecture.blocks:
        if shape.name in added or shape.block.skip == "none" or (shape.block.skip == "identity" and shape.stride > 1):
            continue
        inverted = isinstance(shape.block, MBConv)
        last = smaller[f"{shape.name}.{'project' if inverted else 'conv'}.0.weight"]
        expanded = inverted and shape.hidden_channels != shape.in_channels
        first = smaller[f"{shape.name}.{'expand' if expanded else 'depthwise' if inverted else 'conv'}.0.weight"]
        inputs = first.shape[1] if expanded or not inverted else first.shape[0]
        if (inputs == last.shape[0]) != (shape.in_channels == shape.out_channels):
            yield shape


def _widened(name: str, given: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """A tensor with as many outputs and inputs as another; copies of an input share its weight."""
    import torch

    fits = given.ndim == wanted.ndim and given.shape[2:] == wanted.shape[2:]
    if not fits or any(few > many for few, many in zip(given.shape, wanted.shape, strict=True)):
        raise MnasError(
            f"weights: {name} has shape {tuple(given.shape)}, this network's is {tuple(wanted.shape)}; "
            "use weights of a smaller network of the same kind of blocks"
        )
    if given.ndim == 0:
        return given
    found = given.to(wanted.dtype)[torch.arange(len(wanted)) % len(given)]
    if given.ndim > 1 and given.shape[1] < wanted.shape[1]:
        places = torch.arange(wanted.shape[1]) % given.shape[1]
        shares = torch.empty(wanted.shape[1], dtype=torch.float64).uniform_(0.5, 1.5, generator=generator)
        total = torch.zeros(given.shape[1], dtype=torch.float64).index_add_(0, places, shares)
        shares = (shares / total[places]).to(wanted.dtype)
        found = found[:, places] * shares.reshape(-1, *(1 for _ in wanted.shape[2:]))
    return found


def grown_text(found: Grown, smaller: Architecture | None, larger: Architecture, *, fresh_classifier: bool) -> str:
    """What was done to the weights of a smaller network, and whether the larger one computes its function.

    Args:
        found: the weights of the larger network.
        smaller: architecture of the smaller network; None if it is not known.
        larger: architecture of the larger network.
        fresh_classifier: whether the classifier is a fresh one.
    """
    what = [f"channels copied in {found.wider} tensors", f"{counted(len(found.added), 'block')} added"]
    reasons = list(found.changing)
    if smaller is not None:
        reasons += differences(smaller, larger)
    elif not reasons:
        what.append("if strides, activation, padding, bn_eps and resolution are the same, which weights do not show")
    text = f"weights of a smaller network: {', '.join(what)}: "
    kept = "the classifier starts fresh and sees the smaller network's features" if fresh_classifier else "same outputs"
    changed = "the function is not quite the smaller network's"
    return text + (f"{changed} ({', '.join(reasons)})" if reasons else kept)


def differences(smaller: Architecture, larger: Architecture) -> list[str]:
    """What keeps a grown network from computing the smaller one's function, besides added blocks, in words."""
    found = [
        f"{name} {getattr(larger, name)}, before {getattr(smaller, name)}"
        for name in _SHARED
        if getattr(smaller, name) != getattr(larger, name)
    ]
    strides = [[net.stem.stride, *(stage.stride for stage in net.stages)] for net in (smaller, larger)]
    places = [place for place, (one, other) in enumerate(zip(*strides, strict=False)) if one != other]
    return found + [f"another stride in {f'stages.{place - 1}' if place else 'the stem'}" for place in places]
