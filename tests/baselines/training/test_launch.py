"""`mnas train` and `mnas evaluate`: complete runs, killed and resumed runs, and errors."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from baselines import load
from baselines.exchange.weights import load_weights, save_weights
from baselines.spec import BaselineSpec, Provenance, write_spec
from baselines.statistics import wilson
from baselines.subjects import load_subject
from baselines.training.checkpoint import CHECKPOINT
from baselines.training.data.sources import load_data
from baselines.training.folder import (
    HISTORY,
    RAW_WEIGHTS,
    SETTINGS,
    WEIGHTS,
    check_empty,
    create_training,
    locked,
    read_training,
)
from baselines.training.launch import planned
from baselines.training.recipe import load_recipe
from baselines.training.settings import TrainingOptions, check_devices, network_of, trained_subject
from nas.__main__ import main
from search_spaces import Architecture, FieldError, MnasError
from search_spaces.adaptation import adapted
from tests.baselines.training.images import COLOURS, pixels, write_folders
from tests.baselines.training.interrupted import check_interrupted_and_resumed
from tests.processes import environment

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

OPTIONS = ("--recipe", "proxy", "--epochs", "3", "--batch", "16", "--width", "0.25")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return write_folders(tmp_path / "images", count=60, side=16)


def test_a_training_and_its_evaluation(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--out", "t", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["data"]["train"] == 3 * 49
    assert trained["val"]["images"] == 15
    assert {path.name for path in Path("t").iterdir()} == {"spec.yaml", SETTINGS, WEIGHTS, HISTORY, "tensorboard"}
    lines = Path("t", HISTORY).read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3"]
    assert float(lines[-1].split(",")[-1]) == trained["val"]["top1"]
    assert main(["evaluate", "t", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    confusion = np.array(judged["confusion"])
    assert confusion.sum() == judged["images"] == 18
    assert judged["top1"] == pytest.approx(confusion.diagonal().sum() / 18)
    assert judged["top1_interval"] == list(wilson(judged["top1"], 18))
    assert judged["top5"] == 1.0  # three classes
    assert main(["evaluate", "t"]) == 0
    assert "blue" in capsys.readouterr().out
    # Without an average, the last weights are evaluated.
    assert main(["evaluate", "t", "--raw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == judged["loss"]
    # The spec in the folder is the network that is trained.
    assert main(["show", "t/spec.yaml", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    stem = shown["spec"]["architecture"]["stem"]
    assert (stem["stride"], stem["out_channels"]) == (1, 8)
    assert shown["spec"]["architecture"]["num_classes"] == 3


def test_killed_at_the_last_moment(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed after the weights were written and before the checkpoint was removed."""
    options = (*OPTIONS, "--recipe", "finetune", "--batch", "32", "--out", "t", "--json")
    assert main(["train", "efficientnet_b0", "--data", str(images), *options]) == 0
    trained = json.loads(capsys.readouterr().out)
    Path("t", CHECKPOINT).write_bytes(b"left behind")
    assert main(["train", "--resume", "t", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert not Path("t", CHECKPOINT).exists()


@pytest.mark.slow
def test_variables_of_a_cluster_scheduler_are_ignored(images: Path) -> None:
    """SLURM's environment variables do not change the number of processes."""
    scheduler = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}
    command = [sys.executable, "-m", "nas", "train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--out", "t"]
    found = subprocess.run(command, env=environment() | scheduler, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert Path("t", WEIGHTS).exists()


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("model", ["swin_t", "googlenet"])
def test_unusual_torchvision_networks(model: str, tmp_path: Path) -> None:
    """Integer buffers are saved and read back; auxiliary outputs are off."""
    network = load_subject(f"torchvision:{model}")
    assert not isinstance(network, BaselineSpec)
    first, other = (network.adapted(64, 3).build() for _ in range(2))
    save_weights(first, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    ours, theirs = first.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert isinstance(first(torch.rand(2, 3, 64, 64)), torch.Tensor)


def test_averaged_and_last_weights(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (*OPTIONS, "--recipe", "finetune", "--batch", "32")
    assert main(["train", "efficientnet_b0", "--data", str(images), *options, "--out", "t", "--json"]) == 0
    last, averaged = load_file(Path("t", RAW_WEIGHTS)), load_file(Path("t", WEIGHTS))
    assert last.keys() == averaged.keys()
    assert any((last[name] != averaged[name]).any() for name in last)
    losses = []
    for raw in ((), ("--raw",)):
        capsys.readouterr()
        assert main(["evaluate", "t", *raw, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert losses[0] != losses[1]


@pytest.mark.usefixtures("torchvision")
def test_a_torchvision_network_under_the_same_recipe(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "torchvision:resnet18", "--data", str(images), *OPTIONS[:-2], "--out", "t"]
    assert main([*command, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "t", "--part", "val", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == trained["val"]["top1"]
    tensors = load_file(Path("t", WEIGHTS))
    assert tensors["fc.weight"].shape == (3, 512)
    assert main(["train", "torchvision:resnet18", "--data", str(images), "--out", "u", "--width", "0.5"]) == 2
    assert "width: torchvision:resnet18 has only one width" in capsys.readouterr().err
    assert main(["cam", "t", "--images", str(images / "red" / "000.png"), "--out", "c.png"]) == 2
    assert "cam: t holds a network of torchvision" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_and_resumed(images: Path) -> None:
    """Killed twice with signal 9; the final weights are those of an uninterrupted training."""
    code = (
        "import sys; from baselines.training import checkpoint, loop; from nas.__main__ import main; "
        "checkpoint.CHECKPOINT_SECONDS = 0.0; loop.LOOK_EVERY = 2; sys.exit(main(sys.argv[1:]))"
    )

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, "train", *arguments]
        return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    begin = ("efficientnet_b0", "--data", str(images), *OPTIONS, "--epochs", "10", "--out")
    whole = run(*begin, "whole")
    _, err = whole.communicate()
    assert whole.returncode == 0, err
    arguments = (*begin, "cut")
    before = 0.0
    for _ in range(2):
        process = run(*arguments)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            state = Path("cut", CHECKPOINT)
            if state.exists() and state.stat().st_mtime > before:
                before = state.stat().st_mtime
                break
            time.sleep(0.01)
        time.sleep(0.03)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
        process.communicate()
        before = Path("cut", CHECKPOINT).stat().st_mtime
        arguments = ("--resume", "cut")
    last = run(*arguments)
    _, err = last.communicate()
    assert last.returncode == 0, err
    ours, theirs = (load_file(Path(name, WEIGHTS)) for name in ("whole", "cut"))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)
    # A training that has ended is only evaluated again.
    again = run("--resume", "cut")
    again.communicate()
    assert again.returncode == 0


def test_invalid_input_is_refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    data = ("--data", str(images))
    for arguments, message in (
        (("efficientnet_b0",), "train: expected SPEC and --data"),
        (("efficientnet_b0", "--data", "nowhere"), "data: nowhere not found"),
        (("efficientnet_b0", *data, "--resolution", "7"), "resolution: 7 is smaller than the network's total stride"),
        (("efficientnet_b0", *data, "--resolution", "mine"), "resolution: 'mine': expected a number of pixels, such"),
        (("efficientnet_b0", *data, "--activation", "swich"), "unknown activation 'swich'; did you mean 'swish'?"),
        (("efficientnet_b0", *data, "--precision", "fp8"), "unknown precision 'fp8'"),
        (("efficientnet_b0", *data, "--recipe", "papper"), "unknown recipe 'papper'"),
        (("efficientnet_b0", *data, "--out", "full"), "already exists and is not empty"),
        (("--resume", "full"), "holds no training"),
        (("efficientnet_b0", "--resume", "full"), "spec: SPEC cannot be combined with --resume"),
        (("--resume", "full", "--micro-batch", "4"), "--micro-batch cannot be combined with --resume"),
        (("--resume", "full", "--learning-rate", "0.1"), "holds no training"),
        (("efficientnet_b0", *data, "--weights", "none.safetensors"), "none.safetensors"),
        (("--plan", "--resume", "full"), "plan: --plan cannot be combined with --resume"),
        (("efficientnet_b0", *data, "--micro-batch", "1"), "batch: batch norm needs two images at once"),
        (("efficientnet_b0", *data, "--batch", "3", "--micro-batch", "2"), "leaves one image of 3 alone"),
        (("efficientnet_b0", *data, "--batch", "4", "--devices", "4"), "batch: batch norm needs two images at once"),
    ):
        assert main(["train", *arguments]) == 2, arguments
        lines = capsys.readouterr().err.splitlines()
        assert message in lines[-1]
        assert all(line.startswith("mnas: packing") for line in lines[:-1])
    assert not Path("runs").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_a_training_that_another_process_runs_is_refused(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--epochs", "1", "--out", "t"]) == 0
    with locked(Path("t")):
        assert main(["train", "--resume", "t"]) == 2
    assert "another process is training in t" in capsys.readouterr().err


def test_changed_images_are_refused(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--epochs", "1", "--out", "t"]) == 0
    (images / "red" / "000.png").unlink()
    capsys.readouterr()
    assert main(["train", "--resume", "t"]) == 2
    assert "has changed (fingerprint" in capsys.readouterr().err
    # With another set of images the split differs, so test images may have been trained on.
    assert main(["evaluate", "t"]) == 2
    assert "has changed (fingerprint" in capsys.readouterr().err
    assert main(["evaluate", "t", "--data", str(images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 179
    assert main(["evaluate", "t", "--data", str(images)]) == 0
    assert "but it may have seen some of them" in " ".join(capsys.readouterr().out.split())
    assert main(["evaluate", "t", "--part", "tset"]) == 2
    assert "unknown part 'tset'; did you mean 'test'" in capsys.readouterr().err


def test_a_training_is_found_from_any_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", images.name, *OPTIONS, "--epochs", "1", "--batch", "4096", "--out", "t")
    assert main(["train", "efficientnet_b0", *options]) == 0
    assert " 147 images in a step" in capsys.readouterr().out  # 4096 were asked for, but there are only 147
    assert read_training(Path("t"))[1].recipe.batch == 147
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", "../t"]) == 0


@pytest.mark.slow
def test_a_training_on_a_hugging_face_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are not packed, from a relative path: trained, resumed and evaluated."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed; pip install 'mnas[hf]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COLOURS))})
    rows = [(Image.fromarray(image), name) for name in COLOURS for image in pixels(name, 10, 140)]
    values = {"image": [image for image, _ in rows], "label": [name for _, name in rows]}
    Path("set").mkdir()
    for part in ("train", "test"):
        datasets.Dataset.from_dict(values, features=kinds).to_parquet(Path("set", f"{part}.parquet"))
    options = ("--resolution", "32", *OPTIONS, "--epochs", "1", "--out", "t")
    assert main(["train", "efficientnet_b0", "--data", "hf:set", *options]) == 0
    assert main(["train", "--resume", "t"]) == 0
    assert main(["evaluate", "t"]) == 0


def test_resumed_with_another_learning_rate(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first rate was too high; the rest of the recipe stays the same."""
    subject, data = load_subject("efficientnet_b0"), load_data(str(images))
    recipe = load_recipe("proxy").shortened(2).with_values(batch=16, learning_rate=100.0, clip_norm=0.0)
    recipe = recipe.with_values(momentum=1.0, weight_decay=1.0)
    create_training(Path("t"), *planned(subject, data, TrainingOptions(width=0.25), recipe)[:2])
    assert main(["train", "--resume", "t"]) == 2
    assert "resume with a lower learning rate: mnas train --resume t --learning-rate 25" in capsys.readouterr().err
    assert main(["train", "--resume", "t", "--learning-rate", "0.001"]) == 0
    assert read_training(Path("t"))[1].recipe == replace(recipe, learning_rate=0.001)
    lines = [line.split(",") for line in Path("t", HISTORY).read_text().splitlines()[1:]]
    assert [line[0] for line in lines] == ["1", "2"]
    assert all(float(line[3]) < 0.001 for line in lines)  # no line of the first attempt is left
    capsys.readouterr()
    assert main(["train", "--resume", "t", "--learning-rate", "0.1"]) == 2
    assert "the training in t has ended" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_while_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers get the signal too; the state is saved, and the result is that of an uninterrupted training."""
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "images", count=20, side=140)
    check_interrupted_and_resumed("--data", "images", "--resolution", "32", *OPTIONS, "--epochs", "4")


def test_a_batch_of_all_images_is_divided_among_all_gpus(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    subject, data = load_subject("efficientnet_b0"), load_data(str(images))
    options = TrainingOptions(recipe="proxy", batch=4096, width=0.2)
    _, found, plan = planned(subject, data, options)
    assert (found.devices, found.recipe.batch, plan.batch) == (8, 144, 18)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MnasError, match="devices: 512 devices for 147 training images"):
        planned(subject, data, replace(options, devices=512))


def test_more_devices_than_gpus_are_refused() -> None:
    check_devices(2, 0)  # processes on the CPU
    check_devices(2, 2)
    with pytest.raises(MnasError, match="devices: 3 devices, but this machine has 2 GPUs"):
        check_devices(3, 2)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (SETTINGS, "already holds a training; choose another folder, or resume it with: mnas train --resume "),
        ("notes.txt", "already exists and is not empty; choose another folder$"),
    ],
)
def test_only_a_training_can_be_resumed(tmp_path: Path, file: str, message: str) -> None:
    check_empty(tmp_path)
    (tmp_path / file).touch()
    with pytest.raises(MnasError, match=message):
        check_empty(tmp_path)


@pytest.mark.parametrize(("resolution", "side"), [(None, 16), ("own", 24), (32, 32)])
def test_the_side_of_a_training(images: Path, resolution: Any, side: int) -> None:
    """That of the images, of the network, or another one."""
    given = adapted(load("efficientnet_b0").architecture, 24, 5)
    data = load_data(str(images))
    subject = BaselineSpec("mine", given, Provenance("a test"))
    options = TrainingOptions(resolution=resolution, activation="mish")
    found = trained_subject(subject, data, options)
    assert isinstance(found, BaselineSpec)
    assert found.architecture == replace(given, resolution=side, num_classes=3, activation="mish")
    for wrong, message in (("mine", "resolution: 'mine' is not own or a number"), (0, "resolution: 0 is not an")):
        with pytest.raises(FieldError, match=message):
            trained_subject(subject, data, replace(options, resolution=wrong))


def test_a_training_at_the_networks_own_side(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    narrow = adapted(load("efficientnet_b0").architecture, 24, 3, 0.2)
    write_spec(BaselineSpec("mine", narrow, Provenance("a test")), Path("m.yaml"))
    options = ("--recipe", "proxy", "--epochs", "1", "--batch", "16", "--resolution", "own", "--out", "t")
    for more in (["--plan"], []):
        assert main(["train", "m.yaml", "--data", str(images), *options, *more]) == 0
        assert "mine is trained at 24 px on images of 16 px: enlarged images carry no new" in capsys.readouterr().out
    subject, settings = read_training(Path("t"))
    assert (network_of(subject).resolution, settings.sides) == (24, (16, 16, 16))


@pytest.mark.parametrize(("side", "strides"), [(8, [1, 1, 2, 2, 1, 2, 1]), (16, [1, 2, 2, 2, 1, 2, 1])])
@pytest.mark.usefixtures("images")
def test_a_training_on_tiny_images(side: int, strides: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """Which strides the network lost is said first, stored, and said again when the training is resumed."""
    write_folders(Path("tiny"), count=60, side=side)
    assert main(["train", "efficientnet_b0", "--data", "tiny", *OPTIONS, "--out", "t"]) == 0
    said = "; stride 1 in stages.1, since 8 px cannot be halved as often."
    first = " ".join(capsys.readouterr().out.partition("Images:")[0].split())
    assert (said in first) == (side == 8)
    network = network_of(read_training(Path("t"))[0])
    assert isinstance(network, Architecture)
    assert (network.stem.stride, [stage.stride for stage in network.stages]) == (1, strides)
    assert main(["evaluate", "t", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 18
    assert main(["train", "--resume", "t"]) == 0
    assert (said in " ".join(capsys.readouterr().out.split())) == (side == 8)
    assert main(["train", "efficientnet_b0", "--data", "tiny", *OPTIONS, "--plan"]) == 0
    assert (said in " ".join(capsys.readouterr().out.split())) == (side == 8)


def test_images_that_were_moved(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, subject = load_data(str(images)), load("efficientnet_b0")
    network, settings, _ = planned(subject, data, TrainingOptions(recipe="proxy", epochs=1, batch=16, width=0.1))
    create_training(Path("t"), network, settings)
    images.rename("moved")
    write_folders(Path("others"), count=60, side=16, seed=1)
    assert main(["train", "--resume", "t"]) == 2
    assert "images not found" in capsys.readouterr().err
    assert main(["train", "--resume", "t", "--data", "others"]) == 2
    assert "others has changed (fingerprint" in capsys.readouterr().err
    assert read_training(Path("t"))[1].data == str(images)
    assert main(["train", "--resume", "t", "--data", "moved"]) == 0
    assert read_training(Path("t"))[1].data == str(Path("moved").absolute())
    capsys.readouterr()
    assert main(["evaluate", "t", "--json"]) == 0
