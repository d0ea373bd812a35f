"""What the tests of all studies of scaling share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scaling
from nas.studies import trained_comparison
from nas.studies.contestants import Judged
from scaling.studies import coefficient_search
from tests.baselines.training.images import write_folders


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of images, with the current folder and the cache beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return str(write_folders(tmp_path / "images", count=40))


OPTIONS = {"recipe": "proxy", "epochs": 1, "batch": 16, "width": 0.25, "resolution": 16}


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Trainings take no time; the one with this number is interrupted."""
    started: list[str] = []
    after: list[int] = []

    def judged(call: Any) -> dict[str, Any]:
        started.append(call.folder.name)
        if len(started) in after:
            raise KeyboardInterrupt
        hits = np.random.default_rng(list(call.folder.name.encode())).random(400) < 0.5
        return Judged(hits, hits[:100]).as_dict()

    for module in (trained_comparison, coefficient_search):
        monkeypatch.setattr(module, "train_and_judge", judged)
    return after


def study(kind: str, images: str, out: str) -> Any:
    if kind == "ablate":
        plan = {"rules": ("w", "efficientnet"), "seeds": 2}
        return scaling.ablate("mnasnet_small", data=images, plan=plan, options=OPTIONS, out=out)
    if kind == "family":
        plan = {"rule": "fast", "macs": ("1x", "2x"), "seeds": 2}
        return scaling.train_family("mnasnet_small", data=images, plan=plan, options=OPTIONS, out=out)
    grid, rule = {"depths": (1, 1.5, 2), "widths": (1, 1.25, 1.5), "sides": (16, 20, 24)}, {"first": 2, "seeds": 3}
    return scaling.search_coefficients("mnasnet_small", data=images, grid=grid, rule=rule, options=OPTIONS, out=out)
