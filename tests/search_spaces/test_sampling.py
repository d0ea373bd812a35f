from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search_spaces import MnasError, StageChoices, StageSpace, load_space, sampling
from search_spaces.sampling import MacsDistribution
from search_spaces.space import Indices


@pytest.fixture(scope="module")
def part() -> StageSpace:
    """A space small enough to list, with skips that change nothing and with channels among the choices."""
    full = load_space("mnasnet:b0")
    stages = [
        replace(full.stages[0], kernel_size=(3,), se_ratio=(0.0, 0.25)),
        replace(full.stages[3], op=("sepconv", "mbconv6"), se_ratio=(0.25,), num_layers=(1, 2)),
        StageChoices((3, 5), (1, 4), (0.0,), (24, 40), (1,), 1, skip=("identity", "none")),
    ]
    template = replace(full.template, stages=full.template.stages[:3])
    return StageSpace("part", template, stages, activation=("swish", "relu"))


def networks(space: StageSpace) -> Indices:
    rows = np.stack(np.unravel_index(np.arange(space.size), space.cardinalities.tolist()), axis=1)
    return np.unique(space.canonical(rows), axis=0)


def test_counts_equal_those_of_all_networks_listed(part: StageSpace) -> None:
    macs, _ = part.costs(networks(part))
    distribution = MacsDistribution(part)
    assert distribution.total == len(macs) == part.num_networks
    edges = np.linspace(macs.min(), macs.max() + 1, 12).astype(int).tolist()
    assert distribution.histogram(edges) == np.histogram(macs, edges)[0].tolist()
    ordered = sorted(macs.tolist())
    for low, high in ((ordered[0], ordered[0]), (ordered[9], ordered[9]), (0, 10), (ordered[7], ordered[40])):
        assert distribution.count(low, high) == ((macs >= low) & (macs <= high)).sum()


def test_samples_in_a_band_are_uniform_over_its_networks(part: StageSpace) -> None:
    rows = networks(part)
    macs, _ = part.costs(rows)
    order = np.sort(macs)
    low, high = int(order[len(order) // 2]), int(order[len(order) // 2 + 60])
    inside = rows[(macs >= low) & (macs <= high)]
    count = 60 * len(inside)
    drawn = MacsDistribution(part).sample_indices(np.random.default_rng(0), count, low, high)
    found, times = np.unique(drawn, axis=0, return_counts=True)
    assert (found == inside).all()
    # Chi-square of a uniform draw: its mean is the degrees of freedom, its variance twice that.
    freedom = len(inside) - 1
    assert abs(((times - 60) ** 2 / 60).sum() - freedom) < 4 * (2 * freedom) ** 0.5


def test_the_efficientnet_space(space: StageSpace) -> None:
    distribution = MacsDistribution(space)
    assert distribution.total == space.size
    low, high = 392_000_000, 408_000_000
    share = distribution.count(low, high) / space.size
    macs, _ = space.costs(space.sample_indices(np.random.default_rng(0), 200_000))
    assert share == pytest.approx(((macs >= low) & (macs <= high)).mean(), abs=0.002)
    rows = distribution.sample_indices(np.random.default_rng(0), 50, low, high)
    macs, _ = space.costs(rows)
    assert low <= macs.min() <= macs.max() <= high
    assert len(np.unique(rows, axis=0)) == 50


def test_a_band_of_one_network_is_sampled(space: StageSpace) -> None:
    low, high = space.macs_range
    distribution = MacsDistribution(space)
    assert distribution.count(high, high) == distribution.count(low, low) == 1
    rows = distribution.sample_indices(np.random.default_rng(0), 3, high, high)
    assert (rows == space.cardinalities - 1).all()


def test_empty_bands_and_large_spaces_are_refused(space: StageSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MnasError, match="no network of the space 'efficientnet' has 1 to 2 MACs; widen the band"):
        MacsDistribution(space).sample_indices(np.random.default_rng(0), 1, 1, 2)
    monkeypatch.setattr(sampling, "MAX_SUMS", 1000)
    with pytest.raises(MnasError, match=r"partial sums of MACs do not fit into memory \(limit 1,000\)"):
        MacsDistribution(space)


@pytest.mark.parametrize("bands", [1, 2, 3, 7, 20])
def test_round_bands_hold_all_networks(part: StageSpace, bands: int) -> None:
    distribution = MacsDistribution(part)
    edges = distribution.round_edges(bands)
    assert sum(distribution.histogram(edges)) == part.num_networks
    assert edges[-1] > part.macs_range[1]
