"""Networks for small images: which strides become 1, and that nothing else changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from baselines import load
from baselines.registry import PACKAGED
from search_spaces import Architecture, FieldError, architecture_cost
from search_spaces.adaptation import adapted
from search_spaces.network import build_network

SPECS = sorted(file.stem for file in PACKAGED.glob("*.yaml"))


def strides(net: Architecture) -> list[int]:
    return [net.stem.stride, *(stage.stride for stage in net.stages)]


@pytest.mark.parametrize("name", SPECS)
def test_tiny_images_take_as_few_of_the_first_strides_as_necessary(name: str) -> None:
    given = load(name).architecture
    for side in range(8, 16):
        found = adapted(given, side, 3)
        # Brute force: with the strides of the last k stages, and 1 before, the last map has a pixel.
        kept = [stage.stride for stage in given.stages]
        options = [[1] * first + kept[first:] for first in range(len(kept) + 1)]
        expected = next(each for each in options if math.prod(each) * given.head.stride <= side)
        assert strides(found) == [1, *expected]
        assert [replace(stage, stride=1) for stage in found.stages] == [
            replace(stage, stride=1) for stage in given.stages
        ]
        assert architecture_cost(found).params == architecture_cost(replace(given, num_classes=3)).params
        assert found.blocks[-1].out_resolution >= 1


@pytest.mark.parametrize("name", SPECS)
def test_sides_of_16_and_more_are_as_before(name: str) -> None:
    given = load(name).architecture
    for side in (*range(16, 70), 128, given.resolution):
        stem = replace(given.stem, stride=1) if side < 64 else given.stem
        assert adapted(given, side, 3) == replace(given, stem=stem, resolution=side, num_classes=3)


@pytest.mark.parametrize("side", range(1, 8))
def test_smaller_sides_are_refused(b0: Architecture, side: int) -> None:
    with pytest.raises(FieldError, match=f"resolution: {side} is smaller than the network's total stride of 16"):
        adapted(b0, side)


def test_a_network_that_fits_keeps_its_strides(b0: Architecture) -> None:
    """Whatever the order of strides in it, and if it halves only in its last stages."""
    flat = tuple(replace(stage, stride=1) for stage in b0.stages)
    for count in range(4):
        late = (*flat[: len(flat) - count], *(replace(stage, stride=2) for stage in flat[len(flat) - count :]))
        assert adapted(replace(b0, stages=late), 8).stages == late


def test_a_network_that_keeps_its_own_tiny_resolution_keeps_its_strides(b0: Architecture) -> None:
    flat = tuple(replace(stage, stride=1) for stage in b0.stages)
    own = replace(b0, stages=(replace(flat[0], stride=2), *flat[1:]), resolution=9)
    assert strides(adapted(own, num_classes=4)) == strides(own)


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "mnasnet_small", "mobilenet_v2", "efficientnet_lite0", "tinynet_e"]
)
@pytest.mark.parametrize("side", [8, 11, 15])
def test_networks_for_tiny_images_learn(name: str, side: int) -> None:
    """All weights get a gradient, and the logits are finite, in training and afterwards."""
    torch.manual_seed(0)
    network = build_network(adapted(load(name).architecture, side, 3, 0.25))
    images = torch.randn(4, 3, side, side)
    network(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    with torch.no_grad():
        assert network.eval()(images).isfinite().all()
