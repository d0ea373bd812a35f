"""A scaled network with its coefficients and costs."""

from __future__ import annotations

from dataclasses import dataclass

from scaling.budget import memory_bytes
from scaling.compound import Coefficients, compound_scale
from search_spaces import Architecture, Cost, architecture_cost

# Sides are cheap if their feature maps cost at most this much more than maps of whole pixels.
CHEAP = 0.03


@dataclass(frozen=True)
class Sized:
    """A scaled network and its costs.

    Attributes:
        coefficients: coefficients that scaled it.
        architecture: the network.
        cost: exact MACs, parameters and activations.
        memory: bytes of memory for the inference of one image in float32: weights and feature maps.
    """

    coefficients: Coefficients
    architecture: Architecture
    cost: Cost
    memory: int


def sized(base: Architecture, coefficients: Coefficients) -> Sized:
    """Scale a baseline and count the result. Raises `FieldError` as `compound_scale`."""
    network = compound_scale(base, coefficients)
    return Sized(coefficients, network, architecture_cost(network), memory_bytes(network))
