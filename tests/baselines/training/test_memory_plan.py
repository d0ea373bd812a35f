"""The memory plan: what it chooses, and whether a training takes the planned memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines import load
from baselines.memory import measured_peak
from baselines.subjects import load_subject
from baselines.training import memory_plan
from baselines.training.data.sources import ImageData, Part
from baselines.training.loop import train
from baselines.training.memory_plan import FEW_IMAGES, HEAP, MARGIN, MemoryPlan, plan_memory
from baselines.training.recipe import load_recipe
from nas.__main__ import main
from search_spaces import Architecture, MnasError
from search_spaces.adaptation import adapted
from tests.baselines.training.images import write_folders

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed; pip install 'mnas[train]'")

BATCH = 48
RECIPE = load_recipe("cifar").with_values(batch=BATCH)
MB = 10**6


def on_a_quiet_moment(test: Callable[..., None]) -> Callable[..., None]:
    """A test of measured peaks that must hold in one of three attempts: other work delays the freeing of maps."""

    @wraps(test)
    def attempted(**fixtures: Any) -> None:
        for _ in range(2):
            with suppress(AssertionError):
                return test(**fixtures)
        return test(**fixtures)

    return attempted


@pytest.fixture(scope="module")
def data() -> ImageData:
    rng = np.random.default_rng(0)
    part = Part(rng.integers(0, 256, (2 * BATCH, 64, 64, 3), dtype=np.uint8), np.arange(2 * BATCH) % 2)
    return ImageData("made up", ("a", "b"), part, part, part, "0" * 16, 64, ())


@pytest.fixture(autouse=True)
def resident(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process size so large that its changes between plans do not matter."""
    monkeypatch.setattr(memory_plan, "resident_bytes", lambda: 600 * MB)


@pytest.fixture(scope="module")
def network() -> Architecture:
    return adapted(load("efficientnet_b0").architecture, 64, 2, 0.5)


def measured(network: Any, data: ImageData, plan: MemoryPlan) -> int:
    """Peak bytes of tensors in two steps of a plan and a validation."""
    short = RECIPE.shortened(1)
    with measured_peak(torch.device("cpu")) as peak:
        train(network, data, short, micro_batches=plan.micro_batches, recompute=plan.recompute, validate_every=1)
    return peak.bytes


@on_a_quiet_moment
def test_less_memory_leads_to_recomputing_and_then_to_smaller_parts(network: Architecture, data: ImageData) -> None:
    """The less memory, the fewer images at once; each plan's memory is what its steps take."""

    def plan_with(share: float) -> MemoryPlan:
        """A plan for memory that holds a share of the feature maps of a whole batch."""
        tight = whole.process + whole.state + whole.inputs + share * whole.batch * whole.per_image
        return plan_memory(network, data, RECIPE, limit=math.ceil(tight / (1 - MARGIN)))

    whole = plan_memory(network, data, RECIPE, limit=2**40)
    assert (whole.micro_batches, whole.recompute) == (1, False)
    just = plan_with(1.05)
    assert (just.micro_batches, just.recompute) == (1, False)
    again = plan_with(0.6)
    assert (again.micro_batches, again.recompute) == (1, True)
    few = plan_with(0.1)
    assert few.recompute
    assert few.micro_batch < FEW_IMAGES
    for plan in (whole, just, again, few):
        assert plan.peak <= (1 - MARGIN) * plan.limit
        tensors = plan.state + plan.inputs + plan.micro_batch * plan.per_image / (1.0 if plan.recompute else HEAP)
        assert measured(network, data, plan) == pytest.approx(tensors, rel=0.15)
    with pytest.raises(MnasError, match=r"memory: 2 images at once need .* GB, but .* GB are available"):
        plan_memory(network, data, RECIPE, limit=whole.process + whole.state)


def test_large_parts_are_preferred_to_recomputing(network: Architecture, data: ImageData) -> None:
    large = RECIPE.with_values(batch=2 * BATCH)
    whole = plan_memory(network, data, large, limit=2**40)
    tight = whole.process + whole.state + whole.inputs + whole.batch * whole.per_image * 0.55
    half = plan_memory(network, data, large, limit=math.ceil(tight / (1 - MARGIN)))
    assert (half.micro_batches, half.recompute, half.micro_batch) == (2, False, BATCH)


def test_a_given_micro_batch_is_used(network: Architecture, data: ImageData) -> None:
    plan = plan_memory(network, data, RECIPE, limit=2**40, micro_batch=10)
    assert (plan.micro_batches, plan.micro_batch, plan.recompute) == (5, 10, False)


def test_the_batch_of_a_compiled_network_is_divided(network: Architecture, data: ImageData) -> None:
    """A compiled network cannot recompute its blocks."""
    again = plan_memory(network, data, RECIPE, limit=780 * MB)
    few = plan_memory(network, data, RECIPE, limit=780 * MB, compiled=True)
    assert again.recompute
    assert not few.recompute
    assert few.micro_batch < again.micro_batch


def test_devices_divide_the_batch(network: Architecture, data: ImageData) -> None:
    assert plan_memory(network, data, RECIPE, limit=2**40, devices=2).batch == BATCH // 2


@pytest.mark.usefixtures("torchvision")
@on_a_quiet_moment
def test_the_batch_of_a_torchvision_network_is_divided(data: ImageData) -> None:
    """Its memory is counted by what autograd keeps; its blocks cannot be recomputed."""
    resnet = load_subject("torchvision:resnet18")
    assert not hasattr(resnet, "architecture")
    network = resnet.adapted(64, 2)  # type: ignore[union-attr]
    whole = plan_memory(network, data, RECIPE, limit=2**40)
    tight = whole.process + whole.state + whole.inputs + whole.batch * whole.per_image * 0.3
    part = plan_memory(network, data, RECIPE, limit=math.ceil(tight / (1 - MARGIN)))
    assert (whole.micro_batches, part.recompute, part.fits) == (1, False, True)
    # No fewer parts fit; how many they are depends on its own measured peak.
    assert part.micro_batches > 3
    assert not replace(part, micro_batches=part.micro_batches - 1).fits
    tensors = whole.state + whole.inputs + whole.batch * whole.per_image / HEAP
    assert measured(network, data, whole) == pytest.approx(tensors, rel=0.15)


def test_the_plan_is_printed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "images", count=40)
    before = set(tmp_path.iterdir())
    command = ["train", "efficientnet_b0", "--data", "images", "--batch", "64", "--plan", "--width", "0.5"]
    assert main([*command, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["peak"] == sum(plan[name] for name in ("process", "state", "inputs")) + 64 * plan["per_image"]
    assert main([*command, "--micro-batch", "20"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Plan: 64 images in a step in 4 parts" in shown
    assert "feature maps of 16 images" in shown
    assert main([*command, "--memory", "200M"]) == 2
    assert "use a higher --memory or a lower --resolution" in capsys.readouterr().err
    assert set(tmp_path.iterdir()) - before <= {tmp_path / "cache"}
