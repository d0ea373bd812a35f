"""Weights of a smaller network in a larger one: the same function, where that can be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from baselines import load
from baselines.exchange.weights import NAMINGS, load_smaller, save_weights
from baselines.training.folder import WEIGHTS
from nas.__main__ import main
from scaling import compound_scale, preset
from search_spaces import Architecture, ConvLayer, MBConv, MnasError, Stage
from search_spaces.adaptation import adapted
from search_spaces.architecture import ConvBlock
from search_spaces.network import Network, build_network
from tests.baselines.exchange.test_weights import lived_in
from tests.baselines.training.images import write_folders

B0 = load("efficientnet_b0").architecture
Whole = tuple[int, ...]
SMALL = Architecture(
    resolution=32,
    num_classes=7,
    stem=ConvLayer(8, 3, 2),
    stages=(
        Stage(MBConv(3, 1, 0.25), 8, 1, 1),
        Stage(MBConv(5, 3, 0.25), 12, 2, 2),
        Stage(ConvBlock(3, 0.25), 16, 2, 1),
        Stage(MBConv(3, 4, 0.0), 16, 2, 2),
    ),
    head=ConvLayer(24, 1, 1),
)


def resized(net: Architecture, stem: int, channels: Whole, layers: Whole, head: int) -> Architecture:
    stages = tuple(
        replace(stage, out_channels=wide, num_layers=deep)
        for stage, wide, deep in zip(net.stages, channels, layers, strict=True)
    )
    ends = {"stem": replace(net.stem, out_channels=stem), "head": replace(net.head, out_channels=head)}
    return replace(net, stages=stages, **ends)  # type: ignore[arg-type]


def grown_network(smaller: Architecture, larger: Architecture, file: Path, **options: Any) -> tuple[Network, Network]:
    torch.manual_seed(0)
    small = build_network(smaller)
    lived_in(small)
    save_weights(small, file, options.pop("naming", "mnas"))
    large = build_network(larger)
    load_smaller(large, file, smaller=smaller, tell=lambda line: None, **options)
    return small.eval(), large.eval()


def assert_same_logits(small: nn.Module, large: nn.Module, side: int) -> None:
    images = torch.randn(3, 3, side, side)
    with torch.no_grad():
        expected, found = small(images), large(images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    "larger",
    [
        resized(SMALL, 8, (8, 12, 16, 16), (1, 2, 2, 2), 24),  # the same
        resized(SMALL, 16, (16, 24, 32, 32), (1, 2, 2, 2), 48),  # twice as wide
        resized(SMALL, 11, (11, 19, 23, 17), (1, 2, 2, 2), 31),  # no multiples
        resized(SMALL, 8, (8, 12, 16, 16), (3, 4, 3, 5), 24),  # deeper
        resized(SMALL, 13, (13, 14, 50, 40), (2, 3, 4, 2), 100),  # both
    ],
)
def test_the_function_is_preserved(tmp_path: Path, larger: Architecture) -> None:
    small, large = grown_network(SMALL, larger, tmp_path / "w.safetensors")
    assert_same_logits(small, large, 32)


def test_also_with_the_statistics_of_the_batch(tmp_path: Path) -> None:
    still = replace(SMALL, dropout=0.0, drop_connect=0.0)
    small, large = grown_network(still, resized(still, 11, (11, 19, 23, 17), (2, 3, 3, 4), 31), tmp_path / "w.pth")
    assert_same_logits(small.train(), large.train(), 32)


@pytest.mark.parametrize("activation", ["relu", "relu6", "hard_swish", "gelu", "mish"])
def test_other_activations_and_padding(tmp_path: Path, activation: str) -> None:
    smaller = replace(SMALL, activation=activation, padding="same")
    larger = resized(smaller, 11, (11, 19, 23, 17), (1, 3, 3, 3), 31)
    assert_same_logits(*grown_network(smaller, larger, tmp_path / "w.safetensors"), 32)


@pytest.mark.parametrize("naming", ["mnas", "timm", "torchvision"])
@pytest.mark.parametrize("name", ["b1", "b2"])
def test_the_family(tmp_path: Path, naming: str, name: str) -> None:
    smaller = adapted(B0, 32, 10, 0.5)
    larger = adapted(compound_scale(B0, preset(name)), 32, 10, 0.5)
    small, large = grown_network(smaller, larger, tmp_path / "w.safetensors", naming=naming)
    assert_same_logits(small, large, 32)


def test_copies_of_a_channel_become_different(tmp_path: Path) -> None:
    """Read with equal weights, they would get equal gradients for good."""
    larger = resized(SMALL, 16, (16, 24, 32, 32), (1, 2, 2, 2), 48)
    _, large = grown_network(SMALL, larger, tmp_path / "w.safetensors")
    for _ in range(3):
        large.train()(torch.randn(8, 3, 32, 32)).square().sum().backward()
        with torch.no_grad():
            for weight in large.parameters():
                assert weight.grad is not None
                weight.sub_(1e-2 * weight.grad / (1e-6 + weight.grad.norm()))
    convolution = large.stem[0].weight
    assert not torch.allclose(convolution[:8], convolution[8:], atol=1e-6)


def test_shares_depend_on_the_seed_alone(tmp_path: Path) -> None:
    larger = resized(SMALL, 16, (16, 24, 32, 32), (1, 2, 2, 2), 48)
    one, again, other = (
        grown_network(SMALL, larger, tmp_path / f"{place}.safetensors", seed=seed)[1].state_dict()
        for place, seed in enumerate((1, 1, 2))
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["head.0.weight"], other["head.0.weight"])


@pytest.mark.parametrize(
    ("larger", "message"),
    [
        (resized(SMALL, 4, (8, 12, 16, 16), (1, 2, 2, 2), 24), r"stem.0.weight has shape \(8, 3, 3, 3\), "),
        (resized(SMALL, 8, (8, 12, 16, 16), (1, 1, 2, 2), 24), "stages.1.1.* is not a layer of"),
        (resized(SMALL, 8, (8, 12, 16, 16), (1, 2, 2, 2), 20), "head.0.weight has shape"),
        (replace(SMALL, stages=(Stage(MBConv(5, 1, 0.25), 8, 1, 1), *SMALL.stages[1:])), "depthwise.0.weight has"),
        (replace(SMALL, stages=(*SMALL.stages, SMALL.stages[-1])), "stages.4.0.expand.0.weight is missing"),
        (replace(SMALL, stages=(Stage(MBConv(3, 2, 0.25), 8, 1, 1), *SMALL.stages[1:])), "expand.0.weight is missing"),
    ],
)
def test_what_is_no_smaller_network(tmp_path: Path, larger: Architecture, message: str) -> None:
    with pytest.raises(MnasError, match=f"w.safetensors: .*{message}.*"):
        grown_network(SMALL, larger, tmp_path / "w.safetensors")


def test_namings_that_number_all_blocks_are_refused(tmp_path: Path) -> None:
    assert "lukemelas" in NAMINGS
    larger = compound_scale(B0, preset("b1"))
    with pytest.raises(MnasError, match="named as in one of mnas, timm, torchvision, but got"):
        grown_network(B0, larger, tmp_path / "w.safetensors", naming="lukemelas")


def lines_of(smaller: Architecture, larger: Architecture, file: Path, *, known: bool = True) -> str:
    save_weights(build_network(smaller), file)
    said: list[str] = []
    load_smaller(build_network(larger), file, smaller=smaller if known else None, tell=said.append)
    return " ".join(said)


def test_what_is_said(tmp_path: Path) -> None:
    plain = resized(SMALL, 16, (16, 24, 32, 32), (2, 3, 2, 2), 48)
    assert "2 blocks added: same outputs" in lines_of(SMALL, plain, tmp_path / "a.safetensors")
    larger = replace(plain, resolution=64, activation="relu")
    said = lines_of(SMALL, larger, tmp_path / "b.safetensors")
    assert "not quite the smaller network's (resolution 64, before 32, activation relu, before swish)" in said
    assert "which weights do not show" in lines_of(SMALL, plain, tmp_path / "c.safetensors", known=False)
    wider = resized(SMALL, 16, (24, 24, 32, 32), (1, 2, 2, 2), 48)
    assert "(stages.0.0 has a skip only in the smaller one)" in lines_of(SMALL, wider, tmp_path / "e.safetensors")
    bare = replace(SMALL, stages=(*SMALL.stages[:3], replace(SMALL.stages[3], block=MBConv(3, 4, 0.0, "none"))))
    said = lines_of(bare, resized(bare, 8, (8, 12, 16, 16), (1, 2, 2, 3), 24), tmp_path / "d.safetensors")
    assert "stages.3.2 has no identity skip" in said


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From the folder of a training with the same classes, a larger network starts with its accuracy."""
    pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    images = str(write_folders(tmp_path / "images", count=30))
    command = ["--data", images, "--recipe", "proxy", "--batch", "16", "--width", "0.25", "--json", "--no-flip"]
    assert main(["train", "efficientnet_b0", *command, "--epochs", "3", "--out", "small"]) == 0
    small = json.loads(capsys.readouterr().out)
    larger = ["train", "efficientnet_b1", *command, "--epochs", "1"]
    assert main([*larger, "--weights", "small", "--out", "refused"]) == 2
    assert "--from-smaller" in capsys.readouterr().err
    assert main([*larger, "--from-smaller", "--out", "refused"]) == 2
    assert "from_smaller: there are no weights of a smaller network; use --weights FILE" in capsys.readouterr().err
    assert not Path("refused").exists()
    still = ["--weights", "small", "--from-smaller", "--learning-rate", "1e-12", "--freeze-epochs", "1"]
    assert main([*larger, *still, "--out", "large"]) == 0
    printed = capsys.readouterr()
    assert "7 blocks added: same outputs" in printed.err
    assert json.loads(printed.out)["val"]["confusion"] == small["val"]["confusion"]
    assert main(["train", "efficientnet_b0", *command, "--epochs", "1", "--weights", "large", "--from-smaller"]) == 2
    assert f"{WEIGHTS}: stages" in capsys.readouterr().err
