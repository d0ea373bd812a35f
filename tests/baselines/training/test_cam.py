"""Class activation maps against the logits that they must add up to, and against captum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from baselines import load
from baselines.training.augment import normalised
from baselines.training.cam import CELL, FONT, GAP, LINE, Column, cam_grid, class_maps, overlaid
from nas.__main__ import main
from search_spaces import MnasError
from search_spaces.adaptation import adapted
from search_spaces.network import Network, build_network
from tests.baselines.training.images import COLOURS, pixels, write_folders


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    made = build_network(adapted(load("efficientnet_b0").architecture, 96, 3, width=0.25))
    made.eval()
    return made


@pytest.fixture(scope="module")
def inputs() -> torch.Tensor:
    return normalised(torch.from_numpy(pixels("red", 4, 96)))


def test_a_map_averages_to_its_logit(network: Network, inputs: torch.Tensor) -> None:
    """The average of a map is the logit without bias, since the classifier and the pooling before it are linear."""
    classes = torch.tensor([0, 1, 2, 1])
    maps = class_maps(network, inputs, classes)
    assert maps.shape == (4, 3, 3)
    with torch.inference_mode():
        logits = network(inputs).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(maps.mean((1, 2)) + network.classifier.bias[classes].detach(), logits)


def test_grad_cam_equals_cam_where_it_is_positive(network: Network, inputs: torch.Tensor) -> None:
    """With pooling and a linear layer at the end, the gradient is the weight over the number of positions."""
    pytest.importorskip("captum", reason="captum is not installed; pip install 'mnas[train]'")
    classes = torch.tensor([0, 1, 2, 1])
    expected = class_maps(network, inputs, classes).relu() / 9
    torch.testing.assert_close(class_maps(network, inputs, classes, "grad-cam"), expected)


def test_an_overlay_is_dark_at_the_minimum_and_bright_at_the_maximum() -> None:
    grey = np.full((90, 90, 3), 100, dtype=np.uint8)
    heat = np.zeros((3, 3), dtype=np.float32)
    heat[0, 0] = 5
    found = overlaid(grey, heat)
    assert found[0, 0].tolist() == [176, 178, 132]  # half of (252, 255, 164)
    assert found[-1, -1].tolist() == [50, 50, 52]
    assert (overlaid(grey, np.ones((3, 3), dtype=np.float32)) == [50, 50, 52]).all()


def test_a_grid_has_a_row_per_image_and_a_column_per_network(network: Network, tmp_path: Path) -> None:
    files = []
    for number, label in enumerate(COLOURS):
        files.append(tmp_path / f"{label}.png")
        Image.fromarray(pixels(label, 1, 100 + 20 * number)[0]).save(files[-1])
    columns = [Column(name, network, list(COLOURS)) for name in ("a", "b")]
    grid = cam_grid(columns, files)
    assert grid.size[0] > 3 * CELL
    assert grid.size[1] > 3 * CELL
    assert cam_grid(columns, files, of_class="green").size == grid.size
    with pytest.raises(MnasError, match="unknown class of a 'grean'; did you mean 'green'"):
        cam_grid(columns, files, of_class="grean")
    (tmp_path / "none.png").write_bytes(b"no image")
    with pytest.raises(MnasError, match=r"images: .*none\.png cannot be read"):
        cam_grid(columns, [tmp_path / "none.png"])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    images = write_folders(tmp_path / "images", count=20)
    options = ("--recipe", "proxy", "--epochs", "1", "--batch", "16", "--width", "0.1", "--out", "t")
    assert main(["train", "efficientnet_b0", "--data", str(images), *options]) == 0
    files = [str(images / label / "000.png") for label in COLOURS]
    assert main(["cam", "t", "t", "--images", *files, "--out", "cam.png"]) == 0
    with Image.open("cam.png") as picture:
        assert picture.size[0] > 3 * CELL
    capsys.readouterr()
    for arguments, message in (
        (["--out", "cam.png"], "already exists"),
        (["--out", "cam.txt"], "expected a file that ends in .png"),
        (["--out", "x.png", "--method", "smooth"], "unknown method 'smooth'"),
    ):
        assert main(["cam", "t", "--images", *files, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert main(["cam", "images", "--images", *files, "--out", "x.png"]) == 2
    assert "holds no training" in capsys.readouterr().err


def test_a_column_is_as_wide_as_its_name(network: Network, tmp_path: Path) -> None:
    """No text reaches the next column: the gap before each map is white in all rows, and no name is cut."""
    file = tmp_path / "one.png"
    Image.fromarray(pixels("red", 1, 100)[0]).save(file)
    names = ["d", "efficientnet_b0_efficientnet_macs2x", "W" * 40, "w"]
    grid = np.asarray(cam_grid([Column(name, network, list(COLOURS)) for name in names], [file]))
    font = ImageFont.load_default(FONT)
    left = GAP
    for name in ("original", *names):
        width = max(CELL, int(font.getbbox(name)[2]))
        heading = grid[GAP : GAP + LINE, left : left + width]
        assert (heading != 255).any(axis=(0, 2)).nonzero()[0].max() >= font.getbbox(name)[2] - 2, name
        assert (grid[GAP + LINE : GAP + LINE + CELL, left : left + CELL] != 255).any()
        left += width
        assert (grid[:, left : left + GAP] == 255).all()
        left += GAP
    assert left == grid.shape[1]
