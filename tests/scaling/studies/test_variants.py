"""Variants of equal cost: their costs, and rules that make the same network."""

from __future__ import annotations

import pytest

from baselines import load
from baselines.spec import BaselineSpec, Provenance
from scaling.budget import Budget, read_budget
from scaling.studies.variants import TOLERANCE, USUAL, published_dropout, variants_of
from search_spaces import MnasError, architecture_cost
from search_spaces.adaptation import adapted

RULES = ("d", "w", "r", "efficientnet", "dwr", "fast")


@pytest.fixture(scope="module")
def narrow() -> BaselineSpec:
    b0 = load("efficientnet_b0").architecture
    return BaselineSpec("narrow", adapted(b0, 20, 10, 0.375), Provenance("a test"))


@pytest.mark.parametrize("cost", ["macs", "activations"])
@pytest.mark.parametrize("growth", [2.0, 4.0])
def test_variants_cost_the_same(narrow: BaselineSpec, cost: str, growth: float) -> None:
    """Costs are counted again from the specs; single dimensions leave the others (nearly) alone."""
    own = getattr(architecture_cost(narrow.architecture), cost)
    specs, found, _ = variants_of(narrow, RULES, Budget(cost, growth, relative=True))
    for spec, variant in zip(specs, found, strict=True):
        counted = architecture_cost(spec.architecture)
        assert getattr(counted, cost) == pytest.approx(growth * own, rel=TOLERANCE)
        assert (counted.macs, counted.params, counted.activations) == (
            variant.macs,
            variant.params,
            variant.activations,
        )
        assert spec.name == f"narrow_{variant.rule}"
        assert spec.architecture.stem.stride == narrow.architecture.stem.stride
        if variant.rule in ("d", "w", "r"):
            assert max(variant.growth) == variant.growth["dwr".index(variant.rule)]


def test_equal_activations_are_those_of_the_compound_network(narrow: BaselineSpec) -> None:
    target = read_budget("macs=2x")
    (compound, *_), *_ = variants_of(narrow, ("efficientnet", "d"), target)
    wanted = architecture_cost(compound.architecture).activations
    specs, *_ = variants_of(narrow, RULES, target, equal="activations")
    for spec in specs:
        assert architecture_cost(spec.architecture).activations == pytest.approx(wanted, rel=TOLERANCE)


def test_rules_that_make_one_network_are_refused() -> None:
    half = BaselineSpec("half", adapted(load("efficientnet_b0").architecture, 20, 10, 0.5), Provenance("a test"))
    with pytest.raises(
        MnasError, match=r"rules: w and fast make the same network at macs=2x \(20 px, .* MACs\); remove"
    ):
        variants_of(half, ("w", "fast"), read_budget("macs=2x"))
    with pytest.raises(MnasError, match="rules: w is given twice"):
        variants_of(half, ("w", "W"), read_budget("macs=2x"))


def test_of_the_usual_rules_one_network_is_trained_once() -> None:
    half = BaselineSpec("half", adapted(load("efficientnet_b0").architecture, 20, 10, 0.5), Provenance("a test"))
    _, found, notes = variants_of(half, USUAL, read_budget("macs=2x"))
    assert [one.rule for one in found] == ["d", "w", "r", "efficientnet", "dwr"]
    assert [one.rules for one in found if one.same] == [("w", "fast")]
    assert notes == ("w and fast make the same network at macs=2x, which is trained once, as w",)


def test_published_dropout() -> None:
    """B0 has 0.2 and B7 0.5 (tensorflow/tpu efficientnet_builder.py); B4 has 11.39 times B0's MACs and 0.4."""
    assert published_dropout(1.0) == published_dropout(0.5) == 0.2
    assert published_dropout(11.39) == pytest.approx(0.4, abs=0.002)
    assert published_dropout(97.83) == published_dropout(1000.0) == 0.5
    assert 0.2 < published_dropout(2.0) < published_dropout(2.58) <= 0.3


def test_dropout_grows_with_the_variant(narrow: BaselineSpec) -> None:
    specs, found, _ = variants_of(narrow, ("d", "w"), read_budget("macs=4x"), regularise=True)
    assert [spec.architecture.dropout for spec in specs] == [one.dropout for one in found]
    assert len({one.dropout for one in found}) == 1
    assert 0.29 < found[0].dropout < 0.31
