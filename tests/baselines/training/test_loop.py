"""The training loop: it learns, repeats, resumes after a kill, and stops when it must."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.training import checkpoint, loop
from baselines.training.data.sources import ImageData, load_data
from baselines.training.loop import Progress, train
from baselines.training.predict import accuracy_of, logits_of
from baselines.training.recipe import Recipe, load_recipe
from search_spaces import ConvLayer, MnasError
from search_spaces.network import build_network
from tests.baselines.training.images import TINY, pixels, write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

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


EVERYTHING = RECIPE.with_values(
    optimizer="adamw", learning_rate=0.02, ema=0.9, mixup=0.2, cutmix=1.0, random_erasing=0.5, label_smoothing=0.1
)


@pytest.mark.parametrize(
    "recipe", [RECIPE, replace(load_recipe("paper"), epochs=3, batch=16, warmup_epochs=1.0), EVERYTHING]
)
def test_killed_and_resumed(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: Recipe) -> None:
    """Killed in the middle of an epoch, with momentum, moving average and dropout: the final weights are the same."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 4)
    whole = train(TINY, data, recipe)

    def killed(progress: Progress) -> None:
        if progress.step == 12:  # the last saved step is 8; an epoch has 6
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TINY, data, recipe, folder=tmp_path, watch=killed)
    steps: list[int] = []
    resumed = train(TINY, data, recipe, folder=tmp_path, watch=lambda progress: steps.append(progress.step))
    assert steps[0] == 12
    assert same(weights(whole.network), weights(resumed.network))
    assert same(weights(whole.averaged), weights(resumed.averaged))
    assert train(TINY, data, recipe, folder=tmp_path).steps == whole.steps  # nothing left to do


def test_stopped_and_resumed(data: ImageData, tmp_path: Path) -> None:
    """The state of the current step is saved, even though no save was due."""
    whole, asked = train(TINY, data, RECIPE), iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        train(TINY, data, RECIPE, folder=tmp_path, stop=lambda: next(asked) == 8)
    assert torch.load(tmp_path / checkpoint.CHECKPOINT, weights_only=True)["step"] == 9
    assert same(weights(whole.network), weights(train(TINY, data, RECIPE, folder=tmp_path).network))


def test_a_checkpoint_of_another_network_is_refused(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    train(TINY, data, RECIPE.with_values(epochs=1), folder=tmp_path)
    with pytest.raises(MnasError, match="belongs to another training"):
        train(replace(TINY, head=ConvLayer(24, 1, 1)), data, RECIPE, folder=tmp_path)
    (tmp_path / checkpoint.CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(MnasError, match="belongs to another training"):
        train(TINY, data, RECIPE, folder=tmp_path)
    torch.save({"step": 1, "network": Path.home}, tmp_path / checkpoint.CHECKPOINT)
    with pytest.raises(MnasError, match=r"checkpoint\.pt: is a pickle of other things than tensors and numbers"):
        train(TINY, data, RECIPE, folder=tmp_path)
    (tmp_path / checkpoint.CHECKPOINT).write_bytes(pickle.dumps(Path.home, protocol=2))
    with pytest.raises(MnasError, match=r"checkpoint\.pt: is a pickle of other things"):
        train(TINY, data, RECIPE, folder=tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_training(data: ImageData, tmp_path: Path) -> None:
    wild = RECIPE.with_values(learning_rate=100.0, clip_norm=0.0, warmup_epochs=0.0, epochs=60, bn_momentum=0.0)
    broken = replace(wild, weight_decay=1.0, momentum=1.0)
    with pytest.raises(MnasError, match=r"the loss is (nan|inf) at step \d+ of \d+; the last saved step is 0"):
        train(TINY, data, broken, folder=tmp_path)
    with pytest.raises(MnasError, match="; use a lower learning rate"):
        train(TINY, data, broken)


def test_a_loss_that_is_not_a_number_is_reported_with_its_step(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state saved before it is good."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)

    class Spoiled(nn.CrossEntropyLoss):
        steps = 0

        def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            type(self).steps += 1
            return super().forward(logits, labels) * (math.nan if self.steps == 7 else 1.0)

    monkeypatch.setattr(loop.nn, "CrossEntropyLoss", Spoiled)
    with pytest.raises(MnasError, match="the loss is nan at step 7 of 18; the last saved step is 6"):
        train(TINY, data, RECIPE, folder=tmp_path)
    state = torch.load(tmp_path / checkpoint.CHECKPOINT, weights_only=True)
    assert state["step"] == 6
    assert all(bool(value.isfinite().all()) for value in state["network"].values())


def test_the_average_of_the_weights(data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average computed by hand from the weights after every step; it starts with those after the first."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)
    steps: list[dict[str, Tensor]] = []

    def after(progress: Progress) -> None:
        if progress.step > 1:  # the file holds the step before
            steps.append(torch.load(tmp_path / checkpoint.CHECKPOINT, weights_only=True)["network"])

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


def test_validation_uses_no_larger_batches_than_training(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with pytest.raises(MnasError, match="the network has 5 classes, the data 3"):
        train(replace(TINY, num_classes=5), data, RECIPE)


def test_micro_batches_add_up(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fixed batch norm, the gradients of a batch in uneven parts are those of the whole batch."""
    recipe = RECIPE.with_values(epochs=1, batch=len(data.train) - 4, crop="none", dropout=0.0, drop_connect=0.0)
    build = loop._build

    def with_fixed_norms(*arguments: Any, **options: Any) -> nn.Module:
        network = build(*arguments, **options)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]
                module.training = False
        return network

    monkeypatch.setattr(loop, "_build", with_fixed_norms)
    whole, parts = (train(TINY, data, replace(recipe, flip=False), micro_batches=count) for count in (1, 3))
    assert whole.steps == parts.steps == 1
    fresh = build_network(TINY).state_dict()
    for (name, one), other in zip(weights(whole.network).items(), weights(parts.network).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6), name
    assert any(not torch.equal(one, fresh[name]) for name, one in weights(whole.network).items())


def test_recomputed_blocks_change_nothing(data: ImageData) -> None:
    """Weights and batch-norm statistics stay the same, with dropout and drop-connect drawn in every step."""
    recipe = RECIPE.with_values(dropout=0.3, drop_connect=0.3)
    kept, again = (train(TINY, data, recipe, recompute=recompute) for recompute in (False, True))
    assert same(weights(kept.network), weights(again.network))


@pytest.mark.slow
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
    assert crops == {"none"}  # the reader has already cropped the area
    assert logits_of(first.network, mixed.val, 16, CPU).shape == (len(mixed.val), 3)
