"""Known counts of B0 by other tools, and every packaged network counted by two of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from baselines import load
from baselines.counts import COUNTERS, count_with_fvcore, count_with_torch
from baselines.registry import PACKAGED
from search_spaces import architecture_cost, part_costs
from search_spaces.memory import network_memory

GOLDEN = Path(__file__).parents[1] / "golden" / "costs.json"
SPECS = sorted(file.stem for file in PACKAGED.glob("*.yaml"))


@pytest.mark.parametrize(
    ("tool", "millions"),
    # Measured with the tools on torchvision's B0; fvcore leaves out the pooling of ours, a mean: 401.66 - 2.37.
    [("fvcore", 399.29), ("torch", 771.63), ("thop-rules", 415.15)],
)
def test_b0_by_the_rules_of_other_tools(tool: str, millions: float) -> None:
    assert round(COUNTERS[tool](load("efficientnet_b0").architecture).total / 1e6, 2) == millions


@pytest.mark.parametrize("name", SPECS)
def test_torch_counts_the_same_multiply_adds(name: str) -> None:
    architecture = load(name).architecture
    assert count_with_torch(architecture).total == 2 * architecture_cost(architecture).macs


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SPECS if name != "efficientnet_l2"])  # 475G: minutes
def test_fvcore_counts_the_same_multiply_adds(name: str) -> None:
    architecture = load(name).architecture
    items = count_with_fvcore(architecture).items
    assert items["conv"] + items["linear"] == architecture_cost(architecture).macs


def summary(name: str) -> dict[str, object]:
    """All costs of a packaged network."""
    architecture = load(name).architecture
    return {
        "digest": load(name).digest,
        "total": asdict(architecture_cost(architecture)),
        "memory": asdict(network_memory(architecture)),
        "parts": {part: asdict(cost) for part, cost in part_costs(architecture)},
    }


@pytest.mark.parametrize("name", SPECS)
def test_golden(name: str) -> None:
    """No cost changes unnoticed; ``python -m tests.baselines.test_counts`` writes the file again."""
    assert json.loads(GOLDEN.read_text())[name] == summary(name)


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({name: summary(name) for name in SPECS}, indent=1) + "\n")
