"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from baselines import load
from search_spaces import Architecture, SearchSpace, load_space

# Measurements that are not part of the project; ACCEL_NASBENCH says where they are.
BESIDE_THE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "data" / "accel-nasbench"


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return load_space("efficientnet")


@pytest.fixture(scope="session")
def b0() -> Architecture:
    return load("efficientnet_b0").architecture


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
