"""Folders of trainings and searches wherever a command takes a SPEC."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.training.folder import WEIGHTS, trained_network
from nas.__main__ import main
from tests.baselines.training.images import write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed")

# A folder whose name a shell would take apart.
TRAINED = "my runs/it's & trained"
SHORT = ("--recipe", "proxy", "--epochs", "1", "--batch", "16")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with images, a training of B0 on them, one that did not end, and a search."""
    place = tmp_path_factory.mktemp("subjects")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        write_folders(place / "images", count=30, side=16)
        options = ("--data", "images", *SHORT, "--width", "0.25")
        assert main(["train", "efficientnet_b0", *options, "--out", TRAINED]) == 0
        assert main(["train", "efficientnet_b0", *options, "--out", "cut"]) == 0
        Path("cut", WEIGHTS).unlink()
        assert main(["search", "--controller", "random", "--trials", "5", "--out", "runs/found"]) == 0
    return place


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    return place


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.usefixtures("here")
def test_show_and_compare(capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(capsys, "show", TRAINED)
    architecture = shown["spec"]["architecture"]
    assert (shown["resolution"], architecture["num_classes"], architecture["stem"]["out_channels"]) == (16, 3, 8)
    assert printed(capsys, "show", "runs/found")["spec"]["provenance"]["search"]["controller"] == "random"
    compared = printed(capsys, "compare", TRAINED, "runs/found", "efficientnet_b0")
    # The training's network has the name of the one that it was made of; the folder tells them apart.
    assert [entry["name"] for entry in compared["specs"]] == ["it-s-trained", "found", "efficientnet_b0"]
    assert compared["specs"][0]["macs"] == shown["macs"]
    compared = printed(capsys, "compare", TRAINED, "efficientnet_b0", "--reference", TRAINED)
    assert [entry["name"] for entry in compared["specs"]] == ["efficientnet_b0", "it-s-trained"]


@pytest.mark.usefixtures("here")
def test_train_evaluate_and_cam(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "evaluate", TRAINED)["images"] == 9
    for source in (TRAINED, "runs/found"):
        assert printed(capsys, "train", source, "--data", "images", *SHORT, "--plan")["batch"] == 16
    trained = printed(capsys, "train", TRAINED, "--data", "images", *SHORT, "--out", "again")
    assert trained["out"] == "again"
    picture = ["--images", "images/red/000.png", "--out", "cam.png"]
    assert main(["cam", TRAINED, "again", *picture]) == 0
    with Image.open("cam.png") as drawn:
        assert drawn.width > 100
    for command in (["cam", "runs/found", *picture[:3], "other.png"], ["evaluate", "runs/found"], ["evaluate", "no"]):
        assert "holds no training (training.json cannot be read); use the folder of a training" in refused(
            capsys, *command
        )


@pytest.mark.usefixtures("here")
def test_export_writes_the_weights_of_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert main(["export", TRAINED, "--format", "onnx", "--out", "x.onnx"]) == 0
    assert f"the weights of {TRAINED}" in " ".join(capsys.readouterr().out.split())
    images = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession("x.onnx").run(None, {"images": images})
    network = trained_network(Path(TRAINED))[2].eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    assert logits == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("here")
def test_what_is_not_complete_or_holds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "evaluate", "cut")
    assert message == "mnas: training: cut is not complete; resume it with: mnas train --resume cut\n"
    for command in (["show", "images"], ["export", "images", "--format", "onnx"], ["compare", "images", TRAINED]):
        assert "images: the folder holds no spec; expected the folder of a training or of a search" in refused(
            capsys, *command
        )


@pytest.mark.usefixtures("here")
def test_the_hint_after_a_training_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    folder = "other runs/it's new"
    assert main(["train", TRAINED, "--data", "images", *SHORT, "--out", folder]) == 0
    (hint,) = re.findall(r"^Next: mnas (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert shlex.split(hint) == ["evaluate", folder]
    assert main(shlex.split(hint)) == 0
