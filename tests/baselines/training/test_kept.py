"""What a training keeps of its circumstances: how its images become square, and with how many threads it computes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from baselines import load
from baselines.training import checkpoint
from baselines.training.cam import CELL, GAP, LINE, Column, cam_grid
from baselines.training.data.sources import load_data
from baselines.training.folder import HISTORY, SETTINGS, WEIGHTS, create_training, read_training
from baselines.training.launch import planned, run_training
from baselines.training.loop import Progress, train
from baselines.training.settings import TrainingOptions
from nas.__main__ import main
from nas.evaluators.proxy_training import ProxyOptions, ProxyTraining, evaluator_of, proxy_of, with_threads
from nas.studies.trainings import planned_trainings
from search_spaces.adaptation import adapted
from search_spaces.network import build_network
from tests.baselines.training.images import write_folders
from tests.processes import environment

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

OPTIONS = ("--recipe", "proxy", "--epochs", "2", "--batch", "16", "--width", "0.25")
SHORT = TrainingOptions(recipe="proxy", epochs=2, batch=16, width=0.25)


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def wide_folders(root: Path, count: int = 20, shape: tuple[int, int] = (64, 16), marked: int = 12) -> Path:
    """Two classes that a mark at either end tells apart, so that the middle square is the same."""
    for number, label in enumerate(("blue", "red")):
        (root / label).mkdir(parents=True)
        for index in range(count):
            rng = np.random.default_rng((number, index))
            image = rng.integers(60, 190, (min(shape), max(shape), 3)).astype(np.uint8)
            start = int(rng.integers(0, 3)) if rng.random() < 0.5 else max(shape) - marked - int(rng.integers(0, 3))
            image[4:12, start : start + marked] = ((0, 0, 255), (255, 0, 0))[number]
            image = image if shape[0] > shape[1] else image.transpose(1, 0, 2)
            Image.fromarray(image).save(root / label / f"{index}.png")
    return root


def idx_files(root: Path, shape: tuple[int, int] = (64, 16), count: int = 40) -> str:
    """IDX files of two classes, which are read without other processes; a mark at one end tells them apart."""
    root.mkdir(exist_ok=True)
    width, height = shape
    rng = np.random.default_rng(0)
    labels = (np.arange(count) % 2).astype(np.uint8)
    images = rng.integers(60, 190, (count, height, width)).astype(np.uint8)
    lines = images if height > width else images.transpose(0, 2, 1)
    for label, image in zip(labels, lines, strict=True):
        start = int(rng.integers(0, 8))
        image[start : start + 12, 3:13] = 255 * label
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        header = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        (root / f"train-{name}-ubyte").write_bytes(header + values.tobytes())
        if count < 400:
            (root / f"t10k-{name}-ubyte").write_bytes(header + values.tobytes())
    return str(root)


def weights_in(folder: str | Path) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in load_file(Path(folder, WEIGHTS)).items()}


# --- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow), 5])
def test_the_number_of_threads_is_that_of_the_training(threads: int) -> None:
    """Whatever torch would use here, and however many cores there are."""
    data = load_data(str(write_folders(Path("images"), count=40)))
    network = adapted(load("mnasnet_small").architecture, 16, 3, width=0.25)
    recipe = SHORT.chosen_recipe()
    found = []
    for here in (1, 3):
        torch.set_num_threads(here)
        seen: set[int] = set()
        kept = train(network, data, recipe, threads=threads, watch=lambda _, to=seen: to.add(torch.get_num_threads()))  # type: ignore[misc]
        assert seen == {threads}
        assert torch.get_num_threads() == here
        found.append({name: value.numpy().tobytes() for name, value in kept.network.state_dict().items()})
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_training_goes_on_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun with two, interrupted, and resumed where torch would use one; and in one with a single core."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)
    data, subject = load_data(str(write_folders(Path("images"), count=40))), load("mnasnet_small")
    torch.set_num_threads(2)
    made, settings, _ = planned(subject, data, SHORT)
    assert settings.threads == 2

    def killed(progress: Progress) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    for name in ("whole", "cut", "elsewhere", "single"):
        create_training(Path(name), made, replace(settings, threads=1 if name == "single" else 2))
    for name in ("cut", "elsewhere"):
        with pytest.raises(KeyboardInterrupt):
            run_training(Path(name), killed)
    torch.set_num_threads(1)
    for name in ("whole", "cut", "single"):
        run_training(Path(name), lambda _: None)
    command = [sys.executable, "-m", "nas", "train", "--resume", "elsewhere"]
    result = subprocess.run(
        command,
        env={**environment(), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Note: it goes on with 2 threads, as it began, and not 1 as here" in result.stdout
    assert ", 2 threads, into elsewhere" in result.stdout.replace("\n", " ")
    assert weights_in("whole") == weights_in("cut") == weights_in("elsewhere")
    # If these were the same, this test would show nothing.
    assert weights_in("single") != weights_in("whole")


@pytest.mark.slow
def test_devices_share_the_threads() -> None:
    data, subject = load_data(str(write_folders(Path("images"), count=20))), load("mnasnet_small")
    torch.set_num_threads(4)
    made, settings, _ = planned(subject, data, replace(SHORT, devices=2, epochs=1))
    for name, here in (("a", 4), ("b", 1)):
        torch.set_num_threads(here)
        create_training(Path(name), made, settings)
        run_training(Path(name), lambda _: None)
    assert weights_in("a") == weights_in("b")


def test_trainings_of_a_study_have_the_threads_of_their_workers() -> None:
    data, subjects = load_data(str(write_folders(Path("images"), count=20))), [load("mnasnet_small")]
    torch.set_num_threads(2)
    for execution, expected in (
        ({}, 2),
        ({"executor": "processes"}, 1),
        ({"workers": 2}, max(1, (os.cpu_count() or 1) // 2)),
        ({"workers": 2, "cores": 3}, 3),
        ({"executor": "processes", "cores": 4}, 4),
    ):
        ((_, settings),) = planned_trainings(subjects, data, SHORT, execution)
        assert settings.threads == expected, execution


@pytest.mark.slow
def test_a_comparison_does_the_same_whatever_its_workers_have() -> None:
    images = str(write_folders(Path("images"), count=30))
    options = ("--data", images, *OPTIONS, "--seeds", "1", "--resolution", "16")
    compare = ("compare", "--train", "mnasnet_small", "efficientnet_b0", *options, "--json")
    assert main([*compare, "--workers", "2", "--cores", "2", "--out", "c"]) == 0
    for folder in ("mnasnet_small-seed0", "efficientnet_b0-seed0"):
        _, settings = read_training(Path("c", folder))
        assert settings.threads == 2
        torch.set_num_threads(1)
        subject, _ = read_training(Path("c", folder))
        create_training(Path("again", folder), subject, settings)
        run_training(Path("again", folder), lambda _: None)
        assert weights_in(Path("again", folder)) == weights_in(Path("c", folder))


@pytest.mark.slow
def test_a_search_keeps_the_threads_of_its_trainings(capsys: pytest.CaptureFixture[str]) -> None:
    images = str(write_folders(Path("images"), count=20))
    torch.set_num_threads(3)
    proxy = ("--evaluator", "train", "--data", images, "--epochs", "1", "--width", "0.1", "--controller", "random")
    for execution, threads in (((), 3), (("--executor", "processes", "--cores", "2"), 2)):
        out = f"run{threads}"
        assert main(["search", *proxy, "--trials", "2", *execution, "--out", out, "--json"]) == 0
        name = json.loads(capsys.readouterr().out)["settings"]["evaluator"]
        assert proxy_of(name).threads == threads
        torch.set_num_threads(1)
        assert main(["search", "--resume", out, "--trials", "3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["settings"]["evaluator"] == name
        torch.set_num_threads(3)
    earlier = "train:images?epochs=1&fingerprint=0"
    assert proxy_of(earlier).threads == 0
    assert with_threads(with_threads(earlier, 2), 5) == f"{earlier}&threads=2"


# --- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_says_and_keeps_its_fit(capsys: pytest.CaptureFixture[str]) -> None:
    images = str(wide_folders(Path("images")))
    command = ("train", "mnasnet_small", "--data", images, *OPTIONS, "--epochs", "1", "--resolution", "32")
    line = "Fit: squash, since of 40 of 40 images the middle square is half or less, and their shapes are alike"
    assert main([*command, "--plan"]) == 0
    assert line in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--plan", "--json", "--fit", "pad"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["fit"] == "pad"
    assert main([*command, "--fit", "sqash"]) == 2
    assert "fit: unknown fit 'sqash'; did you mean 'squash'" in capsys.readouterr().err
    assert main([*command, "--out", "t"]) == 0
    assert line in " ".join(capsys.readouterr().out.split())
    assert read_training(Path("t"))[1].fit == "squash"
    # Images of another shape are treated as those of the training.
    tall = str(wide_folders(Path("tall"), shape=(16, 64)))
    for options in ((), ("--data", tall)):
        assert main(["evaluate", "t", *options]) == 0
        assert "Fit: squash: whole images are squashed to squares." in " ".join(capsys.readouterr().out.split())
    assert main(["train", "--resume", "t", "--fit", "pad"]) == 2
    assert "fit: --fit cannot be combined with --resume" in capsys.readouterr().err


def test_an_earlier_training_was_cropped_and_had_any_threads(capsys: pytest.CaptureFixture[str]) -> None:
    images = idx_files(Path("images"))
    command = ("train", "mnasnet_small", "--data", images, *OPTIONS, "--resolution", "32", "--fit", "crop")
    assert main([*command, "--out", "now", "--json"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "now", "--json"]) == 0
    now = json.loads(capsys.readouterr().out)
    Path("now").rename("earlier")
    fields = json.loads(Path("earlier", SETTINGS).read_text())
    assert (fields.pop("fit"), fields.pop("threads")) == ("crop", torch.get_num_threads())
    Path("earlier", SETTINGS).write_text(json.dumps(fields))
    _, settings = read_training(Path("earlier"))
    assert (settings.fit, settings.threads) == ("crop", 0)
    assert main(["evaluate", "earlier", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == now
    for name in (WEIGHTS, HISTORY):  # gone on with, from its beginning
        Path("earlier", name).unlink()
    assert main(["train", "--resume", "earlier", "--json"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "earlier", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == now


def test_a_comparison_has_one_fit(capsys: pytest.CaptureFixture[str]) -> None:
    images = idx_files(Path("images"))
    options = ("--data", images, *OPTIONS, "--seeds", "1", "--resolution", "32", "--fit", "pad")
    assert main(["compare", "--train", "mnasnet_small", "efficientnet_b0", *options, "--out", "c"]) == 0
    assert "Fit: pad" in " ".join("".join(capsys.readouterr()).split())
    assert {read_training(folder)[1].fit for folder in Path("c").iterdir() if folder.is_dir()} == {"pad"}


def test_the_evaluator_of_a_search_keeps_the_fit() -> None:
    images = str(wide_folders(Path("images")))
    found = evaluator_of(images, ProxyOptions())
    assert "fit=squash" in found.name
    assert "squashed to squares" in found.meaning
    assert ProxyTraining(proxy_of(found.name)).data.fit == "squash"
    assert evaluator_of(images, ProxyOptions(fit="pad")).data.train.fit == "pad"
    # Names of earlier versions have no fit.
    cropped = evaluator_of(images, ProxyOptions(fit="crop"))
    assert "fit" not in re.findall(r"(\w+)=", cropped.name)
    assert cropped.data.fit == "crop"
    squares = evaluator_of(str(write_folders(Path("squares"))), ProxyOptions())
    assert "fit=" not in squares.name


@pytest.mark.parametrize("shape", [(400, 100), (100, 400)])
def test_maps_are_drawn_over_the_whole_image(shape: tuple[int, int]) -> None:
    """A network that sees only where red is: the map is bright there, at the end of the image, whatever its fit."""
    network = build_network(adapted(load("efficientnet_b0").architecture, 96, 2, width=0.25)).eval()
    width, height = shape
    image = np.zeros((height, width, 3), dtype=np.uint8)
    (image if height > width else image.transpose(1, 0, 2))[:40] = (255, 0, 0)
    Image.fromarray(image).save("one.png")

    class RedIsBright(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            red = torch.nn.functional.adaptive_avg_pool2d(inputs[:, :1], 12)
            return red.repeat(1, network.classifier.in_features, 1, 1)

    network.stages, network.stem, network.head = torch.nn.ModuleList(), torch.nn.Identity(), RedIsBright()
    network.classifier.weight.data.abs_()
    for fit in ("pad", "squash", "crop"):
        grid = np.asarray(cam_grid([Column("a", network, ["x", "y"], fit)], [Path("one.png")]))
        top, left = GAP + LINE, GAP + CELL + GAP
        cell = grid[top : top + CELL, left : left + CELL].astype(int)
        inside = (cell != 255).any(axis=2)
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        seen = (len(columns), len(rows))
        if fit == "crop":
            assert seen == (CELL, CELL)
            continue
        assert seen == ((CELL, CELL // 4) if width > height else (CELL // 4, CELL))
        shown = cell[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        lines = (shown if height > width else shown.transpose(1, 0, 2)).sum(axis=(1, 2))
        assert lines[: CELL // 12].mean() > 3 * lines[CELL // 3 :].mean()


@pytest.mark.parametrize("fit", [None, *(pytest.param(fit, marks=pytest.mark.slow) for fit in ("pad", "crop"))])
@pytest.mark.parametrize("shape", [(64, 16), (16, 64)])
def test_classes_that_the_ends_tell_apart_are_learned(shape: tuple[int, int], fit: str | None) -> None:
    """IDX files here, which are read without other processes; only where images are cropped, it is left to chance."""
    options = TrainingOptions(recipe="proxy", epochs=8, batch=32, width=0.5, resolution=32, fit=fit)
    data = load_data(idx_files(Path("images"), shape, 400), fit=options.fit)
    made, settings, _ = planned(load("mnasnet_small"), data, options)
    create_training(Path("t"), made, settings)
    curve: list[float] = []
    run_training(Path("t"), lambda progress: curve.append(progress.accuracy or 0.0), data=data)
    assert curve[-1] < 0.8 if fit == "crop" else curve[-1] > 0.95
