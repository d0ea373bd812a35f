"""One network under the counting rules of other tools, and what each counts that we do not.

Our MACs are multiply-adds of convolutions and linear layers; see `search_spaces.cost`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.architecture import Architecture
from search_spaces.cost import architecture_cost, layer_costs

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class OtherCount:
    """What another tool says of a network.

    Attributes:
        tool: name and version, or the name of its rules.
        unit: what its number counts.
        items: the parts of its number.
        total: their sum.
    """

    tool: str
    unit: str
    items: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.items.values())


def count_with_fvcore(architecture: Architecture) -> OtherCount:
    """fvcore's ``FlopCountAnalysis`` of the network in evaluation mode, by operator."""
    import logging
    import warnings
    from importlib.metadata import version

    import torch
    from fvcore.nn import FlopCountAnalysis

    from search_spaces.network import build_network

    logging.getLogger("fvcore").setLevel(logging.ERROR)  # it lists activations and additions, which it does not count
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it traces with torch.jit
        network = build_network(architecture).eval()
        image = torch.zeros(1, 3, architecture.resolution, architecture.resolution)  # it cannot trace without data
        found = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).by_operator()
    items = {str(name): int(count) for name, count in found.items()}
    return OtherCount(f"fvcore {version('fvcore')}", "flop: 1 a multiply-add, 2 an element of batch norm", items)


def count_with_torch(architecture: Architecture) -> OtherCount:
    """``torch.utils.flop_counter`` on the network in evaluation mode, by operator."""
    import torch

    from search_spaces.network import build_network

    with torch.device("meta"):
        network = build_network(architecture).eval()
    return OtherCount(
        f"torch {torch.__version__}", "flop: 2 a multiply-add", torch_flops(network, architecture.resolution)
    )


def torch_flops(network: nn.Module, resolution: int) -> dict[str, int]:
    """What torch's counter says of a network on the meta device for one image, by operator; 2 a multiply-add."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, resolution, resolution))
    return {str(name): int(count) for name, count in counter.get_flop_counts()["Global"].items()}


def count_by_thop_rules(architecture: Architecture) -> OtherCount:
    """What thop 0.1.1 counts, by its rules: poolings as adaptive average pools, activations not at all.

    Batch norm is 4 an element; a pool over n pixels is n + 1 for each channel.
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
