"""A training that is divided among devices: here, processes on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from baselines import load
from baselines.spec import BaselineSpec
from baselines.training.data import load_data
from baselines.training.recipe import load_recipe
from baselines.training.run import HISTORY, WEIGHTS, TrainingSettings, begin, run_training, trained_subject
from baselines.training.train import CHECKPOINT
from baselines.weights import save_weights
from nas.__main__ import main
from search_spaces import MnasError
from search_spaces.network import build_network
from tests.baselines.training.images import write_folders
from tests.baselines.training.interrupted import interrupted_and_gone_on_with

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(write_folders(tmp_path / "images", count=40))


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this process and in those it starts: with more, sums are taken in another order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_two_devices_are_two_parts(images: str) -> None:
    """Gradients that are averaged over processes are those that are added up over parts, where nothing is random."""
    recipe = replace(load_recipe("proxy").shortened(2), batch=16, crop="none", flip=False)
    data = load_data(images)
    subject = trained_subject(load("efficientnet_b0"), data, None, 0.2)
    for name, values in (("devices", {"devices": 2}), ("parts", {"micro_batches": 2})):
        settings = TrainingSettings(
            data=images, recipe=recipe, fingerprint=data.fingerprint, classes=data.classes, **values
        )
        begin(Path(name), subject, settings)
        run_training(Path(name), lambda progress: None)
    one, other = (load_file(Path(name, WEIGHTS)) for name in ("devices", "parts"))
    assert one.keys() == other.keys()
    for name in one:
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert len(Path("devices", HISTORY).read_text().splitlines()) == 3


def test_stopped_and_gone_on_with(images: str) -> None:
    """Ctrl-C in the terminal ends all processes with the state kept; the end is that of a training never stopped."""
    options = ("--recipe", "proxy", "--epochs", "8", "--batch", "16", "--width", "0.2", "--devices", "2")
    interrupted_and_gone_on_with("--data", images, *options)


def test_a_loss_that_is_no_number_stops_all(images: str) -> None:
    """No device keeps what is spoilt."""
    data = load_data(images)
    recipe = replace(load_recipe("proxy").shortened(2), batch=16)
    subject = trained_subject(load("efficientnet_b0"), data, None, 0.2)
    assert isinstance(subject, BaselineSpec)
    network = build_network(subject.architecture)
    torch.nn.init.constant_(network.head[0].weight, float("nan"))
    save_weights(network, Path("nan.safetensors"))
    settings = TrainingSettings(
        data=images,
        recipe=recipe,
        fingerprint=data.fingerprint,
        classes=data.classes,
        devices=2,
        weights="nan.safetensors",
    )
    begin(Path("t"), subject, settings)
    with pytest.raises(MnasError, match=r"the loss is nan at step .* the state of step 0 is kept"):
        run_training(Path("t"), lambda progress: None)
    assert not Path("t", WEIGHTS).exists()
    assert not Path("t", CHECKPOINT).exists()


def test_errors_of_a_process_are_one_line(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--recipe", "proxy", "--epochs", "2", "--width", "0.2", "--devices", "2", "--out", "t")
    assert main(["train", "efficientnet_b0", "--data", images, *options, "--batch", "15"]) == 2
    assert "devices: 2 do not divide a batch of 15" in capsys.readouterr().err
    assert main(["train", "efficientnet_b0", "--data", images, *options, "--batch", "16"]) == 0
    Path("t", WEIGHTS).unlink()
    Path("t", CHECKPOINT).write_bytes(b"none")
    assert main(["train", "--resume", "t"]) == 2
    assert "t/checkpoint.pt: is of another training" in capsys.readouterr().err.splitlines()[-1]
