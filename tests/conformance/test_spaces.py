"""What every search space must do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search_spaces import SPACES, BlockShape, SearchSpace, load_space
from tests.processes import in_new_process


@pytest.fixture(params=sorted(SPACES))
def any_space(request: pytest.FixtureRequest) -> SearchSpace:
    return load_space(request.param)


def test_samples_are_members_and_decode_and_encode_are_inverse(any_space: SearchSpace) -> None:
    rows = any_space.canonical(any_space.sample_indices(np.random.default_rng(0), 100))
    for genotype in any_space.genotypes(rows):
        assert genotype in any_space
        architecture = any_space.decode(genotype)
        assert any_space.encode(architecture) == genotype
        assert any_space.decode(any_space.encode(architecture)) == architecture


def test_a_canonical_form_builds_the_same_layers(any_space: SearchSpace) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 300)
    canonical = any_space.canonical(rows)
    assert (any_space.canonical(canonical) == canonical).all()
    for given, form in zip(any_space.decode_indices(rows), any_space.decode_indices(canonical), strict=True):
        assert [built(block) for block in given.blocks] == [built(block) for block in form.blocks]
        assert any_space.encode(given) == any_space.encode(form)


def built(block: BlockShape) -> BlockShape:
    """A block without the fields that ask for what the shapes do not permit."""
    return replace(block, block=replace(block.block, skip=block.skip))


def test_indices_and_genotypes_are_inverse(any_space: SearchSpace) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 100)
    assert (any_space.indices(any_space.genotypes(rows)) == rows).all()


def test_samples_are_uniform(any_space: SearchSpace) -> None:
    count = 20_000
    rows = any_space.sample_indices(np.random.default_rng(0), count)
    for column, cardinality in zip(rows.T, any_space.cardinalities, strict=True):
        shares = np.bincount(column, minlength=cardinality) / count
        assert shares == pytest.approx(1 / cardinality, abs=5 / count**0.5)


def test_seed_decides(any_space: SearchSpace) -> None:
    first, again, other = (any_space.sample(np.random.default_rng(seed), 5) for seed in (0, 0, 1))
    assert first == again != other
    code = (
        "import numpy as np; from search_spaces import load_space; "
        f"print(load_space({any_space.name!r}).sample(np.random.default_rng(0), 5))"
    )
    assert in_new_process(code) == str(first)


def test_choices_are_nnis(any_space: SearchSpace) -> None:
    """NNI accepts our genotypes, and we accept what NNI samples."""
    choices = any_space.choices
    for genotype in any_space.sample(np.random.default_rng(0), 5):
        assert choices.contains(genotype)
    sample: dict[str, float] = {}
    choices.random(memo=sample, random_state=np.random.RandomState(0))
    assert sample in any_space
    assert list(choices.simplify()) == list(any_space.labels)


def test_steps_tell_all_members_apart(any_space: SearchSpace) -> None:
    rows = any_space.sample_indices(np.random.default_rng(0), 2000)
    steps = any_space.steps(rows)
    assert steps.shape == (2000, (any_space.cardinalities - 1).sum())
    assert len(np.unique(steps, axis=0)) == len(np.unique(rows, axis=0))
    assert (steps.sum(1) == rows.sum(1)).all()
