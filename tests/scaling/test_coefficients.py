"""Coefficients as choices: grids, constraints, canonical rows, and searches on such a space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nas
import scaling
from baselines import load
from nas.evaluators.base import Evaluator, Metrics
from scaling.budget import read_budget
from scaling.coefficients import CoefficientSpace, paper_space, sides_of, usual_values
from scaling.compound import Coefficients, compound_scale
from scaling.rules import RULES
from scaling.studies.candidates import MARKED, Grid, candidates_of
from search_spaces import Architecture, FieldError, MnasError, architecture_cost
from search_spaces.adaptation import adapted


@pytest.fixture(scope="module")
def narrow(b0: Architecture) -> Architecture:
    """A narrow B0 for images of 24 px."""
    return adapted(b0, 24, 10, 0.25)


def rows(space: CoefficientSpace, indices: np.ndarray) -> set[tuple[object, ...]]:  # type: ignore[type-arg]
    return {tuple(genotype.values()) for genotype in space.genotypes(indices)}


def test_the_papers_grid(b0: Architecture) -> None:
    """FACTS §5.2: 1.0 to 1.4 in steps of 0.05 has 729 points, 75 with a product within 0.1 of 2."""
    space = paper_space(b0)
    assert space.size == 729
    assert len(space.matching) == 75
    assert (1.2, 1.1, 256) in rows(space, space.matching)
    factors = [round(1 + 0.05 * step, 2) for step in range(9)]
    sides = dict(zip(factors, space.decisions[2].values, strict=True))
    assert sides[1.15] == 256  # 257.6 px, to a multiple of 4
    expected = {
        (d, w, sides[r]) for d, w, r in itertools.product(factors, repeat=3) if abs(d * w**2 * r**2 - 2) <= 0.1 + 1e-9
    }
    assert rows(space, space.matching) == expected
    # Without the slack of 0.08, the paper's own coefficients are not among them.
    tight = CoefficientSpace(b0, factors, factors, sides_of(b0, factors), product=2.0, tolerance=0.0796)
    assert (1.2, 1.1, 256) not in rows(tight, tight.matching)


def test_members_are_the_first_rows_of_different_networks(b0: Architecture) -> None:
    space = paper_space(b0)
    assert space.members is not None
    assert (space.canonical(space.members) == space.members).all()
    networks = [compound_scale(b0, space.coefficients(genotype)) for genotype in space.genotypes(space.matching)]
    assert len(set(networks)) == len(space.members) < 75
    assert set(networks) == set(space.decode_indices(space.members))
    # A row that misses the constraint has a canonical row that meets it, if its network has one.
    everything = np.array(list(itertools.product(range(9), repeat=3)))
    members = {row.tobytes() for row in space.members}
    for row, network in zip(space.canonical(everything), space.decode_indices(everything), strict=True):
        assert (row.tobytes() in members) == (network in set(networks))


def test_the_constraint_is_on_real_costs(narrow: Architecture) -> None:
    own = architecture_cost(narrow)
    for cost in ("macs", "params", "activations"):
        space = CoefficientSpace(narrow, *usual_values(narrow, 2), target=f"{cost}=2x", tolerance=0.1)
        assert space.members is not None
        found = [getattr(architecture_cost(network), cost) for network in space.decode_indices(space.members)]
        assert all(abs(value / getattr(own, cost) / 2 - 1) <= 0.1 for value in found)
        everything = np.array(list(itertools.product(*(range(count) for count in space.cardinalities))))
        for values, name in zip(space.costs(everything), space.cost_names, strict=True):
            counted = [getattr(architecture_cost(network), name) for network in space.decode_indices(everything)]
            assert values.tolist() == counted


def test_encode_gives_the_canonical_genotype(b0: Architecture) -> None:
    space = paper_space(b0)
    assert space.encode(compound_scale(b0, Coefficients(1.1, 1.25, 256))) == {
        "depth": 1.2,
        "width": 1.1,
        "resolution": 256,
    }  # 1.25 gives the layers of 1.2
    for network, message in ((load("mnasnet_b1").architecture, "is not the baseline"), ("b0", "a str is not in the")):
        with pytest.raises(FieldError, match=message):
            space.encode(network)


def test_without_a_constraint_every_different_row_is_a_member(narrow: Architecture) -> None:
    space = CoefficientSpace(narrow, (1, 2), (1, 2), (24, 32))
    assert space.members is None
    assert space.num_networks == len(space.matching) == 8
    same = CoefficientSpace(narrow, (1, 1.001, 1.002), (1,), (24,))
    assert same.members is not None
    assert len(same.members) == same.num_networks == 2  # layers are rounded up


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            ((1,), (1,), (24,)),
            {"target": "macs=2x"},
            r"none of its 1 rows has 5,\d+,\d+ MACs within 5 %; the nearest",
        ),
        (
            ((1, 2), (1,), (24, 40)),
            {"target": "macs=1.4x"},
            r"\(depth 1, width 1, 24 px\) and .*\(depth 2, width 1",
        ),
        (((1,), (1,), (24,)), {"product": 2.0}, r"has d·w²·r² = 2 within 0.1; the nearest have 1 \(depth 1"),
        (((1,), (1,), (12,)), {}, "resolution: 12 px is less than the network's total stride of 16 px"),
        (((1,), (1,), (24.0,)), {}, "resolution: 24.0 is not an integer"),
        (((), (1,), (24,)), {}, r"depth: \(\): expected one or more different values"),
        (((1,), (1, 1), (24,)), {}, r"width: \(1, 1\): expected one or more different values"),
        (((0.01,), (1,), (24,)), {}, "depth: 0.01"),
        (((1,), (1,), (24,)), {"target": "macs=1x", "product": 1.0}, "product: cannot be combined with a target"),
        (((1,), (1,), (24,)), {"target": "latency=2ms"}, "unknown target 'latency'"),
        (((1,), (1,), (24,)), {"target": "macs=1x", "tolerance": -1}, "tolerance"),
        ((range(1, 40), range(1, 40), range(24, 44)), {}, "grid: 30,420 rows are more than 20,000"),
    ],
)
def test_bad_grids(
    narrow: Architecture, values: tuple[Sequence[float], ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(MnasError, match=message):
        CoefficientSpace(narrow, *values, **options)


def test_usual_values_reach_the_budget_by_each_dimension_alone(b0: Architecture, narrow: Architecture) -> None:
    for base, growth in ((b0, 2.0), (narrow, 4.0), (narrow, 0.5)):
        depths, widths, sides = usual_values(base, growth)
        ends = growth, math.sqrt(growth), base.resolution * math.sqrt(growth)
        for values, end in ((depths, ends[0]), (widths, ends[1])):
            assert (values[0], values[-1]) == (1, pytest.approx(end, abs=1e-3))
        assert base.resolution in sides
        assert min(abs(side - ends[2]) for side in sides) <= 8
        assert min(sides) >= base.total_stride


@pytest.mark.parametrize("growth", [1e-3, 0.01, 100, 1e4])
def test_usual_values_stay_within_the_limits(narrow: Architecture, growth: float) -> None:
    """A target far away gives a grid, whose members may be none, and no value that a network cannot have."""
    depths, widths, sides = usual_values(narrow, growth)
    CoefficientSpace(narrow, depths, widths, sides)
    assert depths[-1] == pytest.approx(min(max(growth, 0.05), 50))


class Shallow(Evaluator):
    """Prefers networks with few layers."""

    name, meaning, instant = "shallow", "one over the number of blocks", True

    def check(self, architecture: Architecture) -> None:
        return

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [Metrics(1 / len(list(network.blocks))) for network in architectures]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_on_it_finds_the_best_member(narrow: Architecture, tmp_path: Path, workers: int) -> None:
    space = CoefficientSpace(narrow, *usual_values(narrow, 2), target="macs=2x")
    assert space.members is not None
    found = nas.search(
        space=space,
        evaluator=Shallow,
        trials=len(space.members),
        workers=workers,
        out=tmp_path / "s",
        controller="random",
    )
    fewest = min(len(list(network.blocks)) for network in space.decode_indices(space.members))
    assert found.best.metrics is not None
    assert found.best.metrics.accuracy == 1 / fewest
    assert found.spec is not None
    assert space.encode(found.spec.architecture) == found.best.genotype
    assert len(found.trials) == len(space.members)
    again = nas.resume(tmp_path / "s", space=space, evaluator=Shallow)
    assert again.best.genotype == found.best.genotype


def test_the_predictor_refuses_scaled_networks(b0: Architecture, tmp_path: Path) -> None:
    with pytest.raises(MnasError, match=r"evaluator: imagenet judges .*resolution.*--evaluator train --data IMAGES"):
        nas.search(space=paper_space(b0), trials=2, out=tmp_path / "s")


# --- candidates -------------------------------------------------------------------------------------------------------


def test_marked_rules_are_candidates_at_the_same_budget(narrow: Architecture) -> None:
    published = load("efficientnet_b0")
    for base in (published.architecture, narrow):
        space = Grid().space(base)
        found = candidates_of(replace(published, architecture=base), space)
        assert {mark for one in found.candidates for mark in one.marks} == set(MARKED)
        own = architecture_cost(base).macs
        assert all(abs(one.macs / own / 2 - 1) <= 0.05 for one in found.candidates)
        networks = [spec.architecture for spec in found.specs]
        assert len(set(networks)) == len(networks) == len({one.name for one in found.candidates})
        for one, spec in zip(found.candidates, found.specs, strict=True):
            cost = architecture_cost(spec.architecture)
            assert (one.macs, one.params, one.activations) == (cost.macs, cost.params, cost.activations)
            assert (one.name, one.resolution) == (spec.name, spec.architecture.resolution)
        assert "(1.2, 1.1, 1.15) themselves give" in found.notes[-1]


def test_with_a_product_the_papers_coefficients_are_taken_themselves(b0: Architecture) -> None:
    found = candidates_of(load("efficientnet_b0"), Grid(product=2.0).space(b0))
    by_mark = {mark: one for one in found.candidates for mark in one.marks}
    paper = by_mark["efficientnet"]
    assert (paper.depth, paper.width, paper.resolution) == (1.2, 1.1, 256)
    assert (by_mark["d"].depth, by_mark["d"].width, by_mark["d"].resolution) == (2, 1, 224)
    fast = RULES["fast"].factors(2.0, b0)
    assert (by_mark["fast"].depth, by_mark["fast"].width) == (round(fast.depth, 3), round(fast.width, 3))


def test_a_rule_that_cannot_meet_the_target_is_noted(narrow: Architecture) -> None:
    parent = replace(load("efficientnet_b0"), architecture=narrow)
    found = candidates_of(parent, Grid(target=read_budget("params=1.5x")).space(narrow))
    assert found.notes == ("the rule r is left out (target: the rule r does not raise params, which stay at 329K)",)


def test_bad_options_of_a_grid(narrow: Architecture) -> None:
    with pytest.raises(MnasError, match="product: cannot be combined with a target"):
        Grid(target=read_budget("macs=2x"), product=2.0)
    with pytest.raises(MnasError, match="unknown target 'memory'"):
        Grid(target=read_budget("memory=2x")).space(narrow)


def test_a_target_as_text() -> None:
    assert Grid(target="macs=2x") == Grid(target=read_budget("macs=2x"))  # type: ignore[arg-type]
    texts = Grid(depths="1:1.4:0.2", widths="1,1.1", sides="24:32:4")  # type: ignore[arg-type]
    assert texts == Grid(depths=(1, 1.2, 1.4), widths=(1, 1.1), sides=(24, 28, 32))
    with pytest.raises(MnasError, match="unknown field 'depth'; did you mean 'depths'"):
        scaling.search_coefficients("efficientnet_b0", data="nowhere", grid={"depth": (1.0,)})
