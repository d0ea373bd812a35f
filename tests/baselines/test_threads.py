"""Threads of BLAS, OpenMP and torch are limited whatever was imported when, and the caller's limits come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from baselines.threads import VARIABLES, ThreadLimit

ROOT = Path(__file__).resolve().parents[2]

# A controller that imports scipy, with a BLAS of its own, and torch as late as it can.
CONTROLLER = """
from nas.controllers.base import Controller

seen = []

class Late(Controller):
    batch_size = 2

    def suggest(self, count):
        import scipy.linalg
        import torch
        from threadpoolctl import threadpool_info
        seen.append([library["num_threads"] for library in threadpool_info()] + [torch.get_num_threads()])
        return self.space.genotypes(self.space.sample_indices(self.rng, count))

    def update(self, trials):
        pass
"""
SEARCH = """
import json, os, sys
{first}
from threadpoolctl import threadpool_info
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
def numbers():
    torch = sys.modules.get("torch")
    return [library["num_threads"] for library in threadpool_info()] + ([torch.get_num_threads()] if torch else [])
environment, before = dict(os.environ), numbers()
run_search(SearchSettings("efficientnet", "imagenet", "late.py:Late", make_objective("hard", 4e8), 4, 0))
(module,) = [module for name, module in sys.modules.items() if name.startswith("mnas_plugin_")]
print(json.dumps([module.seen, before, numbers(), environment == dict(os.environ)]))
"""


@pytest.mark.parametrize("first", ["", "import scipy.linalg, torch"], ids=["imported late", "imported first"])
def test_a_controller_has_one_thread_whatever_was_imported_when(workplace: Path, first: str) -> None:
    (workplace / "late.py").write_text(CONTROLLER)
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment = {**clean, "PYTHONPATH": str(ROOT)}
    script = SEARCH.format(first=first)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True, cwd=workplace
    )
    seen, before, after, same_environment = json.loads(done.stdout)
    assert len(seen) == 2
    assert all(len(numbers) >= 4 and set(numbers) == {1} for numbers in seen)  # BLAS of numpy and scipy, OpenMP, torch
    if first:
        assert after == before
    else:  # what is new has as many threads as the BLAS of numpy had
        assert set(after) == set(before)
    assert same_environment


def numbers() -> list[int]:
    return [library["num_threads"] for library in threadpool_info()]


def test_the_limits_of_the_caller_come_back_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    limit = ThreadLimit(1)

    def fail() -> None:
        with limit, limit:
            assert set(numbers()) == {1}
            assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
            raise ZeroDivisionError

    with threadpool_limits(2):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                fail()
            assert set(numbers()) == {2}
            assert os.environ["OMP_NUM_THREADS"] == "7"
            assert "MKL_NUM_THREADS" not in os.environ
