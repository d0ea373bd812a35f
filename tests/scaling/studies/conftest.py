"""What the tests of all studies of scaling share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.baselines.training.images import write_folders


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of images, with the current folder and the cache beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(write_folders(tmp_path / "images", count=40))
