"""The training loop: it learns, repeats, goes on where it was killed, and stops where it must."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from baselines.training import train as loop
from baselines.training.augment import normalised, resized, train_batch
from baselines.training.batches import seen
from baselines.training.data import ImageData, load_data
from baselines.training.recipe import Recipe, load_recipe
from baselines.training.train import Progress, accuracy_of, logits_of, train
from search_spaces import Architecture, ConvLayer, MBConv, MnasError, Stage
from search_spaces.network import build_network
from tests.baselines.training.images import pixels, write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

TINY = Architecture(
    resolution=16,
    num_classes=3,
    stem=ConvLayer(8, 3, 1),
    stages=(Stage(MBConv(3, 2, 0.25), 8, 2, 2),),
    head=ConvLayer(16, 1, 1),
    activation="swish",
    dropout=0.1,
    drop_connect=0.2,
)
RECIPE = load_recipe("proxy").with_values(epochs=3, batch=16)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageData]:
    place = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        yield load_data(str(write_folders(place / "images", count=40)))


def weights(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return first.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in first.items())


def test_it_learns_and_repeats(data: ImageData) -> None:
    seen: list[Progress] = []
    first = train(TINY, data, RECIPE, watch=seen.append, validate_every=1)
    again = train(TINY, data, RECIPE)
    other = train(TINY, data, RECIPE, seed=1)
    assert accuracy_of(first.averaged, data.val, 16, CPU) == seen[-1].accuracy == 1.0
    assert same(weights(first.network), weights(again.network))
    assert not same(weights(first.network), weights(other.network))
    assert [progress.epoch for progress in seen if progress.accuracy is not None] == [1, 2, 3]
    assert seen[-1].step == seen[-1].steps == first.steps == 3 * (len(data.train) // 16)


@pytest.mark.parametrize("recipe", [RECIPE, replace(load_recipe("paper"), epochs=3, batch=16, warmup_epochs=1.0)])
def test_killed_and_resumed(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> None:
    """In the middle of an epoch, with momentum, moving average and dropout: the same weights at the end."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 4)
    whole = train(TINY, data, recipe)

    def killed(progress: Progress) -> None:
        if progress.step == 12:  # the last state is that of step 8; an epoch has 6
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, data, recipe, folder=tmp_path, watch=killed)
    steps: list[int] = []
    resumed = train(TINY, data, recipe, folder=tmp_path, watch=lambda progress: steps.append(progress.step))
    assert steps[0] == 12
    assert same(weights(whole.network), weights(resumed.network))
    assert same(weights(whole.averaged), weights(resumed.averaged))
    assert train(TINY, data, recipe, folder=tmp_path).steps == whole.steps  # nothing is left to do


def test_stopped_and_resumed(data: ImageData, tmp_path: Path) -> None:
    """The state of the very step is kept, though none was due."""
    whole, asked = train(TINY, data, RECIPE), iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        train(TINY, data, RECIPE, folder=tmp_path, stop=lambda: next(asked) == 8)
    assert torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)["step"] == 9
    assert same(weights(whole.network), weights(train(TINY, data, RECIPE, folder=tmp_path).network))


