"""Classes with few images: weights, the order of balanced epochs, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from baselines.registry import load
from baselines.training import checkpoint
from baselines.training.augment import mixed
from baselines.training.batches import _keys
from baselines.training.data.balance import balance_lines, balanced_order, class_weights
from baselines.training.data.sources import load_data
from baselines.training.folder import WEIGHTS, create_training, read_training
from baselines.training.launch import planned, run_training
from baselines.training.loop import train
from baselines.training.recipe import BALANCES, load_recipe
from baselines.training.settings import TrainingOptions, network_of
from nas.__main__ import main
from nas.evaluators.proxy_training import ProxyOptions, evaluator_of
from tests.baselines.training.images import COLOURS, write_folders

COUNTS = [(400, 8), (5, 5, 5), (1, 100, 10), (37, 0, 12, 3), (2, 2, 3), (1000, 1)]


def labels_of(counts: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize("counts", COUNTS)
def test_weights_are_those_of_scikit_learn(counts: tuple[int, ...]) -> None:
    sklearn = pytest.importorskip("sklearn.utils.class_weight")
    labels, present = labels_of(counts), np.flatnonzero(counts)
    found = class_weights(labels, len(counts))
    expected = sklearn.compute_class_weight("balanced", classes=present, y=labels)
    assert found[present] == pytest.approx(expected)
    assert found.sum() == pytest.approx(expected.sum())
    assert found[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize("counts", COUNTS)
def test_a_balanced_epoch_shows_classes_and_their_images_equally_often(counts: tuple[int, ...]) -> None:
    labels = labels_of(counts)
    orders = [balanced_order(3, epoch, labels) for epoch in range(4)]
    for order in orders:
        assert len(order) == len(labels)
        shown = np.bincount(labels[order], minlength=len(counts))[np.flatnonzero(counts)]
        assert shown.max() - shown.min() <= 1
        for label in np.flatnonzero(counts):
            times = np.bincount(order, minlength=len(labels))[labels == label]
            assert times.max() - times.min() <= 1
    assert all((one != other).any() for one, other in pairwise(orders))
    assert (balanced_order(3, 1, labels) == orders[1]).all()


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_weighted_losses_add_up_over_parts(parts: int) -> None:
    """As one sum over images of the weight of the class times its cross entropy, whatever the parts."""
    labels = torch.from_numpy(labels_of((30, 4, 2)))
    weights = torch.from_numpy(class_weights(labels.numpy(), 3)).float()
    logits = torch.randn(36, 3, generator=torch.Generator().manual_seed(0))
    by_hand = sum(weights[label] * -logits[place].log_softmax(0)[label] for place, label in enumerate(labels)) / 36
    total = torch.zeros(())
    for part, part_labels in zip(logits.tensor_split(parts), labels.tensor_split(parts), strict=True):
        image = torch.zeros(len(part), 3, 2, 2)
        _, shares = mixed(image, part_labels, load_recipe("proxy"), 3, torch.Generator())
        total += cross_entropy(part, shares, weight=weights) * len(part) / 36
    torch.testing.assert_close(total, by_hand)


def test_an_image_that_recurs_in_a_batch_has_another_crop() -> None:
    assert _keys(np.array([4, 2, 4, 4, 2]), 7) == [(4, 7, 0), (2, 7, 0), (4, 7, 1), (4, 7, 2), (2, 7, 1)]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """60 images of two classes, and 5 of the third."""
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    folder = write_folders(tmp_path / "images", count=60)
    for file in sorted((folder / "red").iterdir())[5:]:
        file.unlink()
    return str(folder)


@pytest.mark.parametrize("balance", BALANCES)
def test_a_line_where_a_class_is_rare(images: str, balance: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_data(images)
    recipe = load_recipe("proxy").with_values(balance=balance)
    (line,) = balance_lines(data, recipe)
    assert "red has " in line
    assert ("--balance weights or sampler" in line) == (balance == "none")
    evaluator_of(images, ProxyOptions(balance=balance))
    assert capsys.readouterr().err.count(line) == 1
    options = ("--balance", balance, "--recipe", "proxy", "--width", "0.2")
    assert main(["train", "mnasnet_small", "--data", images, *options, "--plan"]) == 0
    assert "Note: of" in capsys.readouterr().out
    # A tenth is not rare.
    labels = data.train.labels
    rest = np.concatenate([np.flatnonzero(labels == 2)[:3], np.flatnonzero(labels == 0)[:30]])
    assert balance_lines(replace(data, train=data.train.take(rest)), recipe) != []  # green has none
    rest = np.concatenate([rest, np.flatnonzero(labels == 1)[:30]])
    assert balance_lines(replace(data, train=data.train.take(rest)), recipe) == []


@pytest.mark.parametrize("balance", ["weights", pytest.param("sampler", marks=pytest.mark.slow)])
def test_two_devices_give_the_weights_of_two_parts(images: str, balance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without random draws, gradients averaged over processes equal gradients summed over micro-batches."""
    from safetensors.numpy import load_file

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        changes = ("crop=none", "flip=false", f"balance={balance}", "batch=16", "epochs=2")
        options = TrainingOptions(recipe="proxy", set=changes, width=0.2, resolution=16)
        subject, settings, _ = planned(load("mnasnet_small"), load_data(images), options)
        found = []
        for name, values in (("devices", {"devices": 2}), ("parts", {"micro_batches": 2})):
            create_training(Path(name), subject, replace(settings, threads=1, **values))
            run_training(Path(name), lambda progress: None)
            found.append(load_file(Path(name, WEIGHTS)))
    finally:
        torch.set_num_threads(threads)
    for name, values in found[0].items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            np.testing.assert_array_equal(values, found[1][name], err_msg=name)


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_killed_and_resumed(images: str, tmp_path: Path, balance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    options = TrainingOptions(recipe="proxy", balance=balance, epochs=3, batch=16, width=0.2)
    data = load_data(images)
    subject, settings, _ = planned(load("mnasnet_small"), data, options)
    network = network_of(subject)
    whole = train(network, data, settings.recipe).network.state_dict()
    plain = train(network, data, replace(settings.recipe, balance="none")).network.state_dict()
    calls = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        train(network, data, settings.recipe, folder=tmp_path, stop=lambda: next(calls) == 8)
    resumed = train(network, data, settings.recipe, folder=tmp_path).network.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert not all(torch.equal(value, plain[name]) for name, value in whole.items())


def test_figures_of_a_training(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--recipe", "proxy", "--epochs", "1", "--width", "0.2", "--balance", "sampler", "--out", "t")
    assert main(["train", "mnasnet_small", "--data", images, *options]) == 0
    shown = capsys.readouterr().out
    assert "balanced accuracy" in shown
    assert "macro-F1" in shown
    assert "top-5" not in shown  # three classes
    assert read_training(Path("t"))[1].recipe.balance == "sampler"
    assert main(["evaluate", "t", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["balanced_accuracy"] == pytest.approx(np.mean(found["recall"]))
    assert len(found["recall"]) == len(COLOURS)
