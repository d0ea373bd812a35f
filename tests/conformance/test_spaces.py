"""What every search space must do, and what every space of architectures must also do."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from baselines import load
from nas.check import check_space
from nas.evaluators.table_file import table_of
from nas.evaluators.table_space import table_space
from scaling.coefficients import CoefficientSpace, paper_space
from search_spaces import (
    SPACES,
    Architecture,
    BlockShape,
    ChoiceSpace,
    MnasError,
    Space,
    StageSpace,
    architecture_cost,
    load_space,
)
from tests.processes import in_new_process


def small_table() -> Space:
    """The space of a small table: texts, numbers and skips, with half of the product measured."""
    choices = {
        "layer1": ("k3_e1", "k3_e6", "k5_e6"),
        "layer2": ("k3_e6", "skip"),
        "width": (0.5, 1, 1.5),
        "depth": (2, 3),
    }
    product = ChoiceSpace("all", choices)
    rows = product.sample_indices(np.random.default_rng(0), 18)
    cells = [
        {**genotype, "accuracy": 0.5, "latency_ms": 1 + sum(row), "macs": 1e6 * (1 + row[0])}
        for genotype, row in zip(product.genotypes(rows), rows.tolist(), strict=True)
    ]
    return table_space(table_of(Path("small.csv"), cells))[0]


def small_coefficients() -> CoefficientSpace:
    """Coefficients of B0 on the paper's grid, under its constraint on the nominal product."""
    return paper_space(load("efficientnet_b0").architecture)


# How each space is made, by name, also in another process.
MADE: dict[str, Callable[[], Space]] = {
    **{name: partial(load_space, name) for name in SPACES},
    "table": small_table,
    "coefficients": small_coefficients,
}


@pytest.fixture(params=sorted(MADE))
def any_space(request: pytest.FixtureRequest) -> Space:
    return MADE[request.param]()


@pytest.fixture(params=sorted(SPACES))
def stage_space(request: pytest.FixtureRequest) -> StageSpace:
    made: StageSpace = load_space(request.param)
    return made


def test_samples_are_members_and_decode_and_encode_are_inverse(any_space: Space) -> None:
    rows = any_space.canonical(any_space.sample_indices(np.random.default_rng(0), 100))
    for genotype in any_space.genotypes(rows):
        assert genotype in any_space
        network = any_space.decode(genotype)
        assert any_space.encode(network) == genotype
        assert any_space.decode(any_space.encode(network)) == network
        assert pickle.loads(pickle.dumps(network)) == network
        assert hash(pickle.loads(pickle.dumps(network))) == hash(network)


def test_different_rows_are_different_networks(any_space: Space) -> None:
    rows = any_space.canonical(any_space.sample_indices(np.random.default_rng(0), 300))
    assert len(set(any_space.decode_indices(rows))) == len(np.unique(rows, axis=0))


def test_the_checker_finds_nothing(any_space: Space) -> None:
    assert [finding for finding in check_space(any_space) if finding.problem] == []


def test_costs_are_by_name_above_0_and_within_their_range(any_space: Space) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 300)
    costs = any_space.costs(rows)
    assert len(costs) == len(any_space.cost_names)
    for name, values in zip(any_space.cost_names, costs, strict=True):
        low, high = any_space.cost_range(name)
        assert 0 < low <= values.min() <= values.max() <= high
        assert any_space.cost(name, rows).tolist() == values.tolist()
    for wrong in (any_space.cost_range, lambda name: any_space.cost(name, rows)):
        with pytest.raises(MnasError, match="unknown cost 'no-such-cost'"):
            wrong("no-such-cost")


def test_exact_costs_are_those_of_architectures(any_space: Space) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 5)
    expected = [
        architecture_cost(network) if isinstance(network, Architecture) else None
        for network in any_space.decode_indices(rows)
    ]
    assert list(any_space.exact_costs(rows)) == expected


def test_a_canonical_form_is_its_own(any_space: Space) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 300)
    canonical = any_space.canonical(rows)
    assert (any_space.canonical(canonical) == canonical).all()


def test_a_canonical_form_builds_the_same_layers(stage_space: StageSpace) -> None:
    rows = stage_space.sample_indices(np.random.default_rng(0), 300)
    canonical = stage_space.canonical(rows)
    for given, form in zip(stage_space.decode_indices(rows), stage_space.decode_indices(canonical), strict=True):
        assert [built(block) for block in given.blocks] == [built(block) for block in form.blocks]
        assert stage_space.encode(given) == stage_space.encode(form)


def built(block: BlockShape) -> BlockShape:
    """A block with the skip that its shape permits, instead of the one that it asks for."""
    return replace(block, block=replace(block.block, skip=block.skip))


def test_indices_and_genotypes_are_inverse(any_space: Space) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 100)
    assert (any_space.indices(any_space.genotypes(rows)) == rows).all()


def test_samples_are_uniform(any_space: Space) -> None:
    count = 20_000
    rows = any_space.sample_indices(np.random.default_rng(0), count)
    for column, cardinality in zip(rows.T, any_space.cardinalities, strict=True):
        shares = np.bincount(column, minlength=cardinality) / count
        assert shares == pytest.approx(1 / cardinality, abs=5 / count**0.5)


def test_seed_decides(any_space: Space) -> None:
    first, again, other = (any_space.sample(np.random.default_rng(seed), 5) for seed in (0, 0, 1))
    assert first == again != other
    code = (
        "import numpy as np; from tests.conformance.test_spaces import MADE; "
        f"print(MADE[{any_space.name!r}]().sample(np.random.default_rng(0), 5))"
    )
    assert in_new_process(code) == str(first)


def test_choices_are_nnis(any_space: Space) -> None:
    """NNI accepts our genotypes, and we accept what NNI samples."""
    choices = any_space.choices
    for genotype in any_space.sample(np.random.default_rng(0), 5):
        assert choices.contains(genotype)
    sample: dict[str, float] = {}
    choices.random(memo=sample, random_state=np.random.RandomState(0))
    assert sample in any_space
    assert list(choices.simplify()) == list(any_space.labels)


def test_steps_tell_all_members_apart(any_space: Space) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 2000)
    steps = any_space.steps(rows)
    assert steps.shape == (2000, (any_space.cardinalities - 1).sum())
    assert len(np.unique(steps, axis=0)) == len(np.unique(rows, axis=0))
    assert (steps.sum(1) == rows.sum(1)).all()
