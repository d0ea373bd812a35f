from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from baselines import BaselineSpec, Provenance, load
from nas.evaluators.registry import load_evaluator
from nas.evidence import Comparison, agreement, rank
from scaling import compound_scale, preset
from search_spaces import StageSpace


@pytest.fixture(scope="module")
def comparison(space: StageSpace) -> Comparison:
    b0 = load("efficientnet_b0")
    smallest = BaselineSpec("smallest", space.template, Provenance("test"))
    scaled = BaselineSpec("scaled", compound_scale(b0.architecture, preset("b3")), Provenance("test"))
    return Comparison.of([smallest, scaled, b0], load_evaluator("imagenet"))


def test_chance_agreement_is_what_random_members_share(space: StageSpace) -> None:
    b0 = load("efficientnet_b0").architecture
    chance = agreement(space, b0, b0).chance
    assert round(chance, 1) == 11.6
    row = space.indices([space.encode(b0)])
    shared = (space.sample_indices(np.random.default_rng(0), 20_000) == row).sum(1).mean()
    assert shared == pytest.approx(chance, abs=0.1)


def test_agreement_counts_equal_choices(space: StageSpace) -> None:
    b0 = load("efficientnet_b0").architecture
    assert agreement(space, b0, b0).shared == 28
    other = {**space.encode(b0), "stage1_kernel_size": 5, "stage6_num_layers": 1}
    assert agreement(space, space.decode(other), b0).shared == 26


def test_rank_is_a_share_with_a_wilson_interval() -> None:
    found = rank(0.5, np.linspace(0, 1, 1000))
    assert found.percentile == 50.0
    # Wilson's interval of 500 of 1000
    assert (found.low, found.high) == (pytest.approx(46.91, abs=0.01), pytest.approx(53.09, abs=0.01))
    top = rank(2.0, np.linspace(0, 1, 1000))
    assert (top.percentile, top.high) == (100.0, 100.0)
    assert top.low < 99.7


def test_b0_ranks_high_among_random_members(comparison: Comparison) -> None:
    found = comparison.ranks[-1]
    assert found is not None
    assert found.percentile > 99.5
    assert found.members == 20_000


def test_differences(comparison: Comparison) -> None:
    small, scaled = comparison.differences
    assert small.macs_ratio == pytest.approx(51_594_768 / 385_814_752)
    assert small.accuracy is not None
    assert small.accuracy < -0.1
    assert small.beyond_noise
    metrics = [judged.metrics for judged in comparison.judged]
    assert metrics[0] is not None
    assert metrics[2] is not None
    assert small.accuracy_std == pytest.approx(np.hypot(metrics[0].accuracy_std, metrics[2].accuracy_std))
    assert (scaled.accuracy, scaled.accuracy_std, scaled.beyond_noise) == (None, None, None)


def test_what_the_evaluator_cannot_judge_is_said(comparison: Comparison) -> None:
    scaled = comparison.judged[1]
    assert scaled.metrics is None
    assert scaled.reward is None
    assert scaled.refusal is not None
    assert scaled.refusal.startswith("resolution: 300")
    assert comparison.agreements[1] is None
    assert comparison.ranks[1] is None


def test_a_network_equals_itself() -> None:
    b0 = load("efficientnet_b0")
    comparison = Comparison.of([replace(b0, name="again"), b0], load_evaluator("imagenet"))
    assert comparison.differences[0].accuracy == 0
    assert comparison.differences[0].beyond_noise is False
    assert comparison.agreements[0] is not None
    assert comparison.agreements[0].shared == 28


def test_outside_every_space_there_is_neither_agreement_nor_rank() -> None:
    b3 = BaselineSpec("b3", compound_scale(load("efficientnet_b0").architecture, preset("b3")), Provenance("test"))
    comparison = Comparison.of([load("efficientnet_b0"), b3], load_evaluator("imagenet"))
    assert comparison.space is None
    assert comparison.agreements == [None]
    assert comparison.ranks == [None, None]
