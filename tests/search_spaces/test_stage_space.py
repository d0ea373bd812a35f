from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from search_spaces import Architecture, FieldError, MnasError, StageChoices, StageSpace, architecture_cost, load_space
from search_spaces.space import Indices


@pytest.fixture(scope="module")
def small_space(b0: Architecture) -> StageSpace:
    """96 architectures, with channels among the choices, so that a stage's cost depends on the stage before."""
    template = replace(b0, resolution=64, stages=b0.stages[:2])
    stages = [
        StageChoices((3, 5), (1, 4), (0.0,), (16, 24), (1,), 2),
        StageChoices((3,), (4, 6), (0.0, 0.25), (24, 40, 48), (2,), 1),
    ]
    return StageSpace("small", template, stages)


def all_rows(space: StageSpace) -> Indices:
    return np.array(list(product(*map(range, space.cardinalities.tolist()))), dtype=np.int64)


def test_size_of_the_efficientnet_space(space: StageSpace) -> None:
    # (expansion 3) * (kernel 2) * (squeeze-excite 2) for 7 stages, layers 3 for six and 4 for one
    assert space.size == (3 * 2 * 2) ** 7 * 3**6 * 4
    assert f"{space.size:.4g}" == "1.045e+11"
    assert len(space.labels) == 28


def test_b0_is_a_member(space: StageSpace, b0: Architecture) -> None:
    genotype = space.encode(b0)
    assert space.decode(genotype) == b0
    assert genotype["stage6_num_layers"] == 4
    assert genotype["stage1_expand_ratio"] == 1


def test_costs_of_every_member_of_a_small_space(small_space: StageSpace) -> None:
    rows = all_rows(small_space)
    assert len(rows) == small_space.size == 96
    macs, params = small_space.costs(rows)
    exact = [architecture_cost(architecture) for architecture in small_space.decode_indices(rows)]
    assert macs.tolist() == [cost.macs for cost in exact]
    assert params.tolist() == [cost.params for cost in exact]
    assert small_space.macs_range == (min(macs), max(macs))


def test_counts_that_64_bits_do_not_hold_are_refused(space: StageSpace) -> None:
    """Nothing wraps: one stage may be too large, or all of them together."""
    large = StageChoices((3, 5), (32,), (0.25,), (2**15, 2**16), (1000,), stride=1)
    for count, layers in ((1, 1000), (90, 12)):
        stages = [replace(large, num_layers=(layers,))] * count
        template = replace(space.template, resolution=8192, stages=space.template.stages[:1] * count)
        huge = StageSpace("huge", template, stages)
        with pytest.raises(FieldError, match=r"stages: a network may have \S+ macs, expected less than 2\^63"):
            huge.costs(huge.sample_indices(np.random.default_rng(0), 2))


def test_costs_of_random_members(space: StageSpace) -> None:
    rows = space.sample_indices(np.random.default_rng(0), 200)
    macs, params = space.costs(rows)
    exact = [architecture_cost(architecture) for architecture in space.decode_indices(rows)]
    assert macs.tolist() == [cost.macs for cost in exact]
    assert params.tolist() == [cost.params for cost in exact]


def test_macs_range_is_that_of_the_two_extreme_networks(space: StageSpace) -> None:
    # Each choice's cost grows with its value, so the ends are the first and the last member.
    ends = np.stack([np.zeros(28, dtype=np.int64), space.cardinalities - 1])
    assert space.macs_range == tuple(space.costs(ends)[0].tolist())


def test_every_option_of_a_stage_has_its_own_code(small_space: StageSpace) -> None:
    for index, size in enumerate(small_space.stage_sizes):
        codes = small_space.stage_codes(all_rows(small_space))[:, index]
        assert sorted(set(codes.tolist())) == list(range(size))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage9_kernel_size": 3}, "stage9_kernel_size: is not a choice"),
        ({"stage1_kernel_size": 7}, r"stage1_kernel_size: 7 is not one of \(3, 5\)"),
        ({"stage1_kernel_size": None}, "stage1_kernel_size: None is not one of"),
    ],
)
def test_wrong_genotypes(space: StageSpace, b0: Architecture, change: dict[str, object], message: str) -> None:
    genotype = {**space.encode(b0), **change}
    assert genotype not in space
    with pytest.raises(FieldError, match=message):
        space.decode(genotype)  # type: ignore[arg-type]


def test_incomplete_genotype(space: StageSpace, b0: Architecture) -> None:
    genotype = space.encode(b0)
    del genotype["stage2_num_layers"]
    assert genotype not in space
    assert "genotype" not in space
    with pytest.raises(FieldError, match="stage2_num_layers: missing"):
        space.decode(genotype)


def test_encode_names_what_lies_outside(space: StageSpace, b0: Architecture) -> None:
    with pytest.raises(FieldError, match=r"resolution: 240 lies outside the space 'efficientnet' \(224\)"):
        space.encode(replace(b0, resolution=240))
    wide = replace(b0.stages[3], out_channels=88)
    with pytest.raises(FieldError, match=r"stages\[3\]\.out_channels: 88 lies outside .* \(80\)"):
        space.encode(replace(b0, stages=(*b0.stages[:3], wide, *b0.stages[4:])))
    strided = replace(b0.stages[0], stride=2)
    with pytest.raises(FieldError, match=r"stages\[0\]\.stride: 2 lies outside .* \(1\)"):
        space.encode(replace(b0, stages=(strided, *b0.stages[1:])))
    with pytest.raises(FieldError, match=r"stages: 6 stages lie outside"):
        space.encode(replace(b0, stages=b0.stages[:6]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": ()}, r"stages\[1\]\.kernel_size: \(\): expected a tuple"),
        ({"kernel_size": (3, 3)}, r"stages\[1\]\.kernel_size: \(3, 3\): expected a tuple of one or more different"),
        ({"kernel_size": 3}, r"stages\[1\]\.kernel_size: 3: expected a tuple"),
        ({"kernel_size": (3, 4)}, r"stages\[1\]\.kernel_size: 4 is not an odd integer"),
        ({"stride": 3}, r"stages\[1\]\.stride: 3 is not an integer from 1 to 2"),
        ({"op": ("mbcon",)}, r"stages\[1\]\.op: unknown op 'mbcon'; did you mean 'mbconv'"),
    ],
)
def test_wrong_stages_are_named(b0: Architecture, change: dict[str, Any], message: str) -> None:
    stage = StageChoices((3, 5), (1,), (0.0,), (16,), (1,), 1)
    with pytest.raises(FieldError, match=message):
        StageSpace("broken", b0, [stage, replace(stage, **change)])
    with pytest.raises(FieldError, match=r"stages: \(\): expected one or more"):
        StageSpace("empty", b0, [])


def test_a_stage_may_be_fixed(b0: Architecture) -> None:
    fixed, free = StageChoices((3,), (1,), (0.25,), (16,), (1,), 1), StageChoices((3, 5), (6,), (0.0,), (24,), (2,), 2)
    space = StageSpace("one", b0, [fixed, free, fixed])
    members = space.decode_indices(all_rows(space))
    assert space.labels == ("stage2_kernel_size",)
    assert [space.indices([space.encode(member)]).tolist() for member in members] == [[[0]], [[1]]]
    assert space.costs(all_rows(space))[0].tolist() == [architecture_cost(member).macs for member in members]


def test_unknown_space_is_suggested() -> None:
    with pytest.raises(MnasError, match="unknown space 'efficentnet'; did you mean 'efficientnet'"):
        load_space("efficentnet")
