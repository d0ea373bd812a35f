"""`mnas train` and `mnas evaluate`, from begin to end, killed in between, and with what cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from baselines.cli_train import _class_table
from baselines.comparators import load_any
from baselines.intervals import wilson
from baselines.spec import BaselineSpec
from baselines.training.data import Part, load_data
from baselines.training.evaluate import Evaluation, evaluate
from baselines.training.recipe import load_recipe
from baselines.training.run import (
    HISTORY,
    RAW_WEIGHTS,
    SETTINGS,
    WEIGHTS,
    TrainingSettings,
    begin,
    check_devices,
    opened,
    owned,
    planned,
)
from baselines.training.train import CHECKPOINT
from baselines.weights import load_weights, save_weights
from nas.__main__ import main
from search_spaces import MnasError
from tests.baselines.training.images import COLOURS, pixels, write_folders
from tests.baselines.training.interrupted import interrupted_and_gone_on_with
from tests.processes import environment

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

OPTIONS = ("--recipe", "proxy", "--epochs", "3", "--batch", "16", "--width", "0.25")


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return write_folders(tmp_path / "images", count=60, side=16)


def test_a_training_and_what_it_is_worth(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    # Without an average the last weights are those that are evaluated.
    assert main(["evaluate", "t", "--raw", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == judged["loss"]
    # The folder's spec is the network as it is trained.
    assert main(["show", "t/spec.yaml", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    stem = shown["spec"]["architecture"]["stem"]
    assert (stem["stride"], stem["out_channels"]) == (1, 8)
    assert shown["spec"]["architecture"]["num_classes"] == 3


def test_killed_in_its_last_moment(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After the weights were written and before the state was removed."""
    options = (*OPTIONS, "--recipe", "finetune", "--batch", "32", "--out", "t", "--json")
    assert main(["train", "efficientnet_b0", "--data", str(images), *options]) == 0
    trained = json.loads(capsys.readouterr().out)
    Path("t", CHECKPOINT).write_bytes(b"left behind")
    assert main(["train", "--resume", "t", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == trained
    assert not Path("t", CHECKPOINT).exists()


def test_a_clusters_scheduler_does_not_decide_who_trains(images: Path) -> None:
    """What SLURM says of its tasks is not taken for our own processes."""
    scheduler = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "3", "SLURM_LOCALID": "3"}
    command = [sys.executable, "-m", "nas", "train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--out", "t"]
    found = subprocess.run(command, env=environment() | scheduler, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert Path("t", WEIGHTS).exists()


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("model", ["swin_t", "googlenet"])
def test_networks_of_torchvision_with_habits_of_their_own(model: str, tmp_path: Path) -> None:
    """Buffers of integers are kept and read back; of several answers there is one."""
    network = load_any(f"torchvision:{model}")
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
def test_a_network_of_torchvision_under_the_same_recipe(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "torchvision:resnet18", "--data", str(images), *OPTIONS[:-2], "--out", "t"]
    assert main([*command, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "t", "--part", "val", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == trained["val"]["top1"]
    tensors = load_file(Path("t", WEIGHTS))
    assert tensors["fc.weight"].shape == (3, 512)
    assert main(["train", "torchvision:resnet18", "--data", str(images), "--out", "u", "--width", "0.5"]) == 2
    assert "width: torchvision:resnet18 has one width only" in capsys.readouterr().err
    assert main(["cam", "t", "--images", str(images / "red" / "000.png"), "--out", "c.png"]) == 2
    assert "cam: t has a network of torchvision" in capsys.readouterr().err


def test_killed_in_the_middle_of_an_epoch_and_resumed(images: Path) -> None:
    """With signal 9, twice; the weights at the end are those of a training that never was."""
    code = (
        "import sys; from baselines.training import train as loop; loop.CHECKPOINT_SECONDS = 0.0; loop.LOOK_EVERY = 2; "
        "from nas.__main__ import main; sys.exit(main(sys.argv[1:]))"
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
    # What is trained to its end is evaluated again, and nothing else.
    again = run("--resume", "cut")
    again.communicate()
    assert again.returncode == 0


def test_what_cannot_be_trained(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    data = ("--data", str(images))
    for arguments, message in (
        (("efficientnet_b0",), "train: give SPEC and --data"),
        (("efficientnet_b0", "--data", "nowhere"), "there is no folder nowhere"),
        (("efficientnet_b0", *data, "--resolution", "8"), "resolution: 8 is smaller than the network's total stride"),
        (("efficientnet_b0", *data, "--precision", "fp8"), "unknown precision 'fp8'"),
        (("efficientnet_b0", *data, "--recipe", "papper"), "unknown recipe 'papper'"),
        (("efficientnet_b0", *data, "--out", "full"), "is there already and is not empty"),
        (("--resume", "full"), "holds no training"),
        (("efficientnet_b0", "--resume", "full"), "spec: a training that was begun has its own; leave SPEC out"),
        (("--resume", "full", "--micro-batch", "4"), "has its own; leave --micro-batch out"),
        (("--resume", "full", "--learning-rate", "0.1"), "holds no training"),
        (("efficientnet_b0", *data, "--weights", "none.safetensors"), "none.safetensors"),
        (("--plan", "--resume", "full"), "plan: a training that was begun has its own"),
        (("efficientnet_b0", *data, "--micro-batch", "1"), "batch: batch norm needs two images at once"),
        (("efficientnet_b0", *data, "--batch", "3", "--micro-batch", "2"), "leaves a part of one image"),
        (("efficientnet_b0", *data, "--batch", "4", "--devices", "4"), "batch: batch norm needs two images at once"),
    ):
        assert main(["train", *arguments]) == 2, arguments
        lines = capsys.readouterr().err.splitlines()
        assert message in lines[-1]
        assert all(line.startswith("mnas: packing") for line in lines[:-1])
    assert not Path("runs").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_two_owners_are_refused(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--epochs", "1", "--out", "t"]) == 0
    with owned(Path("t")):
        assert main(["train", "--resume", "t"]) == 2
    assert "another process trains in t" in capsys.readouterr().err


def test_other_images_than_then_are_refused(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "efficientnet_b0", "--data", str(images), *OPTIONS, "--epochs", "1", "--out", "t"]) == 0
    (images / "red" / "000.png").unlink()
    capsys.readouterr()
    assert main(["train", "--resume", "t"]) == 2
    assert "is not what it was (fingerprint" in capsys.readouterr().err
    # Another image and all are divided in another way: what is for test now may have been trained on.
    assert main(["evaluate", "t"]) == 2
    assert "is not what it was (fingerprint" in capsys.readouterr().err
    assert main(["evaluate", "t", "--data", str(images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 179
    assert main(["evaluate", "t", "--data", str(images)]) == 0
    assert "whether it saw some of them is not known" in " ".join(capsys.readouterr().out.split())
    assert main(["evaluate", "t", "--part", "tset"]) == 2
    assert "part: 'tset' is none of train, val, test" in capsys.readouterr().err


def test_a_training_is_found_from_any_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data", images.name, *OPTIONS, "--epochs", "1", "--batch", "4096", "--out", "t")
    assert main(["train", "efficientnet_b0", *options]) == 0
    assert " 147 images a step" in capsys.readouterr().out  # of 4096 that were asked for: there are no more
    assert opened(Path("t"))[1].recipe.batch == 147
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["evaluate", "../t"]) == 0


def test_a_training_on_a_folder_of_hugging_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images that are not packed, named from where one stands; begun, evaluated and gone on with."""
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


def test_another_learning_rate_to_go_on_with(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the first one was too high; the rest of the recipe stays."""
    subject, data = load_any("efficientnet_b0"), load_data(str(images))
    recipe = load_recipe("proxy").shortened(2).with_values(batch=16, learning_rate=100.0, clip_norm=0.0)
    settings = TrainingSettings(data=str(images), recipe=recipe.with_values(momentum=1.0, weight_decay=1.0))
    begin(Path("t"), *planned(subject, data, settings, width=0.25)[:2])
    assert main(["train", "--resume", "t"]) == 2
    assert "go on with a lower rate: mnas train --resume t --learning-rate 25" in capsys.readouterr().err
    assert main(["train", "--resume", "t", "--learning-rate", "0.001"]) == 0
    assert opened(Path("t"))[1].recipe == replace(settings.recipe, learning_rate=0.001)
    lines = [line.split(",") for line in Path("t", HISTORY).read_text().splitlines()[1:]]
    assert [line[0] for line in lines] == ["1", "2"]
    assert all(float(line[3]) < 0.001 for line in lines)  # nothing is left of the first course
    capsys.readouterr()
    assert main(["train", "--resume", "t", "--learning-rate", "0.1"]) == 2
    assert "the training in t is at its end" in capsys.readouterr().err


def test_ctrl_c_while_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal sends it to the readers too; the state is kept, and the end is that of a training never stopped."""
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "images", count=20, side=140)
    interrupted_and_gone_on_with("--data", "images", "--resolution", "32", *OPTIONS, "--epochs", "4")


def test_a_batch_of_all_images_is_divided_among_all_gpus(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    subject, data = load_any("efficientnet_b0"), load_data(str(images))
    settings = TrainingSettings(data=str(images), recipe=load_recipe("proxy").with_values(batch=4096), devices=0)
    _, found, plan = planned(subject, data, settings, width=0.2)
    assert (found.devices, found.recipe.batch, plan.batch) == (8, 144, 18)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(MnasError, match="devices: 512 are more than the 147 images"):
        planned(subject, data, replace(settings, devices=512), width=0.2)


def test_classes_without_images_are_not_the_worst() -> None:
    confusion = np.array([[9, 1, 0], [0, 0, 0], [3, 0, 1]])
    found = Evaluation(14, 10 / 14, 1.0, (0.4, 0.9), 0.5, confusion)
    table = _class_table(found, ("a", "b", "c"))
    assert list(table.columns[0].cells) == ["c", "a"]


def test_more_gpus_than_there_are() -> None:
    check_devices(2, 0)  # processes on the CPU
    check_devices(2, 2)
    with pytest.raises(MnasError, match="devices: 3 are more than the 2 GPUs here"):
        check_devices(3, 2)


class Fixed(torch.nn.Module):
    """Answers with the class that the red of the first pixel says."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = (images[:, 0, 0, 0] * 0.229 + 0.485) * 255
        return -(red[:, None] - torch.tensor([0.0, 100.0, 200.0])).abs()


def test_an_evaluation_against_hand_counted_answers() -> None:
    answers = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    labels = np.array([0, 1, 1, 1, 0, 2, 2, 2, 0, 1])
    images = np.zeros((10, 8, 8, 3), dtype=np.uint8)
    images[..., 0] = (100 * answers)[:, None, None]
    found = evaluate(Fixed(), Part(images, labels), 8, torch.device("cpu"))
    assert found.confusion.tolist() == [[1, 1, 1], [1, 2, 1], [0, 0, 3]]
    assert (found.images, found.top1, found.top5) == (10, 0.6, 1.0)
    assert found.recall() == pytest.approx([1 / 3, 1 / 2, 1.0])
    assert found.interval == pytest.approx((0.3127, 0.8318), abs=1e-4)