def test_a_checkpoint_of_another_network_is_refused(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    train(TINY, data, RECIPE.with_values(epochs=1), folder=tmp_path)
    with pytest.raises(MnasError, match="is of another training"):
        train(replace(TINY, head=ConvLayer(24, 1, 1)), data, RECIPE, folder=tmp_path)
    (tmp_path / loop.CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(MnasError, match="is of another training"):
        train(TINY, data, RECIPE, folder=tmp_path)


def test_a_loss_that_is_no_number_stops_it(data: ImageData, tmp_path: Path) -> None:
    wild = RECIPE.with_values(learning_rate=100.0, clip_norm=0.0, warmup_epochs=0.0, epochs=60, bn_momentum=0.0)
    broken = replace(wild, weight_decay=1.0, momentum=1.0)
    with pytest.raises(MnasError, match=r"the loss is (nan|inf) at step \d+ of \d+; the state of step 0 is kept"):
        train(TINY, data, broken, folder=tmp_path)
    with pytest.raises(MnasError, match="; the learning rate is too high"):
        train(TINY, data, broken)


def test_a_loss_that_is_no_number_is_named_at_its_step(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the state that was kept before it is good."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)

    class Spoiled(nn.CrossEntropyLoss):
        steps = 0

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            type(self).steps += 1
            return super().forward(logits, labels) * (math.nan if self.steps == 7 else 1.0)

    monkeypatch.setattr(loop.nn, "CrossEntropyLoss", Spoiled)
    with pytest.raises(MnasError, match="the loss is nan at step 7 of 18; the state of step 6 is kept"):
        train(TINY, data, RECIPE, folder=tmp_path)
    state = torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)
    assert state["step"] == 6
    assert all(bool(value.isfinite().all()) for value in state["network"].values())


def test_the_average_is_that_of_the_weights(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, from the weights after every step; it begins with those after the first."""
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)
    steps: list[dict[str, Tensor]] = []

    def after(progress: Progress) -> None:
        if progress.step > 1:  # the file is of the step before
            steps.append(torch.load(tmp_path / loop.CHECKPOINT, weights_only=True)["network"])

    trained = train(TINY, data, RECIPE.with_values(ema=0.3), folder=tmp_path, watch=after)
    steps.append(weights(trained.network))
    assert len(steps) == trained.steps
    average = {name: value.double() for name, value in steps[0].items()}
    for number, values in enumerate(steps[1:], 1):
        decay = min(0.3, (1 + number) / (10 + number))
        average = {name: decay * old + (1 - decay) * values[name].double() for name, old in average.items()}
    for name, value in trained.averaged.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)


def test_validation_takes_no_more_images_at_once_than_training(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    forward = loop.build_network(TINY).__class__.forward

    def watched(network: nn.Module, inputs: Tensor) -> Tensor:
        most.append(len(inputs))
        return forward(network, inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.build_network(TINY).__class__, "forward", watched)
    train(TINY, data, RECIPE.with_values(epochs=1), micro_batches=4, validate_every=1)
    assert max(most) == 4
    assert sum(most) == 96 + len(data.val)


def test_classes_must_fit(data: ImageData) -> None:
    with pytest.raises(MnasError, match="tells 5 classes apart, the data has 3"):
        train(replace(TINY, num_classes=5), data, RECIPE)


def test_micro_batches_add_up(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a batch in uneven parts the gradients are those of the whole, where batch norm does not see the parts."""
    recipe = RECIPE.with_values(epochs=1, batch=len(data.train) - 4, crop="none", dropout=0.0, drop_connect=0.0)
    built = loop._built

    def with_fixed_norms(*arguments: Any, **options: Any) -> nn.Module:
        network = built(*arguments, **options)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]
                module.training = False
        return network

    monkeypatch.setattr(loop, "_built", with_fixed_norms)
    whole, parts = (train(TINY, data, replace(recipe, flip=False), micro_batches=count) for count in (1, 3))
    assert whole.steps == parts.steps == 1
    fresh = build_network(TINY).state_dict()
    for (name, one), other in zip(weights(whole.network).items(), weights(parts.network).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6), name
    assert any(not torch.equal(one, fresh[name]) for name, one in weights(whole.network).items())


def test_blocks_computed_again_change_nothing(data: ImageData) -> None:
    """Neither weights nor batch norm's statistics, with dropout and drop-connect drawn anew in every step."""
    recipe = RECIPE.with_values(dropout=0.3, drop_connect=0.3)
    kept, again = (train(TINY, data, recipe, recompute=recompute) for recompute in (False, True))
    assert same(weights(kept.network), weights(again.network))


def test_images_of_several_sizes_are_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = write_folders(tmp_path / "images", count=20)
    Image.fromarray(pixels("red", 1, 40)[0]).save(root / "red" / "large.png")
    mixed = load_data(str(root))
    assert mixed.train.side is None
    recipe = RECIPE.with_values(crop="resize", epochs=2)
    crops: set[str] = set()
    on_device = loop.train_batch
    monkeypatch.setattr(loop, "train_batch", lambda *given: (crops.add(given[1].crop), on_device(*given))[1])
    first, again = (train(TINY, mixed, recipe) for _ in range(2))
    assert same(weights(first.network), weights(again.network))
    assert crops == {"none"}  # the reader has drawn the area, and once is enough
    assert logits_of(first.network, mixed.val, 16, CPU).shape == (len(mixed.val), 3)


@pytest.fixture
def batch() -> Tensor:
    return torch.from_numpy(pixels("red", 6, 16))


def test_pixels_are_normalised_as_published(batch: Tensor) -> None:
    found = normalised(batch)
    expected = (batch.float() / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(found, expected.permute(0, 3, 1, 2))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normalised(batch.float() / 255), found)


def test_shifts_and_flips_move_pixels_and_nothing_else(batch: Tensor) -> None:
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


def test_what_is_evaluated_of_an_image() -> None:
    """Of 224 px, 87.5 % of the shorter side, as published; small images as they are."""
    left, top, right, bottom = seen((400, 512), 224)
    assert (right - left, bottom - top) == pytest.approx((350, 350))
    assert ((left + right) / 2, (top + bottom) / 2) == (256, 200)
    assert seen((32, 32), 64) == (0, 0, 32, 32)
