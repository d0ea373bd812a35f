"""Training on several devices: here, processes on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from baselines import load
from baselines.exchange.weights import save_weights
from baselines.spec import BaselineSpec
from baselines.training.checkpoint import CHECKPOINT
from baselines.training.data.sources import load_data
from baselines.training.folder import HISTORY, WEIGHTS, create_training
from baselines.training.launch import run_training
from baselines.training.recipe import load_recipe
from baselines.training.settings import TrainingOptions, TrainingSettings, trained_subject
from nas.__main__ import main
from search_spaces import MnasError
from search_spaces.network import build_network
from tests.baselines.training.images import write_folders
from tests.baselines.training.interrupted import check_interrupted_and_resumed

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(write_folders(tmp_path / "images", count=40))


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread in this process and its children: with more, sums are computed in another order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("frozen", [0, 1])
def test_two_devices_give_the_weights_of_two_parts(images: str, frozen: int) -> None:
    """Without random draws, gradients averaged over processes equal gradients summed over micro-batches."""
    recipe = replace(load_recipe("proxy").shortened(2), batch=16, crop="none", flip=False, freeze_epochs=frozen)
    data = load_data(images)
    subject = trained_subject(load("efficientnet_b0"), data, TrainingOptions(width=0.2))
    assert isinstance(subject, BaselineSpec)
    save_weights(build_network(subject.architecture), Path("first.safetensors"))
    weights = str(Path("first.safetensors").absolute()) if frozen else ""
    for name, values in (("devices", {"devices": 2}), ("parts", {"micro_batches": 2})):
        settings = TrainingSettings(
            data=images,
            recipe=recipe,
            fingerprint=data.fingerprint,
            classes=data.classes,
            weights=weights,
            **values,  # type: ignore[arg-type]
        )
        create_training(Path(name), subject, settings)
        run_training(Path(name), lambda progress: None)
    one, other = (load_file(Path(name, WEIGHTS)) for name in ("devices", "parts"))
    assert one.keys() == other.keys()
    for name in one:
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert len(Path("devices", HISTORY).read_text().splitlines()) == 3


@pytest.mark.slow
def test_stopped_and_resumed(images: str) -> None:
    """Ctrl-C ends all processes and saves the state; the result is that of an uninterrupted training."""
    options = ("--recipe", "proxy", "--epochs", "8", "--batch", "16", "--width", "0.2", "--devices", "2")
    check_interrupted_and_resumed("--data", images, *options)


def test_a_loss_that_is_not_a_number_stops_all_devices(images: str) -> None:
    """No device saves weights that are not finite."""
    data = load_data(images)
    recipe = replace(load_recipe("proxy").shortened(2), batch=16)
    subject = trained_subject(load("efficientnet_b0"), data, TrainingOptions(width=0.2))
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
    create_training(Path("t"), subject, settings)
    with pytest.raises(MnasError, match=r"the loss is nan at step .* the last saved step is 0"):
        run_training(Path("t"), lambda progress: None)
    assert not Path("t", WEIGHTS).exists()
    assert not Path("t", CHECKPOINT).exists()


@pytest.mark.slow
def test_an_error_in_a_process_gives_one_line(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--recipe", "proxy", "--epochs", "2", "--width", "0.2", "--devices", "2", "--out", "t")
    assert main(["train", "efficientnet_b0", "--data", images, *options, "--batch", "15"]) == 2
    assert "devices: 2 must divide the batch of 15" in capsys.readouterr().err
    assert main(["train", "efficientnet_b0", "--data", images, *options, "--batch", "16"]) == 0
    Path("t", WEIGHTS).unlink()
    Path("t", CHECKPOINT).write_bytes(b"none")
    assert main(["train", "--resume", "t"]) == 2
    assert "t/checkpoint.pt: belongs to another training" in capsys.readouterr().err.splitlines()[-1]
