"""Costs per pixel, against the layer costs of whole networks."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaling.pixels import EXACT_COSTS, map_sides, pixel_costs, pixels
from search_spaces import Architecture, architecture_cost, layer_costs
from tests.search_spaces.strategies import architectures


@given(architectures, st.integers(1, 400))
def test_pixels_times_costs_are_the_costs_of_any_network(architecture: Architecture, extra: int) -> None:
    """Plain blocks, pooled skips, odd maps, strides in the head: every cost, at another resolution too."""
    network = replace(architecture, resolution=min(architecture.total_stride + extra, 8192))
    layers = (network.stem, *network.stages, network.head)
    table = pixel_costs(network, [layer.out_channels for layer in layers])
    maps = pixels(network, [network.resolution])[0]
    more = np.array([stage.num_layers - 1 for stage in network.stages])
    found = table.once @ maps + np.einsum("s,ksm,m->k", more, table.repeated, maps)
    assert dict(zip(EXACT_COSTS, found, strict=True)) == dict(
        zip(EXACT_COSTS, astuple(architecture_cost(network)), strict=True)
    )


@given(architectures)
def test_the_maps_are_those_of_the_layers(architecture: Architecture) -> None:
    sides = map_sides(architecture, architecture.resolution)
    assert {layer.resolution for layer in layer_costs(architecture)} == {*sides, 1}
    assert list(pixels(architecture, [architecture.resolution])[0]) == [*(side**2 for side in sides), 1]
