"""Scaling, compared with the released networks and the published rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines import load
from scaling import PRESETS, RULES, Coefficients, compound_scale, preset, round_filters, round_repeats
from scaling.compound import EFFICIENTNET, PYCLS, TINYNET, Rounding
from search_spaces import Architecture, FieldError, MnasError, architecture_cost
from search_spaces.network import build_network

# Exact params and MACs at each network's own resolution: torchvision's num_params; B2's MACs are counted at 260 px.
RELEASED = {
    "b0": (5_288_548, 385_814_752),
    "b1": (7_794_184, 686_802_832),
    "b2": (9_109_994, 993_561_872),
    "b3": (12_233_232, 1_827_141_392),
    "b4": (19_341_616, 4_393_771_024),
    "b5": (30_389_784, 10_266_384_752),
    "b6": (43_040_704, 19_067_593_536),
    "b7": (66_347_960, 37_745_884_192),
}
# Params with 10 and with 100 classes.
OTHER_CLASSES = {"b0": (4_020_358, 4_135_648), "b4": (17_566_546, 17_727_916), "b7": (63_812_570, 64_043_060)}


def coefficients(phi: float, base: Architecture) -> Coefficients:
    """Those of the paper's rule."""
    return RULES["efficientnet"].coefficients(base, phi=phi)


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_presets_are_the_released_networks(b0: Architecture, name: str) -> None:
    scaled = compound_scale(b0, preset(name))
    cost = architecture_cost(scaled)
    assert (cost.params, cost.macs) == RELEASED[name]
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in build_network(scaled).parameters()) == cost.params


def test_preset_b0_changes_nothing(b0: Architecture) -> None:
    assert compound_scale(b0, preset("b0")) == b0


# Sizes of all convolution outputs at 240, 300 and 456 px, as pycls and timm count them.
@pytest.mark.parametrize(("name", "activations"), [("b1", 10_884_328), ("b3", 23_831_296), ("b5", 98_857_400)])
def test_activations_of_released_networks(b0: Architecture, name: str, activations: int) -> None:
    assert architecture_cost(compound_scale(b0, preset(name))).activations == activations


# Channels and layers of the stages, px, MACs, params, activations: huawei-noah/CV-Backbones tinynet_pytorch, as timm
# builds the networks; stem and head keep 32 and 1280 channels.
TINYNETS = {
    "a": ((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 4, 4, 5, 1), 192, 336_867_712, 6_187_972, 5_412_164),
    "b": ((16, 24, 32, 64, 88, 144, 240), (1, 2, 2, 3, 3, 4, 1), 188, 200_709_360, 3_730_562, 4_435_938),
    "d": ((8, 16, 24, 40, 64, 104, 176), (1, 1, 1, 2, 2, 3, 1), 152, 51_580_656, 2_338_446, 1_417_854),
}


@pytest.mark.parametrize("letter", TINYNETS)
def test_tinynets(b0: Architecture, letter: str) -> None:
    channels, layers, side, *counts = TINYNETS[letter]
    tiny = compound_scale(b0, preset(f"tinynet_{letter}"))
    assert (tiny.stem.out_channels, tiny.head.out_channels, tiny.resolution) == (32, 1280, side)
    assert tuple(stage.out_channels for stage in tiny.stages) == channels
    assert tuple(stage.num_layers for stage in tiny.stages) == layers
    cost = architecture_cost(tiny)
    assert [cost.macs, cost.params, cost.activations] == counts


@pytest.mark.parametrize(
    ("rounding", "channels", "layers"),
    [
        # 20 channels times 1.5 are 30; 8.8 channels are 8 or, by the 90 % rule, 8; 9 are 8 or 16.
        (EFFICIENTNET, {(20, 1.5): 32, (16, 0.55): 8, (16, 0.5626): 16, (8, 0.1): 8}, {(1, 1.1): 2, (5, 0.5): 3}),
        (TINYNET, {(20, 1.5): 32, (16, 0.5626): 16}, {(1, 1.1): 1, (5, 0.5): 2, (3, 0.5): 2, (1, 0.1): 1}),
        (
            PYCLS,
            {(20, 1.5): 32, (16, 0.5626): 8, (20, 1.0): 20, (24, 1.5): 32, (8, 0.1): 8},
            {(1, 1.4): 1, (3, 1.5): 4},
        ),
    ],
)
def test_roundings(
    rounding: Rounding, channels: dict[tuple[int, float], int], layers: dict[tuple[int, float], int]
) -> None:
    """Half a layer, and half of 8 channels, go to the even number (24 times 1.5 is 4.5 times 8)."""
    assert {case: rounding.channels(*case) for case in channels} == channels
    assert {case: rounding.layers(*case) for case in layers} == layers


@pytest.mark.parametrize("name", sorted(OTHER_CLASSES))
def test_other_class_counts(b0: Architecture, name: str) -> None:
    scaled = compound_scale(b0, preset(name))
    params = tuple(architecture_cost(replace(scaled, num_classes=classes)).params for classes in (10, 100))
    assert params == OTHER_CLASSES[name]


