"""Named rules against the published tables and exact counts of other tools."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines import load
from scaling import PRESETS, compound_scale
from scaling.budget import Budget, solve
from scaling.compound import Coefficients
from scaling.published import in_proportion, source_of
from scaling.rules import ALPHA, BETA, GAMMA, RULES, constraint, position, powers, published_range, rule_named
from search_spaces import Architecture, FieldError, MnasError, architecture_cost


class Golden(NamedTuple):
    """B0 under a rule of facebookresearch/pycls scaler.py.

    Attributes:
        rule, scale: rule and nominal growth of MACs.
        depth, width, resolution: factors.
        side: resolution in pixels.
        channels: channels of stem, stages and head.
        layers: layers of the stages.
        counts: MACs, params and activations.
    """

    rule: str
    scale: int
    depth: float
    width: float
    resolution: float
    side: int
    channels: tuple[int, ...]
    layers: tuple[int, ...]
    counts: tuple[int, int, int]


# Factors and roundings are those of pycls; counts follow from them by torch's counters.
# fmt: off
GOLDEN = (
    Golden("d", 2, 2, 1, 1, 224, (32, 16, 24, 40, 80, 112, 192, 320, 1280),
           (2, 4, 4, 6, 6, 8, 2), (782_254_048, 10_222_984, 12_093_592)),
    Golden("w", 2, 1, 1.4142136, 1, 224, (48, 24, 32, 56, 112, 160, 272, 456, 1808),
           (1, 2, 2, 3, 3, 4, 1), (745_527_488, 9_720_946, 9_620_954)),
    Golden("r", 2, 1, 1, 1.4142136, 316, (32, 16, 24, 40, 80, 112, 192, 320, 1280),
           (1, 2, 2, 3, 3, 4, 1), (780_998_512, 5_288_548, 13_557_220)),
    Golden("dw", 2, 1.4142136, 1.1892071, 1, 224, (40, 16, 32, 48, 96, 136, 232, 384, 1520),
           (1, 3, 3, 4, 4, 6, 1), (759_746_096, 9_510_718, 10_711_694)),
    Golden("dr", 2, 1.4142136, 1, 1.1892071, 268, (32, 16, 24, 40, 80, 112, 192, 320, 1280),
           (1, 3, 3, 4, 4, 6, 1), (801_116_592, 6_817_924, 13_010_828)),
    Golden("wr", 2, 1, 1.1892071, 1.1892071, 268, (40, 16, 32, 48, 96, 136, 232, 384, 1520),
           (1, 2, 2, 3, 3, 4, 1), (838_732_592, 7_301_260, 11_755_252)),
    Golden("dwr", 2, 1.259921, 1.122462, 1.122462, 252, (32, 16, 24, 48, 88, 128, 216, 360, 1440),
           (1, 3, 3, 4, 4, 5, 1), (791_813_120, 7_676_480, 11_918_184)),
    Golden("fast", 2, 1.0717735, 1.3195079, 1.0352649, 232, (40, 24, 32, 56, 104, 144, 256, 424, 1688),
           (1, 2, 2, 3, 3, 4, 1), (781_816_464, 8_602_822, 10_191_038)),
    Golden("d", 8, 8, 1, 1, 224, (32, 16, 24, 40, 80, 112, 192, 320, 1280),
           (8, 16, 16, 24, 24, 32, 8), (3_160_889_824, 39_829_600, 44_166_928)),
    Golden("w", 8, 1, 2.8284271, 1, 224, (88, 48, 64, 112, 224, 320, 544, 904, 3624),
           (1, 2, 2, 3, 3, 4, 1), (2_837_597_600, 34_560_338, 19_040_194)),
    Golden("r", 8, 1, 1, 2.8284271, 632, (32, 16, 24, 40, 80, 112, 192, 320, 1280),
           (1, 2, 2, 3, 3, 4, 1), (3_111_251_008, 5_288_548, 54_047_764)),
    Golden("dw", 8, 2.8284271, 1.6817928, 1, 224, (56, 24, 40, 64, 136, 192, 320, 536, 2152),
           (3, 6, 6, 8, 8, 11, 3), (2_963_001_152, 37_822_968, 27_699_608)),
    Golden("dr", 8, 2.8284271, 1, 1.6817928, 376, (32, 16, 24, 40, 80, 112, 192, 320, 1280),
           (3, 6, 6, 8, 8, 11, 3), (3_207_513_600, 14_257_996, 48_041_468)),
    Golden("wr", 8, 1, 1.6817928, 1.6817928, 376, (56, 24, 40, 64, 136, 192, 320, 536, 2152),
           (1, 2, 2, 3, 3, 4, 1), (2_958_374_352, 13_161_150, 31_486_798)),
    Golden("dwr", 8, 2, 1.4142136, 1.4142136, 316, (48, 24, 32, 56, 112, 160, 272, 456, 1808),
           (2, 4, 4, 6, 6, 8, 2), (3_062_780_432, 19_501_522, 34_313_914)),
    Golden("fast", 8, 1.2311444, 2.2973967, 1.1095695, 248, (72, 40, 56, 88, 184, 256, 440, 736, 2944),
           (1, 2, 2, 4, 4, 5, 1), (2_918_093_312, 27_838_930, 21_552_866)),
)
# fmt: on


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row.rule}-{row.scale}")
def test_b0_under_the_rules_of_pycls(b0: Architecture, row: Golden) -> None:
    rule = RULES[row.rule]
    assert rule.factors(row.scale, b0) == pytest.approx((row.depth, row.width, row.resolution))
    scaled = compound_scale(b0, rule.coefficients(b0, factor=row.scale))
    assert scaled.resolution == row.side
    channels = (scaled.stem, *scaled.stages, scaled.head)
    assert tuple(layer.out_channels for layer in channels) == row.channels
    assert tuple(stage.num_layers for stage in scaled.stages) == row.layers
    cost = architecture_cost(scaled)
    assert (cost.macs, cost.params, cost.activations) == row.counts


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("efficientnet", (0.28, 0.29, 0.43)),
        ("d", (1, 0, 0)),
        ("w", (0, 1, 0)),
        ("r", (0, 0, 1)),
        ("dw", (1 / 2, 1 / 2, 0)),
        ("dr", (1 / 2, 0, 1 / 2)),
        ("wr", (0, 1 / 2, 1 / 2)),
        ("dwr", (1 / 3, 1 / 3, 1 / 3)),
        ("fast", (0.1, 0.8, 0.1)),
    ],
)
def test_shares(b0: Architecture, name: str, shares: tuple[float, float, float]) -> None:
    """As published, to two digits."""
    assert RULES[name].shares == pytest.approx(shares, abs=0.006)
    found = RULES[name].factors(5, b0)
    assert found.product == pytest.approx(5)
    assert found.shares == pytest.approx(RULES[name].shares)


def test_fast_is_spelled_as_in_its_paper_too() -> None:
    assert rule_named("dWr") is RULES["fast"]
    assert rule_named("DWR") is rule_named("dwr") is RULES["dwr"]
    assert rule_named("Fast") is RULES["fast"]


def test_every_rule_has_a_source_and_a_rounding() -> None:
    for rule in RULES.values():
        assert rule.source
        assert rule.meaning
        assert (rule.shares is None) == bool(rule.points)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_factor_of_one_changes_nothing(name: str) -> None:
    for base in ("efficientnet_b0", "mobilenet_v2"):
        net = load(base).architecture
        assert compound_scale(net, RULES[name].coefficients(net, factor=1)) == net


# --- rules of published points ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lacs-gpu", "lacs-tpu", "tinynet"])
def test_a_rule_goes_through_its_points(b0: Architecture, name: str) -> None:
    for point in RULES[name].points:
        published = PRESETS[point]
        macs = architecture_cost(compound_scale(b0, published)).macs
        factor = macs / architecture_cost(b0).macs
        found = RULES[name].coefficients(b0, factor=factor)
        assert (found.depth, found.width) == pytest.approx((published.depth, published.width))
        assert found.resolution == published.resolution
        assert architecture_cost(compound_scale(b0, found)).macs == macs
        assert position(RULES[name], b0, factor) == f"exactly {point}"


def test_between_points_logarithms_are_interpolated(b0: Architecture) -> None:
    macs = architecture_cost(b0).macs
    low, high = (architecture_cost(compound_scale(b0, PRESETS[f"tinynet_{letter}"])).macs / macs for letter in "ba")
    middle = math.sqrt(low * high)
    found = RULES["tinynet"].factors(middle, b0)
    # tinynet_b is d 1.1, w 0.75, 188 px; tinynet_a is d 1.2, w 1, 192 px.
    assert found == pytest.approx((math.sqrt(1.1 * 1.2), math.sqrt(0.75), math.sqrt(188 * 192) / 224))
    assert position(RULES["tinynet"], b0, middle) == "interpolated in log MACs between tinynet_b and tinynet_a"
    assert position(RULES["tinynet"], b0, 0.95) == "interpolated in log MACs between tinynet_a and the baseline"


@pytest.mark.parametrize("name", ["lacs-gpu", "lacs-tpu", "tinynet"])
@pytest.mark.parametrize("side", [32, 48, 96, 224])
def test_the_points_of_a_rule_are_the_presets_of_any_baseline(b0: Architecture, name: str, side: int) -> None:
    """Also where a preset's share of a small side is less than the total stride, below which no network goes."""
    base = replace(b0, resolution=side)
    for point in RULES[name].points:
        preset = compound_scale(base, in_proportion(base, PRESETS[point]))
        growth = architecture_cost(preset).macs / architecture_cost(base).macs
        assert position(RULES[name], base, growth) == f"exactly {point}"
        found = compound_scale(base, RULES[name].coefficients(base, factor=growth))
        assert replace(found, dropout=0) == replace(preset, dropout=0)


