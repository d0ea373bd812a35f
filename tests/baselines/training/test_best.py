"""The course of a training: the best epoch is kept, it ends early, and its backbone may stand still at first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from baselines.training import loop
from baselines.training.data.sources import ImageData, load_data
from baselines.training.folder import HISTORY, RAW_WEIGHTS, SETTINGS, WEIGHTS, read_training
from baselines.training.loop import BACKBONE, train
from baselines.training.recipe import Recipe, load_recipe
from nas.__main__ import main
from search_spaces import FieldError, MnasError
from search_spaces.network import build_network
from tests.baselines.training.images import TINY, write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

RECIPE = load_recipe("proxy").with_values(epochs=6, batch=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageData]:
    place = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        yield load_data(str(write_folders(place / "images", count=40)))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return first.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in first.items())


class Curve:
    """Accuracies that a training seems to have after its epochs, and the weights that it had then."""

    def __init__(self, patch: pytest.MonkeyPatch, accuracies: Sequence[float]) -> None:
        self.accuracies, self.weights = accuracies, list[dict[str, Tensor]]()
        patch.setattr(loop, "accuracy_of", self.after_epoch)

    def after_epoch(self, network: nn.Module, *_: object) -> float:
        self.weights.append(state(network))
        return self.accuracies[len(self.weights) - 1]


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 6),
        ((0.6, 0.5, 0.4, 0.3, 0.2, 0.1), 1),
        ((0.1, 0.5, 0.5, 0.2, 0.5, 0.5), 2),  # the first of equal ones
        ((0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 1),
        ((0.3, 0.1, 0.2, 0.7, 0.6, 0.5), 4),
    ],
)
def test_the_best_epoch_is_kept(
    data: ImageData, monkeypatch: pytest.MonkeyPatch, accuracies: tuple[float, ...], best: int, ema: float
) -> None:
    curve = Curve(monkeypatch, accuracies)
    trained = train(TINY, data, replace(RECIPE, keep="best", ema=ema))
    assert len(curve.weights) == 6
    assert same(state(trained.averaged), curve.weights[best - 1])
    last = train(TINY, data, replace(RECIPE, ema=ema))
    assert same(state(trained.network), state(last.network))  # the last weights are not touched


@pytest.mark.parametrize(
    ("accuracies", "patience", "epochs"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 1, 6),
        ((0.5, 0.4, 0.6, 0.7, 0.8, 0.9), 1, 2),
        ((0.5, 0.5, 0.6, 0.6, 0.6, 0.6), 2, 5),  # as good is no improvement
        ((0.5, 0.1, 0.6, 0.2, 0.3, 0.4), 2, 5),
        ((0.5, 0.1, 0.1, 0.1, 0.1, 0.1), 5, 6),
        ((0.5, 0.1, 0.1, 0.1, 0.1, 0.1), 0, 6),
    ],
)
def test_it_ends_early(
    data: ImageData, monkeypatch: pytest.MonkeyPatch, accuracies: tuple[float, ...], patience: int, epochs: int
) -> None:
    curve = Curve(monkeypatch, accuracies)
    trained = train(TINY, data, replace(RECIPE, patience=patience), validate_every=1)
    assert len(curve.weights) == epochs
    assert trained.steps == 6 * (len(data.train) // 32)  # planned; the learning rate depends on them
    assert same(state(trained.averaged), curve.weights[-1])  # the last ones, unless the best are asked for


@pytest.mark.parametrize("killed_at", [2, 5, 7, 11])
def test_killed_and_resumed_it_keeps_the_same(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(loop, "LOOK_EVERY", 1)
    accuracies = (0.1, 0.5, 0.4, 0.5, 0.3, 0.9)
    recipe = replace(RECIPE, keep="best", patience=3, ema=0.9)
    curve = Curve(monkeypatch, accuracies)
    whole = train(TINY, data, recipe)
    assert len(curve.weights) == 5

    resumed = Curve(monkeypatch, accuracies)
    asked = iter(range(1, 100))
    with pytest.raises(KeyboardInterrupt):
        train(TINY, data, recipe, folder=tmp_path, stop=lambda: next(asked) == killed_at)
    again = train(TINY, data, recipe, folder=tmp_path)
    assert len(resumed.weights) == 5
    assert same(state(whole.averaged), state(again.averaged))
    assert same(state(whole.network), state(again.network))
    # Killed after its end, before the weights were written: nothing is trained again.
    third = train(TINY, data, recipe, folder=tmp_path)
    assert len(resumed.weights) == 5
    assert same(state(whole.averaged), state(third.averaged))


def test_frozen_epochs(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and statistics of the backbone stand still, and the classifier learns; then everything does."""
    initial = build_network(TINY).state_dict()
    recipe = replace(RECIPE, freeze_epochs=3, ema=0.5, weight_decay=0.1)
    curve = Curve(monkeypatch, [0.1] * 6)
    train(TINY, data, recipe, initial=initial, validate_every=1)

    def unchanged(epoch: int, *parts: str) -> bool:
        now = curve.weights[epoch - 1]
        names = [name for name in initial if name.split(".")[0] in parts and initial[name].is_floating_point()]
        return all(torch.equal(now[name], initial[name]) for name in names)

    for epoch in (1, 2, 3):
        assert unchanged(epoch, *BACKBONE)
        assert not unchanged(epoch, "classifier")
    for part in BACKBONE:
        assert not unchanged(4, part)


