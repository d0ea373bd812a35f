"""Costs of a network by the counting rules of other tools, split into the parts that each tool counts.

Our MACs are multiply-adds of convolutions and linear layers only; see `search_spaces.cost`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.architecture import RGB, Architecture
from search_spaces.cost import architecture_cost, layer_costs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class OtherCount:
    """The count of another tool for a network.

    Attributes:
        tool: name and version of the tool, or the name of its rules.
        unit: unit of the count.
        items: count by part.
        total: sum of the parts.
    """

    tool: str
    unit: str
    items: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.items.values())


def count_with_fvcore(architecture: Architecture) -> OtherCount:
    """The count of fvcore's ``FlopCountAnalysis`` in evaluation mode, by operator."""
    import logging
    import warnings
    from importlib.metadata import version

    import torch
    from fvcore.nn import FlopCountAnalysis

    from search_spaces.network import build_network

    # It warns of activations and additions, which it does not count.
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it traces with torch.jit
        network = build_network(architecture).eval()
        side = architecture.resolution
        image = torch.zeros(1, architecture.in_channels, side, side)  # it cannot trace without data
        found = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).by_operator()
    items = {str(name): int(count) for name, count in found.items()}
    return OtherCount(f"fvcore {version('fvcore')}", "flop: 1 a multiply-add, 2 an element of batch norm", items)


def count_with_torch(architecture: Architecture) -> OtherCount:
    """The count of ``torch.utils.flop_counter`` in evaluation mode, by operator."""
    import torch

    from search_spaces.network import build_network

    with torch.device("meta"):
        network = build_network(architecture).eval()
    items = torch_flops(network, architecture.resolution, architecture.in_channels)
    return OtherCount(f"torch {torch.__version__}", "flop: 2 a multiply-add", items)


def torch_flops(network: nn.Module, resolution: int, in_channels: int = RGB) -> dict[str, int]:
    """The count of torch's counter for one image, by operator, on the meta device; a multiply-add is 2."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, in_channels, resolution, resolution))
    return {str(name): int(count) for name, count in counter.get_flop_counts()["Global"].items()}


def count_by_thop_rules(architecture: Architecture) -> OtherCount:
    """The count by the rules of thop 0.1.1: poolings count as adaptive average pools, activations do not count.

    Batch norm counts 4 per element, and a pool over n pixels n + 1 per channel.
    """
    elements = sum(
        layer.out_channels * layer.resolution**2
        for layer in layer_costs(architecture)
        if ".se." not in layer.name and layer.name != "classifier"
    )
    *_, head, _ = layer_costs(architecture)
    gates = sum(b.hidden_channels * (b.out_resolution**2 + 1) for b in architecture.blocks if b.squeeze_channels)
    items = {
        "conv + linear": architecture_cost(architecture).macs,
        "batch norm": 4 * elements,
        "pool": head.out_channels * (head.resolution**2 + 1) + gates,
    }
    return OtherCount("thop's rules", "MAC by its name; 4 an element of batch norm", items)


COUNTERS: dict[str, Callable[[Architecture], OtherCount]] = {
    "fvcore": count_with_fvcore,
    "torch": count_with_torch,
    "thop-rules": count_by_thop_rules,
}
