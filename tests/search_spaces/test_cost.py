"""The closed-form cost, compared with published numbers and with other counters."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import Architecture, StageSpace, architecture_cost, layer_costs, part_costs
from search_spaces.network import build_network
from tests.search_spaces.strategies import architectures


def module_params(architecture: Architecture) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(architecture).parameters())


def torch_macs(architecture: Architecture) -> int:
    """MACs from torch's own counter, which counts 2 for a multiply-add."""
    with torch.device("meta"):
        network = build_network(architecture).eval()
        image = torch.empty(1, 3, architecture.resolution, architecture.resolution)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def fvcore_macs(architecture: Architecture) -> int:
    """MACs of convolutions and linear layers from fvcore."""
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    network = build_network(architecture).eval()
    image = torch.zeros(1, 3, architecture.resolution, architecture.resolution)
    counts = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).by_operator()
    return int(counts["conv"] + counts["linear"])


def test_b0_stage_by_stage(b0: Architecture) -> None:
    # EfficientNet (arXiv 1905.11946v5) Table 1, counted independently.
    expected = {
        "stem": (928, 10_838_016),
        "stages.0": (1_448, 10_035_712),
        "stages.1": (16_714, 54_945_216),
        "stages.2": (46_640, 37_939_584),
        "stages.3": (242_930, 43_555_200),
        "stages.4": (543_148, 86_102_400),
        "stages.5": (2_026_348, 91_528_224),
        "stages.6": (717_232, 29_520_000),
        "head": (412_160, 20_070_400),
        "classifier": (1_281_000, 1_280_000),
    }
    assert {name: (cost.params, cost.macs) for name, cost in part_costs(b0)} == expected


def test_b0_by_kind_of_layer(b0: Architecture) -> None:
    macs: dict[str, int] = {}
    for layer in layer_costs(b0):
        kind = "se" if ".se." in layer.name else layer.name.split(".")[-1]
        macs[kind] = macs.get(kind, 0) + layer.cost.macs
    millions = {kind: round(value / 1e6, 2) for kind, value in macs.items()}
    assert millions == {
        "stem": 10.84,
        "expand": 166.18,
        "depthwise": 34.53,
        "se": 0.63,
        "project": 152.28,
        "head": 20.07,
        "classifier": 1.28,
    }


def test_b0_against_other_counters(b0: Architecture) -> None:
    assert architecture_cost(b0).macs == torch_macs(b0) == fvcore_macs(b0) == 385_814_752
    assert architecture_cost(b0).params == module_params(b0) == 5_288_548


@settings(max_examples=60)
@given(architectures)
def test_any_architecture_against_torch(architecture: Architecture) -> None:
    cost = architecture_cost(architecture)
    assert cost.macs == torch_macs(architecture)
    assert cost.params == module_params(architecture)


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_random_members_against_torch(space: StageSpace, count: int) -> None:
    rows = space.sample_indices(np.random.default_rng(0), count)
    for architecture in space.decode_indices(rows):
        cost = architecture_cost(architecture)
        assert (cost.macs, cost.params) == (torch_macs(architecture), module_params(architecture))


@pytest.mark.slow
def test_random_members_against_fvcore(space: StageSpace) -> None:
    rows = space.sample_indices(np.random.default_rng(1), 200)
    for architecture in space.decode_indices(rows):
        assert architecture_cost(architecture).macs == fvcore_macs(architecture)


def test_activations_are_outputs_of_convolutions(space: StageSpace) -> None:
    architecture = space.decode_indices(space.sample_indices(np.random.default_rng(2), 1))[0]
    network = build_network(architecture).eval()
    sizes: list[int] = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    assert architecture_cost(architecture).activations == sum(sizes)


def test_every_measured_network_has_its_published_counts(accel_nasbench: Path, space: StageSpace) -> None:
    """4612 rows: params as published, and MACs by thop's rules, which add norms, gates and pooling to ours."""
    from nas.predictors.accel_nasbench import genotype_of

    rows = 0
    for file in ("train.csv", "valid.csv"):
        with (accel_nasbench / file).open(newline="") as stream:
            for row in csv.DictReader(stream):
                architecture = space.decode(genotype_of(row))
                cost = architecture_cost(architecture)
                normed = sum(
                    layer.out_channels * layer.resolution**2
                    for layer in layer_costs(architecture)
                    if ".se." not in layer.name and layer.name != "classifier"
                )
                gates = sum(
                    b.hidden_channels * (b.out_resolution**2 + 1) for b in architecture.blocks if b.squeeze_channels
                )
                thop = cost.macs + 4 * normed + gates + 1280 * 50
                assert thop == round(float(row["thop_macs_m"]) * 1e6)
                assert cost.params == round(float(row["params_m"]) * 1e6)
                rows += 1
    assert rows == 4612
