"""Fixtures of all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from baselines import load
from baselines.exchange.torchvision_import import import_torchvision
from search_spaces import Architecture, StageSpace, load_space

# Seeded like every other test, and without a clock.
settings.register_profile(
    "mnas", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
settings.load_profile("mnas")

# No test reaches the network.
os.environ["HF_HUB_OFFLINE"] = "1"
# Output is as wide as in a file, also where a terminal, or pytest in several processes, has a width.
os.environ.pop("COLUMNS", None)

# Other projects' networks, which `make test` installs there.
PEERS = Path(__file__).resolve().parents[1] / ".peers"
sys.path.append(str(PEERS))
# Measurements that are not part of the project; ACCEL_NASBENCH says where they are.
BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data" / "accel-nasbench"


@pytest.fixture(scope="session")
def space() -> StageSpace:
    return load_space("efficientnet")


@pytest.fixture(scope="session")
def b0() -> Architecture:
    return load("efficientnet_b0").architecture


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """The module, which works beside any torch; see `baselines.exchange.torchvision_import`."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed; make test puts it into .peers")
    return import_torchvision()


@pytest.fixture(scope="session")
def accel_nasbench() -> Path:
    """Folder of the Accel-NASBench measurements: train.csv and valid.csv."""
    folder = Path(os.environ.get("ACCEL_NASBENCH", BESIDE_THE_CHECKOUT))
    if not (folder / "train.csv").is_file():
        pytest.skip("the Accel-NASBench measurements are not here; say ACCEL_NASBENCH=FOLDER (of train.csv, valid.csv)")
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
