"""Random erasing, mixup and cutmix against torchvision, and by what must hold for every draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor
from torch.nn.functional import cross_entropy

from baselines.training.augment import mixed, train_batch
from baselines.training.data.fit import CROP, PAD, SQUASH, random_view
from baselines.training.recipe import load_recipe
from tests.baselines.training.images import pixels

PLAIN = load_recipe("proxy").with_values(crop="none", flip=False)
SIDE, CLASSES = 24, 7


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(count: int) -> tuple[Tensor, Tensor]:
    """Images of one value each, which is their number from 1, and labels."""
    values = torch.arange(1.0, count + 1)
    return values[:, None, None, None].expand(count, 3, SIDE, SIDE), (torch.arange(count) * 3) % CLASSES


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_the_share_of_a_label_is_the_area_of_its_pixels(alpha: float, seed: int) -> None:
    """A cutmix pastes one rectangle of the image before, and its area is what that label counts."""
    inputs, labels = flat(12)
    found, shares = mixed(inputs, labels, PLAIN.with_values(cutmix=alpha), CLASSES, drawn(seed))
    for number in range(12):
        before = (number - 1) % 12
        pasted = found[number, 0] == inputs[before, 0, 0, 0]
        assert ((found[number] == inputs[number, 0, 0, 0]) ^ pasted).all()  # each pixel is from one of the two
        rows, columns = pasted.any(1), pasted.any(0)
        assert torch.equal(pasted, rows[:, None] & columns[None, :])
        expected = torch.zeros(CLASSES)
        expected[labels[before]] += pasted.double().mean()
        expected[labels[number]] += 1 - pasted.double().mean()
        torch.testing.assert_close(shares[number], expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_mixup_blends_pixels_and_labels_alike(seed: int) -> None:
    inputs, labels = flat(12)
    found, shares = mixed(inputs, labels, PLAIN.with_values(mixup=0.4), CLASSES, drawn(seed))
    before = inputs.roll(1, 0)
    other = ((found - inputs) / (before - inputs)).flatten(1)
    torch.testing.assert_close(other, other[:, :1].expand_as(other))
    hot = torch.eye(CLASSES)[labels]
    torch.testing.assert_close(shares, (1 - other[:, :1]) * hot + other[:, :1] * hot.roll(1, 0))
    assert len(other[:, 0].unique()) == 12  # each image draws its own


def test_with_both_an_image_gets_one_of_the_two() -> None:
    inputs, labels = flat(400)
    found, shares = mixed(inputs, labels, PLAIN.with_values(mixup=0.8, cutmix=1.0), CLASSES, drawn(0))
    blended = torch.tensor([len(image.unique()) == 1 for image in found])
    assert 150 < int(blended.sum()) < 250
    torch.testing.assert_close(shares.sum(1), torch.ones(400))
    again, _ = mixed(inputs, labels, PLAIN.with_values(mixup=0.8, cutmix=1.0), CLASSES, drawn(0))
    assert torch.equal(found, again)


def test_without_either_labels_are_whole() -> None:
    inputs, labels = flat(5)
    found, shares = mixed(inputs, labels, PLAIN, CLASSES, drawn(0))
    assert found is inputs
    assert torch.equal(shares.argmax(1), labels)
    assert torch.equal(shares.sum(1), torch.ones(5))


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_rectangles_and_shares_are_distributed_as_torchvisions(alpha: float) -> None:
    from torchvision.transforms.v2 import CutMix, MixUp

    count = 3000
    inputs = torch.zeros(2, 3, SIDE, SIDE)
    torch.manual_seed(0)
    theirs = [CutMix(alpha=alpha, num_classes=2).make_params([inputs]) for _ in range(count)]
    found, shares = mixed(*flat(count), PLAIN.with_values(cutmix=alpha), CLASSES, drawn(1))
    pasted = (found[:, 0] != torch.arange(1.0, count + 1)[:, None, None]).numpy()
    heights, widths = pasted.any(2).sum(1), pasted.any(1).sum(1)
    tops = pasted.any(2).argmax(1)
    boxes = np.array([params["box"] for params in theirs])  # left, top, right, bottom
    whole = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    assert (heights > 0).mean() == pytest.approx(whole.mean(), abs=0.03)
    for one, other in (
        (heights[heights > 0], (boxes[:, 3] - boxes[:, 1])[whole]),
        (widths[heights > 0], (boxes[:, 2] - boxes[:, 0])[whole]),
        (tops[heights > 0], boxes[whole, 1]),
        (1 - pasted.mean((1, 2)), [params["lam_adjusted"] for params in theirs]),
    ):
        assert ks_2samp(one, other).pvalue > 1e-3
    theirs = [MixUp(alpha=alpha, num_classes=2).make_params([inputs]) for _ in range(count)]
    _, shares = mixed(*flat(count), PLAIN.with_values(mixup=alpha), CLASSES, drawn(2))
    own = shares.gather(1, flat(count)[1][:, None])[:, 0].numpy()
    assert ks_2samp(own, [params["lam"] for params in theirs]).pvalue > 1e-3


@pytest.mark.usefixtures("torchvision")
def test_the_loss_of_mixed_labels_is_that_of_torchvisions() -> None:
    """One batch of one share: shares of classes as `torchvision.transforms.v2.MixUp` makes them, and their loss."""
    from torchvision.transforms.v2 import MixUp

    inputs, labels = flat(6)
    _, shares = mixed(inputs, labels, PLAIN.with_values(mixup=0.4), CLASSES, drawn(0))
    logits = torch.randn(6, CLASSES, generator=drawn(1))
    for number in range(6):
        own = float(1 - (shares[number] - torch.eye(CLASSES)[labels[number]])[labels[number - 1]])
        params = {"labels": labels, "batch_size": 6, "lam": own}
        transform: Any = MixUp(num_classes=CLASSES)
        torch.testing.assert_close(shares[number], transform.transform(labels, params)[number])
        losses = [cross_entropy(logits[number], labels[place], label_smoothing=0.1) for place in (number, number - 1)]
        blended = own * losses[0] + (1 - own) * losses[1]
        torch.testing.assert_close(cross_entropy(logits[number], shares[number], label_smoothing=0.1), blended)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_erased_rectangles_have_the_mean_colour(share: float) -> None:
    batch = torch.full((400, SIDE, SIDE, 3), 255, dtype=torch.uint8)
    found = train_batch(batch, PLAIN.with_values(random_erasing=share, mean=(0.1, 0.2, 0.3)), SIDE, drawn(0))
    erased = found[:, 0] == 0
    assert torch.equal(erased, (found == 0).all(1))
    assert torch.equal(erased, erased.any(2)[:, :, None] & erased.any(1)[:, None, :])
    assert float(erased.any((1, 2)).double().mean()) == pytest.approx(share, abs=0.06)
    kept = train_batch(batch, PLAIN.with_values(mean=(0.1, 0.2, 0.3)), SIDE, drawn(0))
    assert torch.equal(found[~erased[:, None].expand_as(found)], kept[~erased[:, None].expand_as(kept)])


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("side", [16, 24, 48])
def test_erased_rectangles_are_distributed_as_torchvisions(side: int) -> None:
    from torchvision.transforms.v2 import RandomErasing

    count = 3000
    transform, image = RandomErasing(p=1.0), torch.zeros(3, side, side)
    torch.manual_seed(0)
    theirs = [transform.make_params([image]) for _ in range(count)]
    batch = torch.full((count, side, side, 3), 255, dtype=torch.uint8)
    erased = (train_batch(batch, PLAIN.with_values(random_erasing=1.0), side, drawn(3))[:, 0] == 0).numpy()
    for own, name in (
        (erased.any(2).sum(1), "h"),
        (erased.any(1).sum(1), "w"),
        (erased.any(2).argmax(1), "i"),
        (erased.any(1).argmax(1), "j"),
    ):
        assert ks_2samp(own, [params[name] for params in theirs]).pvalue > 1e-3, name


@pytest.mark.parametrize("fit", [CROP, PAD, SQUASH])
@pytest.mark.parametrize(
    ("scale", "ratio"),
    [((0.5, 0.6), (1.0, 1.0)), ((0.08, 0.2), (0.5, 2.0)), ((0.2, 0.2), (0.9, 1.1)), ((0.9, 1.0), (1.0, 1.0))],
)
def test_random_areas_of_files_keep_to_scale_and_ratio(
    scale: tuple[float, float], ratio: tuple[float, float], fit: str
) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        left, top, right, bottom = random_view((100, 100), fit, 32, rng, scale, ratio).area
        width, height = right - left, bottom - top
        assert scale[0] - 1e-9 <= width * height / 1e4 <= scale[1] + 1e-9
        assert ratio[0] - 1e-9 <= width / height <= ratio[1] + 1e-9


@pytest.mark.parametrize(("scale", "ratio"), [((0.25, 0.25), (1.0, 1.0)), ((0.1, 0.3), (0.5, 2.0))])
def test_random_areas_of_arrays_keep_to_scale_and_ratio(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """On a ramp, the range of values is the width or the height of the area."""
    side = 128
    ramp = torch.linspace(0, 255, side).round().to(torch.uint8)
    image = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), torch.zeros(side, side)], -1)
    recipe = PLAIN.with_values(crop="resize", crop_scale=scale, crop_ratio=ratio, mean=(0, 0, 0), std=(1, 1, 1))
    found = train_batch(image.to(torch.uint8).repeat(60, 1, 1, 1), recipe, side, drawn(0))
    widths, heights = (found[:, axis].amax((1, 2)) - found[:, axis].amin((1, 2)) for axis in (0, 1))
    shares, ratios = widths * heights, widths / heights
    assert scale[0] - 0.02 <= float(shares.min()) <= float(shares.max()) <= scale[1] + 0.02
    assert ratio[0] * 0.9 <= float(ratios.min()) <= float(ratios.max()) <= ratio[1] * 1.1


@pytest.mark.parametrize(("shift", "reach"), [(0.0, 0), (0.125, 3), (0.25, 6), (0.04, 0), (0.5, 12)])
def test_shifts_reach_as_far_as_their_share_of_the_side(shift: float, reach: int) -> None:
    image = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    image[0, 12, 12] = 255
    recipe = PLAIN.with_values(crop="pad", crop_shift=shift, mean=(0, 0, 0), std=(1, 1, 1))
    found = train_batch(image.repeat(800, 1, 1, 1), recipe, SIDE, drawn(0))[:, 0].numpy()
    places = {(row - 12, column - 12) for _, row, column in np.argwhere(found > 0.5)}
    steps = [step for step in range(-reach, reach + 1) if 0 <= 12 + step < SIDE]
    assert {row for row, _ in places} == {column for _, column in places} == set(steps)


def test_images_are_normalised_by_the_recipe() -> None:
    batch = torch.from_numpy(pixels("red", 4, SIDE))
    recipe = PLAIN.with_values(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    expected = (batch.double() / 255 - torch.tensor([0.5, 0.25, 0.0])) / torch.tensor([0.5, 1.0, 2.0])
    torch.testing.assert_close(train_batch(batch, recipe, SIDE, drawn(0)), expected.float().permute(0, 3, 1, 2))