@pytest.mark.parametrize("times", [0.4, 0.5, 0.8])
def test_a_rule_of_points_reaches_what_its_presets_reach(b0: Architecture, times: float) -> None:
    base = replace(b0, resolution=32)
    assert solve(base, RULES["tinynet"], Budget("macs", times, relative=True)).architecture.resolution == 32


def test_beyond_the_points_the_last_shares_continue(b0: Architecture) -> None:
    rule = RULES["lacs-gpu"]
    limits = published_range(rule, b0)
    assert limits is not None
    last = PRESETS["x_gpu_b7"]
    growth = (last.depth, last.width, last.resolution / 224)
    # The square of the last point's growth has the square of its factors.
    assert rule.factors(limits[1] ** 2, b0) == pytest.approx([value**2 for value in growth])
    assert rule.factors(1 / limits[1], b0) == pytest.approx([1 / value for value in growth])
    for scale in (2 * limits[1], 0.5):
        assert position(rule, b0, scale) == "beyond the published points: continued with the shares of x_gpu_b7"
    assert published_range(RULES["fast"], b0) is position(RULES["fast"], b0, 2) is None


@given(st.floats(0.01, 300), st.floats(1.001, 2), st.sampled_from(sorted(RULES)))
def test_factors_move_evenly(scale: float, step: float, name: str) -> None:
    """No jumps: a small step of the growth is a small step of the factors."""
    net = load("efficientnet_b0").architecture
    before, after = (RULES[name].factors(value, net) for value in (scale, scale * step))
    assert all(abs(math.log(b / a)) <= 3 * math.log(step) for a, b in zip(before, after, strict=True))


