from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.training.augment import normalised, resized, train_batch
from baselines.training.data.fit import CROP, evaluation_view
from baselines.training.recipe import load_recipe
from tests.baselines.training.images import pixels

RECIPE = load_recipe("proxy")


@pytest.fixture
def batch() -> Tensor:
    return torch.from_numpy(pixels("red", 6, 16))


def test_pixels_are_normalised_as_published(batch: Tensor) -> None:
    found = normalised(batch)
    expected = (batch.float() / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(found, expected.permute(0, 3, 1, 2))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normalised(batch.float() / 255), found)


def test_shifts_and_flips_only_move_pixels(batch: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    moved = train_batch(batch, RECIPE, 16, generator)
    black = normalised(torch.zeros(1, 1, 1, 3, dtype=torch.uint8))[0, :, 0, 0]
    for before, after in zip(normalised(batch), moved, strict=True):
        candidates = []
        for image in (before, before.flip(2)):
            canvas = black[:, None, None].repeat(1, 20, 20)
            canvas[:, 2:18, 2:18] = image
            candidates += [canvas[:, top : top + 16, left : left + 16] for top in range(5) for left in range(5)]
        assert any(torch.equal(after, candidate) for candidate in candidates)


@pytest.mark.parametrize("augmentation", ["none", "autoaugment", "randaugment"])
@pytest.mark.parametrize("crop", ["none", "pad", "resize"])
def test_augmentation_repeats_with_its_generator(batch: Tensor, crop: str, augmentation: str) -> None:
    if augmentation != "none":
        pytest.importorskip("kornia", reason="kornia is not installed; pip install 'mnas[train]'")
    recipe = RECIPE.with_values(crop=crop, augmentation=augmentation)
    first, again, other = (train_batch(batch, recipe, 24, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert first.shape == (6, 3, 24, 24)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert np.isfinite(first.numpy()).all()


def test_resizing_keeps_a_flat_image() -> None:
    flat = torch.full((2, 16, 16, 3), 77, dtype=torch.uint8)
    assert (resized(flat, 40) == 77).all()
    assert resized(flat, 16) is flat


def test_the_area_of_an_image_that_is_evaluated() -> None:
    """At 224 px, 87.5 % of the shorter side, as published; all of a small image."""
    left, top, right, bottom = evaluation_view((400, 512), CROP, 224).area
    assert (right - left, bottom - top) == pytest.approx((350, 350))
    assert ((left + right) / 2, (top + bottom) / 2) == (256, 200)
    assert evaluation_view((32, 32), CROP, 64) == ((0, 0, 32, 32), (0, 0, 64, 64))
