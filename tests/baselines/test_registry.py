"""Every packaged spec, compared with the counts of its publishers and of torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from baselines import load, names, read_spec
from baselines.registry import PACKAGED
from scaling import Coefficients, compound_scale
from scaling.released import released
from search_spaces import architecture_cost
from search_spaces.network import build_network
from search_spaces.serialization import read_yaml
from tests.scaling.test_compound import RELEASED

# Params and MACs, at each network's own resolution. From torchvision's num_params and _ops for EfficientNet, MnasNet-B1
# and MobileNetV2 (B2's MACs are counted at 260 px, B8 and L2 with fvcore); from osmr/imgclsmob for MnasNet-A1. Params
# of TinyNet are those of timm's networks; arXiv 2010.14819 prints 339M, 202M and 52M MACs for A, B and D.
COUNTS = {
    **{f"efficientnet_{name}": counts for name, counts in RELEASED.items()},
    "efficientnet_b8": (87_413_142, 62_597_461_568),
    "efficientnet_l2": (480_309_308, 475_703_653_280),
    "mnasnet_a1": (3_887_038, 311_579_072),
    "mnasnet_b1": (4_383_312, 314_415_872),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "tinynet_a": (6_187_972, 336_867_712),
    "tinynet_b": (3_730_562, 200_709_360),
    "tinynet_d": (2_338_446, 51_580_656),
}
# Params and MACs in millions, as printed in tensorflow/tpu lite/README.md and mnasnet/README.md, and for TinyNet in
# CV-Backbones tinynet_pytorch/README.md. The MACs of the first count more than convolutions, so they are left out.
ROUNDED = {
    "efficientnet_lite0": (4.7, None),
    "efficientnet_lite1": (5.4, None),
    "efficientnet_lite2": (6.1, None),
    "efficientnet_lite3": (8.2, None),
    "efficientnet_lite4": (13.0, None),
    "mnasnet_small": (2.0, 68),
    "tinynet_c": (2.5, 100),
    "tinynet_e": (2.0, 24),
}
SPECS = sorted(file.stem for file in PACKAGED.glob("*.yaml"))


def test_every_packaged_spec_has_published_counts() -> None:
    assert set(SPECS) == set(COUNTS) | set(ROUNDED) <= set(names())


@pytest.mark.parametrize("name", SPECS)
def test_counts(name: str) -> None:
    spec = load(name)
    cost = architecture_cost(spec.architecture)
    if name in COUNTS:
        assert (cost.params, cost.macs) == COUNTS[name]
    else:
        params, macs = ROUNDED[name]
        assert round(cost.params / 1e6, 1) == params
        assert macs is None or round(cost.macs / 1e6) == macs
    with torch.device("meta"):
        network = build_network(spec.architecture)
    assert sum(parameter.numel() for parameter in network.parameters()) == cost.params


@pytest.mark.parametrize("name", SPECS)
def test_files_equal_what_would_be_written(name: str) -> None:
    file = PACKAGED / f"{name}.yaml"
    assert read_yaml(file) == read_spec(file).as_dict()
    assert all(figure.kind == "published" for figure in load(name).figures)


def test_scaled_specs_are_derived() -> None:
    derived = {spec.name: spec for spec in released()}
    assert len(derived) == 18
    assert derived == {name: load(name) for name in derived}
    for spec in derived.values():
        assert spec.provenance.scaling is not None
        assert spec.provenance.scaling.parent_digest == load(spec.provenance.scaling.parent).digest


@pytest.mark.parametrize(
    ("name", "width", "params"),
    [
        # num_params of torchvision's mnasnet0_5, mnasnet0_75 and mnasnet1_3.
        ("mnasnet_b1", 0.5, 2_218_512),
        ("mnasnet_b1", 0.75, 3_170_208),
        ("mnasnet_b1", 1.3, 6_282_256),
    ],
)
def test_width_multipliers(name: str, width: float, params: int) -> None:
    scaled = compound_scale(load(name).architecture, Coefficients(width, 1, 224, keep=("head",)))
    assert architecture_cost(scaled).params == params


def test_squeeze_width_comes_from_the_input_of_the_block() -> None:
    """If it came from the expanded channels, B0 would have 8,423,848 parameters and MnasNet-A1 5,139,518."""
    for name, wrong in (("efficientnet_b0", 8_423_848), ("mnasnet_a1", 5_139_518)):
        net = load(name).architecture
        extra = 0
        for block in net.blocks:
            if block.squeeze_channels:
                wide = max(1, int(block.hidden_channels * block.block.se_ratio))
                extra += (wide - block.squeeze_channels) * (2 * block.hidden_channels + 1)
        assert architecture_cost(net).params + extra == wrong


@pytest.mark.parametrize(
    ("name", "classes", "params"), [("efficientnet_b1", 10, 6_525_994), ("efficientnet_b6", 100, 40_966_204)]
)
def test_other_numbers_of_classes(name: str, classes: int, params: int) -> None:
    assert architecture_cost(replace(load(name).architecture, num_classes=classes)).params == params