def test_sources_of_presets() -> None:
    assert "tinynet_pytorch" in source_of("tinynet_a")
    assert "efficientnet_x_builder" in source_of("x_tpu_b3")
    assert source_of("b3") == "tensorflow/tpu efficientnet_builder.py"


# Width, depth and side: tensorflow/tpu efficientnet_x_builder.py.
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("x_gpu_b1", (1.05, 1.09, 229)),
        ("x_gpu_b4", (1.63, 2.40, 282)),
        ("x_gpu_b7", (2.58, 5.46, 350)),
        ("x_tpu_b3", (1.27, 1.62, 263)),
        ("x_tpu_b6", (2.75, 3.01, 328)),
        ("x_tpu_b7", (3.26, 3.44, 350)),
        # CV-Backbones tinynet_pytorch.
        ("tinynet_c", (0.54, 0.85, 184)),
        ("tinynet_e", (0.51, 0.60, 106)),
    ],
)
def test_published_points(name: str, row: tuple[float, float, int]) -> None:
    assert (PRESETS[name].width, PRESETS[name].depth, PRESETS[name].resolution) == row


@pytest.mark.parametrize(
    ("name", "first", "last"),
    # Shares of depth, width² and resolution², to two digits (arXiv 2102.05610).
    [("lacs-gpu", None, (0.38, 0.42, 0.20)), ("lacs-tpu", (0.38, 0.37, 0.25), (0.28, 0.53, 0.20))],
)
def test_shares_of_lacs(b0: Architecture, name: str, first: tuple[float, ...] | None, last: tuple[float, ...]) -> None:
    for point, shares in ((3, first), (7, last)):
        chosen = PRESETS[RULES[name].points[point - 1]]
        logs = [math.log(chosen.depth), 2 * math.log(chosen.width), 2 * math.log(chosen.resolution / 224)]
        if shares is not None:
            assert [value / sum(logs) for value in logs] == pytest.approx(shares, abs=0.012)