@pytest.mark.parametrize("killed_at", [3, 8, 9, 10, 14])
def test_frozen_killed_and_resumed(data: ImageData, tmp_path: Path, killed_at: int) -> None:
    initial = build_network(TINY).state_dict()
    recipe = replace(RECIPE, freeze_epochs=3, optimizer="rmsprop-tf", learning_rate=0.01)
    whole = train(TINY, data, recipe, initial=initial)
    asked = iter(range(1, 100))
    with pytest.raises(KeyboardInterrupt):
        train(TINY, data, recipe, folder=tmp_path, initial=initial, stop=lambda: next(asked) == killed_at)
    assert same(state(whole.network), state(train(TINY, data, recipe, folder=tmp_path).network))


def test_frozen_for_good_is_a_regression_on_fixed_features(data: ImageData) -> None:
    """With all epochs frozen, whole batches and plain SGD, the classifier is that of a loop over fixed features."""
    initial = build_network(TINY).state_dict()
    count = len(data.train)
    recipe = Recipe(
        epochs=3, batch=count, optimizer="sgd", learning_rate=0.1, momentum=0.0, crop="none", flip=False, dropout=0.0,
        freeze_epochs=3,
    )  # fmt: skip
    trained = train(TINY, data, recipe, initial=initial).network
    assert isinstance(trained.classifier, nn.Linear)

    network = build_network(TINY)
    network.load_state_dict(initial)
    images, rows = data.train.source
    pixels = torch.from_numpy(np.ascontiguousarray(images[rows]))
    with torch.no_grad():
        features = network.eval().forward_features(loop.train_batch(pixels, recipe, 16, torch.Generator()))
    inputs, labels = features.mean((2, 3)), torch.from_numpy(data.train.labels)
    classifier = network.classifier
    assert isinstance(classifier, nn.Linear)
    for step in range(3):
        classifier.zero_grad()
        nn.functional.cross_entropy(classifier(inputs), labels).backward()
        with torch.no_grad():
            for weight in classifier.parameters():
                assert weight.grad is not None
                weight.sub_(recipe.rate(step, 1) * weight.grad)
    torch.testing.assert_close(trained.classifier.weight, classifier.weight, rtol=1e-4, atol=1e-5)


