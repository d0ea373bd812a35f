from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from baselines import load
from search_spaces import FieldError, StageSpace, architecture_cost, load_space


@pytest.fixture(scope="module")
def mnasnet() -> StageSpace:
    return load_space("mnasnet")


@pytest.fixture(scope="module")
def mnasnet_b0() -> StageSpace:
    return load_space("mnasnet:b0")


@pytest.mark.parametrize("name", ["efficientnet_b0", "mnasnet_a1", "mnasnet_b1"])
def test_published_networks_are_members_of_the_b0_skeleton(mnasnet_b0: StageSpace, name: str) -> None:
    published = load(name).architecture
    member = mnasnet_b0.decode(mnasnet_b0.encode(published))
    assert architecture_cost(member) == architecture_cost(published)
    given = [(b.in_channels, b.hidden_channels, b.squeeze_channels, b.stride, b.skip) for b in published.blocks]
    assert [(b.in_channels, b.hidden_channels, b.squeeze_channels, b.stride, b.skip) for b in member.blocks] == given
    assert member.activation == published.activation


def test_the_literal_space_has_no_published_network(mnasnet: StageSpace) -> None:
    # 112 and 192 channels are not {0.75, 1, 1.25} multiples of MobileNetV2's 96 and 160.
    a1 = load("mnasnet_a1").architecture
    with pytest.raises(
        FieldError, match=r"stages\[4\].out_channels: 112 lies outside the space 'mnasnet' \(72, 96, 120\)"
    ):
        mnasnet.encode(a1)
    with pytest.raises(FieldError, match=r"stages\[5\].out_channels: 192 .* \(120, 160, 200\)"):
        mnasnet.encode(load("mnasnet_b1").architecture)


def test_a_stage_has_the_choices_of_the_paper(mnasnet: StageSpace) -> None:
    choices = {choice.field: choice.values for choice in mnasnet.decisions if choice.stage == 3}
    assert choices == {
        "op": ("conv", "sepconv", "mbconv3", "mbconv6"),
        "kernel_size": (3, 5),
        "se_ratio": (0.0, 0.25),
        "skip": ("identity", "pool", "none"),
        "out_channels": (48, 64, 80),
        "num_layers": (3, 4, 5),
    }
    assert np.prod([len(values) for values in choices.values()]) == 432  # MnasNet (arXiv 1807.11626) section 4.1


def test_skips_that_change_nothing_have_one_canonical_form(mnasnet: StageSpace) -> None:
    """A stage of one layer that changes the channels has no skip, whatever its choice is."""
    single = {"stage4_num_layers": 3, "stage1_num_layers": 1, "stage1_out_channels": 16}
    genotype = {**mnasnet.genotypes(np.zeros((1, len(mnasnet.labels)), dtype=np.int64))[0], **single}
    forms = [{**genotype, "stage1_skip": skip, "stage4_skip": "pool"} for skip in ("identity", "pool", "none")]
    rows = mnasnet.canonical(mnasnet.indices(forms))
    assert (rows == rows[0]).all()
    deeper = [{**form, "stage1_num_layers": 2} for form in forms]
    assert len(np.unique(mnasnet.canonical(mnasnet.indices(deeper)), axis=0)) == 3


def test_each_network_is_counted_once() -> None:
    """Lists all genotypes of a small part of the space and compares their networks layer by layer."""
    full = load_space("mnasnet")
    stages = [
        replace(full.stages[1], kernel_size=(3,), num_layers=(1, 2)),
        replace(full.stages[4], kernel_size=(3,), se_ratio=(0.0,), out_channels=(24, 32), num_layers=(1,), stride=1),
    ]
    space = StageSpace("part", replace(full.template, stages=full.template.stages[:2]), stages)
    rows = np.stack(np.unravel_index(np.arange(space.size), space.cardinalities.tolist()), axis=1)
    networks = {
        tuple(
            (
                type(b.block),
                b.block.kernel_size,
                b.hidden_channels,
                b.squeeze_channels,
                b.out_channels,
                b.stride,
                b.skip,
            )
            for b in architecture.blocks
        )
        for architecture in space.decode_indices(rows)
    }
    canonical = np.unique(space.canonical(rows), axis=0)
    assert len(canonical) == len(networks) == space.num_networks < space.size