# --- rules of one's own, and errors -------------------------------------------------------------------------------


def test_powers_of_the_paper_are_its_rule(b0: Architecture) -> None:
    mine = powers(ALPHA, BETA, GAMMA)
    assert mine.coefficients(b0, phi=2.5) == RULES["efficientnet"].coefficients(b0, phi=2.5)
    assert mine.growth == pytest.approx(1.9203, abs=1e-4)
    assert constraint(mine) is constraint(RULES["fast"]) is None


def test_a_product_that_misses_the_constraint_is_stated() -> None:
    note = constraint(powers(1.3, 1.2, 1.1))
    assert note is not None
    assert note.startswith("alpha * beta^2 * gamma^2 = 2.265, not about 2")  # 1.3 · 1.44 · 1.21


def test_phi_and_factor_are_the_same_growth(b0: Architecture) -> None:
    rule = RULES["efficientnet"]
    assert rule.coefficients(b0, phi=3) == rule.coefficients(b0, factor=(1.2 * 1.1**2 * 1.15**2) ** 3)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda net: rule_named("fats"), "unknown rule 'fats'; did you mean 'fast'?"),
        (lambda net: RULES["fast"].coefficients(net, phi=1), "phi: the rule fast has none; use --factor"),
        (lambda net: RULES["tinynet"].coefficients(net, phi=1), "phi: the rule tinynet has none; use --factor"),
        (RULES["fast"].coefficients, "scale: expected one of phi and factor with a rule"),
        (lambda net: RULES["fast"].coefficients(net, factor=math.nan), "factor: nan is not a number from 0.001"),
        (lambda net: RULES["d"].coefficients(net, factor=1000), "depth: .* is not a number from 0.05 to 50"),
        (lambda net: RULES["r"].coefficients(net, factor=9999), "resolution: .* px is more than 8192; use a smaller"),
        (lambda net: powers(0.9, 1, 1), r"alpha: alpha \* beta\^2 \* gamma\^2 = 0.9 must be above 1"),
        (lambda net: powers(1.2, 9, 1), "beta: 9 is not a number from 0.5 to 4"),
    ],
)
def test_errors(b0: Architecture, call: object, problem: str) -> None:
    with pytest.raises(MnasError, match=problem) as caught:
        call(b0)  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_resolution_below_the_total_stride_is_refused(b0: Architecture) -> None:
    small = replace(b0, resolution=64)
    with pytest.raises(FieldError, match="resolution: 20 is smaller than the network's total stride of 32"):
        compound_scale(small, RULES["r"].coefficients(small, factor=0.1))
    assert RULES["r"].coefficients(small, factor=0.1) == Coefficients(1.0, 1.0, 20, rounding=RULES["r"].rounding)
