"""Exported files are checked, and no file is left if the check fails."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from baselines import load
from baselines.exchange.runtimes import export_onnx, export_program
from search_spaces import MnasError
from search_spaces.network import build_network

WRITERS = [(export_onnx, "net.onnx"), (export_program, "net.pt2")]


class Small(nn.Module):
    """A tiny network: three channels in, four logits out."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        nn.init.constant_(self.linear.weight, weight)
        nn.init.constant_(self.linear.bias, weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.linear(images.mean((2, 3)))
        return result


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_logits_that_are_all_zero_pass(tmp_path: Path, write: Any, name: str) -> None:
    assert write(Small(0), 8, tmp_path / name) == 0
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_different_logits_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, name: str) -> None:
    monkeypatch.setattr("baselines.exchange.runtimes.TOLERANCE", -1.0)
    with pytest.raises(MnasError, match=r"logits differ .*; nothing was written"):
        write(Small(1), 8, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_paths_that_cannot_be_written(tmp_path: Path, write: Any, name: str) -> None:
    with pytest.raises(MnasError, match="expected a file that ends in"):
        write(Small(1), 8, tmp_path / "net")
    with pytest.raises(MnasError, match="cannot be written"):
        write(Small(1), 8, tmp_path / "absent" / name)
    (tmp_path / name).write_text("mine")
    with pytest.raises(MnasError, match="already exists"):
        write(Small(1), 8, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_weights_in_a_second_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of more than 1.5 GB need a second file, without which the first is useless."""
    from torch.onnx._internal.exporter import _onnx_program

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 1000)
    network = build_network(replace(load("mnasnet_small").architecture, resolution=64))
    with pytest.raises(MnasError, match=r"net.onnx would need a second file \(net.onnx.data\)"):
        export_onnx(network, 64, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_libraries_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MnasError, match=r"^onnx: onnxruntime is not installed; install it with: .* -m pip install .*onnxruntime"
    ):
        export_onnx(Small(1), 8, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
