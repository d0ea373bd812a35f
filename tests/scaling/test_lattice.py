"""The networks around a baseline: their costs, their ranges and their coefficients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import load
from scaling.compound import Coefficients, compound_scale
from scaling.lattice import Growth, Lattice
from scaling.pixels import EXACT_COSTS
from scaling.published import side_step
from scaling.rules import RULES, Factors, Rule
from search_spaces import Architecture, ConvLayer, MBConv, Stage, architecture_cost

# Channels that are no multiples of 8, a stage of one layer, an odd side.
SMALL = Architecture(
    resolution=45,
    num_classes=10,
    stem=ConvLayer(20, 3, 2),
    stages=(Stage(MBConv(3, 1, 0), 12, 1, 1), Stage(MBConv(5, 4, 0.25), 28, 3, 2), Stage(MBConv(3, 6, 0), 40, 2, 2)),
    head=ConvLayer(100, 1, 1),
)
BASES = [load(name).architecture for name in ("efficientnet_b0", "mobilenet_v2", "efficientnet_lite0")] + [SMALL]
KEEPING = replace(RULES["efficientnet"], keep=("stem", "large-head", "ends"))
rules = st.sampled_from([*RULES.values(), KEEPING])
bases = st.sampled_from(BASES)
growths = st.builds(Growth, *(st.floats(0.4, 4) for _ in range(3)))


@settings(max_examples=60)
@given(bases, rules, growths, st.sampled_from((1, 4)), st.sampled_from((0.05, 0.2)), st.randoms(use_true_random=False))
def test_costs_of_cells_are_those_of_the_networks_of_their_coefficients(
    base: Architecture, rule: Rule, wanted: Growth, step: int, radius: float, random: object
) -> None:
    lattice = Lattice(base, rule)
    cells = lattice.around(wanted, step).cells(wanted, radius)
    shape = (len(cells.depths), len(cells.widths), len(cells.resolutions))
    if not math.prod(shape):
        return
    costs = {cost: cells.costs(cost) for cost in EXACT_COSTS}
    departures = cells.departures(wanted)
    for _ in range(5):
        place = np.unravel_index(random.randrange(math.prod(shape)), shape)  # type: ignore[attr-defined]
        chosen = cells.coefficients(place, Factors(*wanted))
        cost = architecture_cost(compound_scale(base, chosen))
        assert {name: values[place] for name, values in costs.items()} == {
            name: getattr(cost, name) for name in EXACT_COSTS
        }
        assert [lattice.cost(chosen, name) for name in EXACT_COSTS] == [getattr(cost, name) for name in EXACT_COSTS]
        growth = lattice.growth(chosen)
        assert departures[place] == pytest.approx(growth.distance(wanted))
        alone = (
            replace(chosen, width=1.0, resolution=base.resolution),
            replace(chosen, depth=1.0, resolution=base.resolution),
            replace(chosen, depth=1.0, width=1.0),
        )
        macs = [architecture_cost(compound_scale(base, one)).macs for one in alone]
        assert growth == pytest.approx([found / architecture_cost(base).macs for found in macs])


@settings(max_examples=60)
@given(bases, rules, st.floats(0.3, 5), st.floats(0.3, 5))
def test_every_depth_and_every_width_lies_in_a_cell(base: Architecture, rule: Rule, depth: float, width: float) -> None:
    """No network between the ranges is left out: that of any factors is found around its own growth."""
    lattice = Lattice(base, rule)
    growth = lattice.growth(Coefficients(width, depth, base.resolution, keep=rule.keep, rounding=rule.rounding))
    cells = lattice.around(growth, 1).cells(growth, 1e-9)
    assert lattice.layers(depth) in [part.result for part in cells.depths]
    # Where rounding a width near 1 gives the channels of another one, the width of 1 stands for them.
    assert lattice.channels(width) in [part.result for part in cells.widths]
    assert base.resolution in cells.resolutions


@pytest.mark.parametrize("base", BASES)
def test_a_width_of_one_is_the_baseline_itself(base: Architecture) -> None:
    lattice = Lattice(base, RULES["fast"])
    cells = lattice.around(Growth(1, 1, 1), side_step(base)).cells(Growth(1, 1, 1), 1e-9)
    chosen = [cells.coefficients((0, place, 0), Factors(1, 1, 1)) for place in range(len(cells.widths))]
    assert base in [compound_scale(base, found) for found in chosen]
    assert lattice.macs == architecture_cost(base).macs


def test_coefficients_are_short() -> None:
    lattice = Lattice(load("efficientnet_b0").architecture, RULES["efficientnet"])
    wanted = Growth(1.5, 1.3, 1.2)
    cells = lattice.around(wanted, 4).cells(wanted, 0.1)
    for place in np.ndindex(len(cells.depths), len(cells.widths), 1):
        chosen = cells.coefficients(place, Factors(1.345678, 1.123456, 1.1))
        assert len(f"{chosen.depth:g}") <= 5
        assert len(f"{chosen.width:g}") <= 6


@pytest.mark.parametrize(("side", "step"), [(224, 4), (96, 4), (64, 2), (32, 1), (24, 1)])
def test_small_images_have_finer_steps(side: int, step: int) -> None:
    base = replace(SMALL, resolution=side)
    assert side_step(base) == step


def test_shares_and_distances() -> None:
    assert Growth(2, 4, 8).shares() == pytest.approx((1 / 6, 2 / 6, 3 / 6))
    assert Growth(1.001, 1, 1).shares() is None
    assert Growth(2, 2, 2).distance(Growth(1, 2, 2)) == pytest.approx(math.log(2))
