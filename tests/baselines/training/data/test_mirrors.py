"""Classes that left and right tell apart are found, and others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from baselines.registry import load
from baselines.training.data.mirrors import flip_lines, mirrored_classes
from baselines.training.data.sources import Part, load_data
from baselines.training.launch import planned
from baselines.training.settings import TrainingOptions
from nas.evaluators.proxy_training import ProxyOptions, ProxyTraining, evaluator_of, proxy_of
from tests.baselines.training.images import write_folders


def arrow(rng: np.random.Generator, *, right: bool, turned: bool) -> Image.Image:
    image = Image.new("RGB", (32, 32), tuple(int(value) for value in rng.integers(0, 90, 3)))
    pen, (x, y) = ImageDraw.Draw(image), (int(value) for value in rng.integers(-3, 4, 2))
    colour = tuple(int(value) for value in rng.integers(160, 255, 3))
    pen.rectangle((6 + x, 14 + y, 18 + x, 18 + y), fill=colour)
    pen.polygon([(18 + x, 8 + y), (18 + x, 24 + y), (27 + x, 16 + y)], fill=colour)
    image = image if right else image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Image.Transpose.ROTATE_90) if turned else image


def part_of(images: list[list[Image.Image]]) -> Part:
    pixels = np.stack([np.asarray(image) for kind in images for image in kind])
    return Part(pixels, np.repeat(np.arange(len(images)), [len(kind) for kind in images]))


@pytest.mark.parametrize("count", [20, 40])
def test_arrows_that_point_left_and_right(count: int) -> None:
    rng = np.random.default_rng(0)
    kinds = [(True, False), (True, True), (False, False), (False, True)]
    part = part_of([[arrow(rng, right=right, turned=turned) for _ in range(count)] for right, turned in kinds])
    assert mirrored_classes(part, 4) == [(0, 2)]


@pytest.mark.parametrize("seed", range(10))
def test_noise_and_classes_without_a_side_are_no_mirror_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 255, (80, 20, 20, 3), dtype=np.uint8)
    assert mirrored_classes(Part(noise, np.arange(80) % 8), 8) == []
    assert mirrored_classes(Part(noise[:6], np.array([0, 0, 0, 1, 1, 1])), 2) == []
    symmetric = np.concatenate([noise, noise[:, :, ::-1]], axis=2)
    assert mirrored_classes(Part(symmetric, np.arange(80) % 4), 4) == []


def test_a_training_says_so_and_takes_no_flip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name, right in (("left", False), ("right", True)):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for number in range(30):
            arrow(rng, right=right, turned=False).save(tmp_path / "signs" / name / f"{number}.png")
    data = load_data(str(tmp_path / "signs"))
    options = TrainingOptions(recipe="proxy", width=0.1)
    (line,) = flip_lines(data, options.chosen_recipe())
    assert line.startswith("Note: left and right look like each other's mirror images")
    assert line.endswith("add --no-flip.")
    chosen = TrainingOptions(recipe="proxy", no_flip=True)
    assert flip_lines(data, chosen.chosen_recipe()) == []
    assert not chosen.chosen_recipe().flip
    proxy = ProxyTraining(proxy_of(f"train:{tmp_path / 'signs'}?no_flip=True"))
    assert not proxy.recipe.flip
    assert proxy.name.endswith("?no_flip=True")
    # So does a search over trainings.
    capsys.readouterr()
    evaluator_of(str(tmp_path / "signs"), ProxyOptions())
    assert capsys.readouterr().err.count("look like each other's mirror images") == 1
    evaluator_of(str(tmp_path / "signs"), ProxyOptions(no_flip=True))
    assert capsys.readouterr().err == ""
    others = load_data(str(write_folders(tmp_path / "colours")))
    assert flip_lines(others, options.chosen_recipe()) == []


def test_digits_are_never_flipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("digits", "Fashion-MNIST"):
        (tmp_path / name).mkdir()
        rng = np.random.default_rng(0)
        for part in ("train", "t10k"):
            images = rng.integers(0, 255, (60, 16, 16), dtype=np.uint8)
            header = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in images.shape)
            (tmp_path / name / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
            labels = np.arange(60, dtype=np.uint8) % 10
            (tmp_path / name / f"{part}-labels-idx1-ubyte").write_bytes(
                b"\0\0\x08\x01" + (60).to_bytes(4, "big") + labels.tobytes()
            )
        data = load_data(str(tmp_path / name))
        _, settings, _ = planned(load("efficientnet_b0"), data, TrainingOptions(recipe="proxy", width=0.1, batch=16))
        assert settings.recipe.flip is (name != "digits")
        assert bool(flip_lines(data, settings.recipe)) is (name == "digits")
