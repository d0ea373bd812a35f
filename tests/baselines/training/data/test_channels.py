"""Images and networks of other channels than three: read, counted, trained, evaluated, exported."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from baselines import load
from baselines.counts import count_with_torch
from baselines.exchange.formats import export_architecture, import_architecture
from baselines.exchange.weights import load_weights, save_weights
from baselines.training.augment import channel_constants, normalised
from baselines.training.data.decoding import decode, with_channels
from baselines.training.data.sources import load_data
from baselines.training.folder import SETTINGS, WEIGHTS, read_training
from nas.__main__ import main
from scaling import compound_scale, preset
from scaling.lattice import Lattice
from scaling.rules import RULES
from search_spaces import FieldError, MnasError, architecture_cost, architecture_from_dict, architecture_to_dict, digest
from search_spaces.adaptation import adapted
from search_spaces.memory import network_memory
from search_spaces.network import build_network
from tests.baselines.training.images import write_folders

B0 = load("efficientnet_b0").architecture
CHANNELS = (1, 2, 4, 6, 13)


def seen(channels: int) -> Any:
    return replace(B0, in_channels=channels)


@pytest.mark.parametrize("channels", CHANNELS)
def test_cost_is_torchs_count(channels: int) -> None:
    net = seen(channels)
    network = build_network(net)
    assert architecture_cost(net).params == sum(weight.numel() for weight in network.parameters())
    assert 2 * architecture_cost(net).macs == count_with_torch(net).total
    assert architecture_cost(net).macs - architecture_cost(B0).macs == (channels - 3) * 9 * 32 * 112**2
    assert network_memory(net).training - network_memory(B0).training == (channels - 3) * 224**2


@pytest.mark.parametrize("channels", CHANNELS)
def test_scaling_counts_them(channels: int) -> None:
    larger = compound_scale(seen(channels), preset("b2"))
    assert larger.in_channels == channels
    lattice = Lattice(seen(channels), RULES["efficientnet"])
    assert lattice.cost(preset("b2"), "macs") == architecture_cost(larger).macs
    assert lattice.cost(preset("b2"), "params") == architecture_cost(larger).params


@pytest.mark.parametrize("channels", CHANNELS)
def test_documents(channels: int) -> None:
    document = architecture_to_dict(seen(channels))
    assert document["in_channels"] == channels
    assert architecture_from_dict(document) == seen(channels)
    assert digest(seen(channels)) != digest(B0)
    timm = export_architecture(seen(channels), "timm")
    assert timm["in_chans"] == channels
    assert import_architecture(timm, "timm") == seen(channels)
    for name in ("tf", "torchvision"):
        with pytest.raises(
            FieldError, match=f"in_channels: the format {name} cannot express {channels} input channels"
        ):
            export_architecture(seen(channels), name)


def test_three_are_not_written() -> None:
    assert "in_channels" not in architecture_to_dict(B0)
    assert "in_chans" not in export_architecture(B0, "timm")
    assert architecture_from_dict({**architecture_to_dict(B0), "in_channels": 3}) == B0


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "RGB", 5000])
def test_what_is_no_number_of_channels(value: Any) -> None:
    with pytest.raises(FieldError, match="in_channels"):
        replace(B0, in_channels=value)


def save(file: Path, mode: str, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    depth = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}
    Image.fromarray(rng.integers(0, 256, (9, 7, *depth[mode]), dtype=np.uint8), mode).save(file)
    return file


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_decoding_is_pillows(tmp_path: Path, mode: str, channels: int) -> None:
    file = save(tmp_path / "image.png", mode)
    expected = np.asarray(Image.open(file).convert({1: "L", 3: "RGB", 4: "RGBA"}[channels]))
    found = decode(file, channels=channels)
    assert found.shape == (9, 7, channels)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_arrays_become_what_files_would() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
    for images, mode in ((colours, "RGB"), (grey, "L")):
        for channels, other in ((1, "L"), (3, "RGB"), (4, "RGBA")):
            found = with_channels(images, channels)
            for one, given in zip(found, images, strict=True):
                expected = np.asarray(Image.fromarray(given.squeeze(), mode).convert(other))
                np.testing.assert_array_equal(one.reshape(expected.shape), expected)


def test_constants() -> None:
    white = torch.full((1, 2, 2, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close(normalised(white)[0, 0, 0, 0], torch.tensor((1 - 0.449) / 0.226), rtol=1e-5, atol=0)
    alpha = normalised(torch.tensor([0, 0, 0, 255, 0, 0, 0, 0], dtype=torch.uint8).reshape(1, 1, 2, 4))[0, 3, 0]
    assert alpha.tolist() == pytest.approx([1.0, -1.0])
    for channels in (1, 3, 4):
        assert [len(values) for values in channel_constants(channels)] == [channels, channels]


def timms_rule(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """As in its documentation: summed for one channel, otherwise repeated and scaled by 3 over the channels."""
    if channels == 1:
        return weight[:, 0:1] + weight[:, 1:2] + weight[:, 2:3]
    return torch.cat([weight] * 5, 1)[:, :channels] * 3 / channels


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.usefixtures("torchvision")
def test_weights_for_rgb_are_adapted(tmp_path: Path, channels: int) -> None:
    small = adapted(B0, 32, 10, 0.25)
    rgb, other = build_network(small), build_network(replace(small, in_channels=channels))
    save_weights(rgb, tmp_path / "rgb.safetensors", "timm")
    said: list[str] = []
    load_weights(other, tmp_path / "rgb.safetensors", tell=said.append)
    expected = timms_rule(rgb.stem[0].weight, channels)
    torch.testing.assert_close(other.stem[0].weight, expected)
    timm = pytest.importorskip("timm.models")
    torch.testing.assert_close(other.stem[0].weight, timm.adapt_input_conv(channels, rgb.stem[0].weight.detach()))
    assert any("the stem's weights for RGB are" in line for line in said)
    save_weights(other, tmp_path / "other.safetensors")
    with pytest.raises(MnasError, match=r"stem.0.weight has shape .*the network's is"):
        load_weights(build_network(small), tmp_path / "other.safetensors", tell=said.append)


def test_grey_images_get_the_same_logits_from_a_sum(tmp_path: Path) -> None:
    """Without normalisation, a grey network with summed weights is the RGB network on a tripled image."""
    small = adapted(B0, 32, 10, 0.25)
    rgb, grey = build_network(small).eval(), build_network(replace(small, in_channels=1)).eval()
    save_weights(rgb, tmp_path / "rgb.safetensors")
    load_weights(grey, tmp_path / "rgb.safetensors", tell=lambda line: None)
    image = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(image), rgb(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_idx(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 160), ("t10k", 20)):
        labels = np.arange(count, dtype=np.uint8) % 2
        images = (rng.integers(0, 100, (count, 12, 12)) + 100 * labels[:, None, None]).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return folder


def write_alpha(folder: Path, side: int = 16) -> Path:
    """Two classes that differ in alpha alone."""
    rng = np.random.default_rng(0)
    for name, alpha in (("clear", 40), ("solid", 220)):
        (folder / name).mkdir(parents=True)
        for number in range(40):
            image = rng.integers(0, 256, (side, side, 4), dtype=np.uint8)
            image[..., 3] = alpha
            Image.fromarray(image, "RGBA").save(folder / name / f"{number}.png")
    return folder


def write_large(folder: Path) -> Path:
    """Images that are read from their files, of several sizes."""
    write_folders(folder, count=15, side=20)
    Image.new("L", (200, 140), 90).save(folder / "red" / "large.png")
    return folder


@pytest.mark.parametrize(
    ("write", "channels"),
    [
        *((write_idx, 1), (write_folders, 1), (write_alpha, 4)),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((write_idx, 4), (write_large, 1), (write_large, 4))),
    ],
)
def test_a_training(
    place: Path, capsys: pytest.CaptureFixture[str], write: Callable[[Path], Path], channels: int
) -> None:
    """It is trained with these images, and evaluation, export, maps and resuming know them."""
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    images = str(write(place / "images"))
    data = load_data(images, channels=channels)
    assert data.channels == channels
    command = ["train", "efficientnet_b0", "--data", images, "--channels", str(channels), "--resolution", "16"]
    options = ["--recipe", "proxy", "--epochs", "1", "--batch", "16", "--width", "0.25", "--fit", "pad"]
    assert main([*command, *options, "--plan"]) == 0
    assert f"read with {channels} channel" in " ".join(capsys.readouterr().out.split())
    assert main([*command, *options, "--out", "t", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert trained["data"]["channels"] == channels
    subject, settings = read_training(Path("t"))
    assert settings.channels == subject.architecture.in_channels == channels  # type: ignore[union-attr]
    for more in ((), ("--data", images)):
        assert main(["evaluate", "t", "--part", "val", "--json", *more]) == 0
        assert json.loads(capsys.readouterr().out)["confusion"] == trained["val"]["confusion"]
    assert main(["show", "t"]) == 0
    assert f"Input:  {channels} channel" in capsys.readouterr().out
    if write is not write_idx:
        picture = next(Path(images).rglob("*.png"))
        assert main(["cam", "t", "--images", str(picture), "--out", "cam.png"]) == 0
    capsys.readouterr()
    assert main([*command[:4], *options, "--weights", "t", "--out", "u", "--json"]) == 2  # three again
    assert f"{WEIGHTS}: stem.0.weight has shape" in capsys.readouterr().err


def test_alpha_is_not_seen_without_a_channel(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    images = str(write_alpha(place / "images"))
    command = ["train", "efficientnet_b0", "--data", images, "--recipe", "proxy", "--epochs", "3", "--batch", "16"]
    assert main([*command, "--width", "0.25", "--out", "t", "--json"]) == 0
    capsys.readouterr()
    stored = json.loads(Path("t", SETTINGS).read_text())
    assert stored.pop("channels") == 3
    Path("t", SETTINGS).write_text(json.dumps(stored))  # as of an earlier version
    assert read_training(Path("t"))[1].channels == 3


@pytest.mark.parametrize("channels", ["0", "2", "5", "-1"])
def test_channels_that_images_do_not_have(place: Path, capsys: pytest.CaptureFixture[str], channels: str) -> None:
    images = str(write_folders(place / "images"))
    assert main(["train", "efficientnet_b0", "--data", images, "--channels", channels, "--out", "t"]) == 2
    assert f"channels: {channels}: images are read with 1 channel (grey), 3 (RGB) or 4" in capsys.readouterr().err
    assert not Path("t").exists()


def test_augmentation_of_colours_needs_colours(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = str(write_folders(place / "images"))
    assert main(["train", "efficientnet_b0", "--data", images, "--channels", "1", "--recipe", "paper"]) == 2
    assert "augmentation: autoaugment changes colours, so it needs 3 channels, not 1" in capsys.readouterr().err


def test_studies_and_searches(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    images = str(write_folders(place / "images", count=30))
    options = ["--recipe", "proxy", "--epochs", "1", "--width", "0.25", "--channels", "1", "--resolution", "16"]
    compare = ["compare", "efficientnet_b0", "mnasnet_b1", "--train", "--data", images, "--seeds", "1"]
    assert main([*compare, *options, "--batch", "16", "--out", "c", "--json"]) == 0
    assert read_training(Path("c", "efficientnet_b0-seed0"))[1].channels == 1
    search = ["search", "--evaluator", "train", "--data", images, "--trials", "2", "--controller", "random"]
    assert main([*search, *options, "--out", "s"]) == 0
    capsys.readouterr()
    assert main(["report", "s", "--json"]) == 0
    assert "channels=1" in capsys.readouterr().out
