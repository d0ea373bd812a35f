"""Fixtures of all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from baselines import load
from search_spaces import Architecture, SearchSpace, load_space

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def space() -> SearchSpace:
    return load_space("efficientnet")


@pytest.fixture(scope="session")
def b0() -> Architecture:
    return load("efficientnet_b0").architecture


@pytest.fixture(scope="session")
def accel_nasbench() -> Path:
    """Folder of the Accel-NASBench measurements, which are not part of the project."""
    folder = SHARED_DATA / "accel-nasbench"
    if not (folder / "train.csv").is_file():
        pytest.skip("the Accel-NASBench measurements are not on this machine (shared/data/accel-nasbench)")
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
