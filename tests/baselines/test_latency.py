"""Measurements of latency and memory; no test asserts a time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from baselines import load
from baselines.comparators import PUBLISHED_POINTS, Comparator
from baselines.latency import Protocol, Subject, measure
from baselines.subjects import load_subject
from baselines.views.latency import _against, data
from search_spaces import MnasError
from search_spaces.network import build_network


def subject(name: str, resolution: int = 64) -> Subject:
    architecture = replace(load(name).architecture, resolution=resolution)
    return Subject(name, build_network(architecture), resolution)


class Recorder(nn.Module):
    """Records each run: its input and the number of threads."""

    def __init__(self, name: str, log: list[tuple[str, torch.Size, int]]) -> None:
        super().__init__()
        self.name, self.log = name, log

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.log.append((self.name, images.shape, torch.get_num_threads()))
        return images.mean((2, 3))


def test_rounds_are_interleaved_and_rotate() -> None:
    log: list[tuple[str, torch.Size, int]] = []
    before, rounds = torch.get_num_threads(), []
    subjects = [Subject(name, Recorder(name, log), 32) for name in "abc"]
    timings = measure(subjects, Protocol(runs=3, warmup=1, batch=2), lambda: rounds.append(1))
    order = "".join(name for name, _, _ in log)
    assert order == "abc" + "bca" + "cab" + "abc" + "abc"  # a warm-up, three rounds, and one more for the memory
    assert {(shape, threads) for _, shape, threads in log} == {(torch.Size([2, 3, 32, 32]), 1)}
    assert len(rounds) == 4
    assert torch.get_num_threads() == before
    assert [len(timing.seconds) for timing in timings] == [3, 3, 3]
    assert timings[-1].ratios == (1, 1, 1)
    assert timings[0].ratios == tuple(a / c for a, c in zip(timings[0].seconds, timings[2].seconds, strict=True))
    found = json.loads(json.dumps(data(timings, Protocol(runs=3, warmup=1, batch=2))))
    assert found["reference"] == "c"
    assert found["timings"][0]["median_seconds"] == sorted(timings[0].seconds)[1]
    assert _against(replace(timings[0], ratios=(1.2, 1.3, 1.4))) == "×1.30 (1.25–1.35)"
    assert _against(replace(timings[0], ratios=(0.9, 1.0, 1.4))) == "×1.00 (0.95–1.20) tie"


class Steps(nn.Module):
    """A chain of known memory: at its peak, two feature maps of (batch, 4, side, side) are alive."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        wide = torch.cat([images, images[:, :1]], 1)
        for _ in range(3):
            wide = wide + 1
        return wide.mean((2, 3))


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    (timing,) = measure([Subject("steps", Steps(), 16)], Protocol(runs=1, warmup=0, batch=2))
    assert timing.peak_bytes == 2 * (2 * 4 * 16 * 16) * 4


def test_onnxruntime_is_measured() -> None:
    timings = measure(
        [subject("mnasnet_small"), subject("mnasnet_small")], Protocol(runs=2, warmup=0, runtime="onnxruntime")
    )
    assert [timing.peak_bytes for timing in timings] == [None, None]
    assert all(second > 0 for timing in timings for second in timing.seconds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": 0}, "runs: 0 is not an integer from 1"),
        ({"batch": 0}, "batch: 0 is not an integer"),
        ({"threads": 0}, "threads: 0 is not an integer"),
        ({"runtime": "onxruntime"}, "unknown runtime 'onxruntime'; did you mean 'onnxruntime'"),
        ({"runtime": "onnxruntime", "device": "cuda"}, "device: 'cuda' cannot be combined with onnxruntime"),
    ],
)
def test_wrong_protocols(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MnasError, match=message):
        Protocol(**change)


def test_devices_that_do_not_exist() -> None:
    with pytest.raises(MnasError, match="device: 'cuda:99' is not available"):
        measure([subject("mnasnet_small")], Protocol(device="cuda:99"))
    with pytest.raises(MnasError, match="device: 'gpu' is not available"):
        measure([subject("mnasnet_small")], Protocol(device="gpu"))
    with pytest.raises(MnasError, match="device: 'meta' is not supported; use cpu or cuda"):
        measure([subject("mnasnet_small")], Protocol(device="meta"))


def test_images_that_do_not_fit_into_memory() -> None:
    with pytest.raises(MnasError, match="batch: 65536 images do not fit into memory"):
        measure([subject("mnasnet_small", 8192)], Protocol(batch=65536))


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("model", "macs", "params"),
    # torchvision's _ops (G) and num_params.
    [
        ("resnet50", 4.089, 25_557_032),
        ("resnet152", 11.514, 60_192_808),
        ("densenet201", 4.291, 20_013_928),
        ("resnext101_32x8d", 16.414, 88_791_336),
    ],
)
def test_counts_of_torchvision_networks(model: str, macs: float, params: int) -> None:
    network = load_subject(f"torchvision:{model}")
    assert isinstance(network, Comparator)
    found_macs, found_params = replace(network, resolution=224).counts
    assert (round(found_macs / 1e9, 3), found_params) == (macs, params)


@pytest.mark.usefixtures("torchvision")
def test_unknown_torchvision_network_gets_a_suggestion() -> None:
    with pytest.raises(MnasError, match="unknown network of torchvision 'resnet55'; did you mean 'resnet50'"):
        load_subject("torchvision:resnet55")


@pytest.mark.usefixtures("torchvision")
def test_resolutions_at_which_a_network_does_not_run() -> None:
    network = load_subject("torchvision:vit_b_16")
    assert isinstance(network, Comparator)
    with pytest.raises(MnasError, match="torchvision:vit_b_16: does not run at 100 px"):
        _ = replace(network, resolution=100).counts
    with pytest.raises(MnasError, match="resolution: 100000 is not an integer from 1 to 8192"):
        _ = replace(network, resolution=100_000).counts


def test_published_points_are_in_the_order_of_the_table() -> None:
    top1 = [point.top1 for point in PUBLISHED_POINTS]
    assert top1 == sorted(top1)
    assert [point.name for point in PUBLISHED_POINTS if point.macs is None] == ["GPipe"]