def test_channels_and_layers_of_b4(b0: Architecture) -> None:
    b4 = compound_scale(b0, preset("b4"))
    assert [stage.out_channels for stage in b4.stages] == [24, 32, 56, 112, 160, 272, 448]
    assert [stage.num_layers for stage in b4.stages] == [2, 4, 4, 6, 6, 8, 2]
    assert (b4.stem.out_channels, b4.head.out_channels, b4.dropout) == (48, 1792, 0.4)
    assert b4.blocks[-1].out_resolution == 12


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    [(32, 1.1, 32), (24, 1.1, 24), (40, 1.1, 48), (80, 1.1, 88), (112, 1.2, 136), (32, 1.6, 48), (320, 1.4, 448)],
)
def test_round_filters(filters: int, width: float, expected: int) -> None:
    assert round_filters(filters, width) == expected


@given(st.integers(8, 4096), st.floats(0.1, 8))
def test_round_filters_is_a_near_multiple_of_8(filters: int, width: float) -> None:
    rounded = round_filters(filters, width)
    assert rounded % 8 == 0
    assert rounded >= 0.9 * filters * width
    assert rounded == 8 or abs(rounded - filters * width) < 12


@pytest.mark.parametrize(("repeats", "depth", "expected"), [(1, 1.1, 2), (4, 3.1, 13), (3, 1.0, 3), (2, 1.4, 3)])
def test_round_repeats(repeats: int, depth: float, expected: int) -> None:
    assert round_repeats(repeats, depth) == expected


def test_the_rule_differs_from_the_presets(b0: Architecture) -> None:
    rule = coefficients(1, b0)
    assert (rule.depth, rule.width, rule.resolution) == (pytest.approx(1.2), pytest.approx(1.1), 256)
    assert rule != PRESETS["b1"]
    # Width 1.1 and depth 1.2 at 256 px: 0.860G.
    assert architecture_cost(compound_scale(b0, rule)).macs == pytest.approx(0.860e9, rel=1e-3)


def test_the_rule_at_higher_powers(b0: Architecture) -> None:
    # alpha, beta, gamma = 1.2, 1.1, 1.15 to the 7th: 3.58, 1.95 and 596 px
    rule = coefficients(7, b0)
    assert (round(rule.depth, 2), round(rule.width, 2), rule.resolution) == (3.58, 1.95, 608)
    assert coefficients(0, replace(b0, resolution=200)) == Coefficients(1, 1, 200)


def test_single_dimensions_of_table_7(b0: Architecture) -> None:
    # Computed counts of EfficientNet (arXiv 1905.11946) Table 7's networks, in G.
    macs = {
        "depth": architecture_cost(compound_scale(b0, Coefficients(1, 4, 224))).macs,
        "width": architecture_cost(compound_scale(b0, Coefficients(2, 1, 224))).macs,
        "resolution": architecture_cost(compound_scale(b0, Coefficients(1, 1, 448))).macs,
    }
    rounded = {name: round(value / 1e9, 3) for name, value in macs.items()}
    assert rounded == {"depth": 1.575, "width": 1.450, "resolution": 1.538}


@given(st.floats(-4, 12), st.integers(32, 700), st.sampled_from((1, 2)))
def test_the_rule_changes_the_resolution_in_the_direction_of_phi(phi: float, resolution: int, stem_stride: int) -> None:
    net = load("efficientnet_b0").architecture
    base = replace(net, resolution=resolution, stem=replace(net.stem, stride=stem_stride))
    side = coefficients(phi, base).resolution
    assert side == resolution or side % base.total_stride == 0
    assert abs(side - resolution * 1.15**phi) <= max(base.total_stride / 2, abs(resolution - resolution * 1.15**phi))
    assert (side >= resolution) if phi >= 0 else (side <= resolution)


@given(st.floats(1, 3), st.floats(1, 3), st.integers(224, 300))
def test_growing_never_shrinks(width: float, depth: float, resolution: int) -> None:
    net = load("efficientnet_b0").architecture
    scaled = architecture_cost(compound_scale(net, Coefficients(width, depth, resolution)))
    cost = architecture_cost(net)
    assert scaled.macs >= cost.macs
    assert scaled.params >= cost.params


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: Coefficients(0, 1, 224), "width"),
        (lambda: Coefficients(1, float("nan"), 224), "depth"),
        (lambda: Coefficients(1, 1, 0), "resolution"),
        (lambda: coefficients(100, load("efficientnet_b0").architecture), "phi"),
    ],
)
def test_errors_name_the_wrong_coefficient(make: object, path: str) -> None:
    with pytest.raises(FieldError) as error:
        make()  # type: ignore[operator]
    assert error.value.path == path


def test_unknown_preset_gets_a_suggestion() -> None:
    with pytest.raises(MnasError, match="unknown preset 'b33'; did you mean 'b3'"):
        preset("b33")