def test_patience_waits_for_frozen_epochs(data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    curve = Curve(monkeypatch, (0.9, 0.1, 0.1, 0.1, 0.1, 0.1))
    train(TINY, data, replace(RECIPE, freeze_epochs=3, patience=2), initial=build_network(TINY).state_dict())
    assert len(curve.weights) == 5


def test_there_must_be_something_to_freeze(data: ImageData) -> None:
    with pytest.raises(MnasError, match="freeze_epochs: there are no trained weights to keep; use --weights FILE"):
        train(TINY, data, replace(RECIPE, freeze_epochs=1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"freeze_epochs": 7}, "freeze_epochs: 7 is not an integer from 0 to 6"),
        ({"freeze_epochs": -1}, "freeze_epochs: -1 is not an integer from 0 to 6"),
        ({"patience": -1}, "patience: -1 is not an integer from 0 to 100000"),
        ({"patience": 1.5}, "patience: 1.5 is not an integer"),
        ({"keep": "bset"}, "keep: .*'bset'.*best"),
    ],
)
def test_values_that_break_a_rule(values: dict[str, object], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        RECIPE.with_values(**values)


OPTIONS = ("--recipe", "proxy", "--batch", "16", "--width", "0.25", "--json")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return write_folders(tmp_path / "images", count=30)


def test_the_command(images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights of the best epoch are evaluated and exported, those of the last step with --raw."""
    curve = Curve(monkeypatch, (0.5, 0.9, 0.4, 0.9, 0.1))
    command = ["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--out", "t"]
    assert main([*command, "--epochs", "5", "--keep", "best", "--patience", "2"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["course"] == {"epochs": 4, "best": 2, "kept": 2, "early": True}
    assert same(load_file("t/" + WEIGHTS), curve.weights[1])
    assert same(load_file("t/" + RAW_WEIGHTS), curve.weights[3])
    assert len(Path("t", HISTORY).read_text().splitlines()) == 5
    for options, epoch in ((), 2), (("--raw",), 4):
        assert main(["evaluate", "t", "--json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["epoch"] == epoch
    assert main(["evaluate", "t"]) == 0
    assert "epoch 2 of 4, the best on the validation part" in capsys.readouterr().out
    assert main(["train", "--resume", "t"]) == 0
    assert "Ended after epoch 4 of 5: the best was 2, and --patience is 2." in capsys.readouterr().out
    assert len(curve.weights) == 4


def test_fine_tuning_with_frozen_epochs(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "efficientnet_b0", "--data", str(images), *OPTIONS]
    assert main([*command, "--epochs", "1", "--out", "first"]) == 0
    tuned = [*command, "--recipe", "finetune", "--epochs", "2", "--freeze-epochs", "2", "--out", "tuned"]
    assert main(tuned) == 2
    assert "freeze_epochs: there are no trained weights to keep; use --weights FILE, or 0" in capsys.readouterr().err
    assert not Path("tuned").exists()
    assert main([*tuned, "--weights", "first/" + WEIGHTS]) == 0
    first, last = load_file("first/" + WEIGHTS), load_file("tuned/" + WEIGHTS)
    still = [name for name in first if not name.startswith("classifier") and first[name].is_floating_point()]
    assert all(torch.equal(first[name], last[name]) for name in still)
    assert not torch.equal(first["classifier.weight"], last["classifier.weight"])


def test_the_fresh_classifier_depends_on_the_seed_alone(images: Path) -> None:
    command = ["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--epochs", "1", "--learning-rate", "1e-9"]
    assert main([*command, "--out", "first"]) == 0
    tuned = [*command, "--weights", "first/" + WEIGHTS, "--freeze-epochs", "1"]
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main([*tuned, "--seed", seed, "--out", out]) == 0
    one, again, other = (load_file(f"{out}/{WEIGHTS}")["classifier.weight"] for out in "abc")
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-3)


def test_trainings_of_earlier_versions_open(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "efficientnet_b0", "--data", str(images), *OPTIONS]
    assert main([*command, "--epochs", "1", "--out", "t"]) == 0
    file = Path("t", SETTINGS)
    stored = json.loads(file.read_text())
    for name in ("freeze_epochs", "patience", "keep"):
        del stored["recipe"][name]
    file.write_text(json.dumps(stored))
    recipe = read_training(Path("t"))[1].recipe
    assert (recipe.freeze_epochs, recipe.patience, recipe.keep) == (0, 0, "last")
    capsys.readouterr()
    assert main(["evaluate", "t", "--json"]) == 0
    assert "epoch" not in json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_several_devices(images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All devices end after the same epoch, freeze the same epochs, and get the weights of two parts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--no-flip"]
    assert main([*command, "--epochs", "1", "--out", "first"]) == 0
    capsys.readouterr()
    more = ("--epochs", "8", "--freeze-epochs", "1", "--patience", "1", "--keep", "best", "--devices", "2")
    assert main([*command, *more, "--weights", "first/" + WEIGHTS, "--out", "t"]) == 0
    course = json.loads(capsys.readouterr().out)["course"]
    curve = [float(line.split(",")[-1]) for line in Path("t", HISTORY).read_text().splitlines()[1:]]
    assert course["epochs"] == len(curve)
    assert course["best"] == 1 + curve.index(max(curve))
    ends = [epoch for epoch in range(2, 9) if epoch - max(1, 1 + int(np.argmax(curve[:epoch]))) >= 1]
    assert course["epochs"] == (ends[0] if ends else 8)
    assert not same(load_file("t/" + WEIGHTS), load_file("first/" + WEIGHTS))
