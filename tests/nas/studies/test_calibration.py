"""Calibrated objectives: that they aim at their target, and that their pilots resume."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nas
from nas.__main__ import main
from nas.executors.base import Execution
from nas.journal import Journal
from nas.runs import look_at
from nas.search_loop import SearchSettings, run_search
from nas.studies.calibration import MARGIN, calibrated_objective, calibrated_request, start_calibration
from nas.trial import best_trial
from search_spaces import MnasError
from tests.processes import environment

NAMES = {"space": "efficientnet", "evaluator": "imagenet", "controller": "random", "trials": 40}


@pytest.mark.parametrize("target", [200e6, 400e6])
def test_calibrated_searches_end_at_their_target(tmp_path: Path, target: float) -> None:
    request = calibrated_request({"macs": target}, **NAMES, seed=0)
    start_calibration(tmp_path / "run", request, Execution())
    objective = calibrated_objective(tmp_path / "run", request)
    below, above = objective.exponents
    assert above == pytest.approx(below * MARGIN**2)
    for controller in ("bayesian", "nni:regularized-evolution"):
        trials = run_search(SearchSettings("efficientnet", "imagenet", controller, objective, 400, 0))
        best = best_trial(trials, objective)
        assert best is not None
        assert math.isclose(best.cost.macs, target, rel_tol=0.02)


def test_only_macs_are_calibrated(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match="the calibrated form takes one target, of macs"):
        calibrated_request({"params": 5e6}, **NAMES, seed=0)
    with pytest.raises(MnasError, match="target"):
        nas.search(target_macs=1e12, objective="calibrated", out=tmp_path / "run")
    with pytest.raises(MnasError, match="exponent: the calibrated form measures its own"):
        nas.search(target_macs=4e8, objective="calibrated", exponent=-0.1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


SLOW = """
import time
from nas.evaluators.imagenet import ImageNetPredictor

class Slow(ImageNetPredictor):
    instant = False

    def evaluate(self, architectures, seed=0):
        time.sleep(0.01 * len(architectures))
        return super().evaluate(architectures, seed)

evaluator = Slow
"""
OPTIONS = ("--evaluator", "slow.py", "--controller", "random", "--trials", "40", "--objective", "calibrated")


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "nas", "search", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def written(folder: Path) -> int:
    """Number of completed trials in a folder's journals, including its pilots."""
    total = 0
    for file in folder.rglob("journal.sqlite"):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection,
        ):
            total += connection.execute("SELECT count(*) FROM completions").fetchone()[0]
    return total


@pytest.mark.slow
def test_killed_while_calibrating_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed in the first pilot, in the second, and in the search; each time, the original command is refused."""
    monkeypatch.chdir(tmp_path)
    Path("slow.py").write_text(SLOW)
    assert start(tmp_path, *OPTIONS, "--out", "whole").wait() == 0
    arguments: tuple[str, ...] = (*OPTIONS, "--out", "cut")
    for enough in (20, 80, 130):
        process, deadline = start(tmp_path, *arguments), time.monotonic() + 60
        while written(Path("cut")) < enough and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        run = look_at(Path("cut"))
        assert (run.kind, run.state, run.wanted) == ("search", "interrupted", 40)
        assert main(["search", *OPTIONS, "--out", "cut"]) == 2
        assert "already holds a run; choose another folder or resume it" in capsys.readouterr().err
        if enough < 120:
            assert main(["trials", "cut"]) == 2
            assert "has no trials yet, since it is being calibrated" in capsys.readouterr().err
            assert main(["search", "--resume", "cut"]) == 2
            assert "slow.py, which would run; add --allow-code" in capsys.readouterr().err
        arguments = ("--resume", "cut", "--allow-code")
    assert start(tmp_path, *arguments).wait() == 0
    digests = []
    for name in ("whole", "cut"):
        with Journal.open(Path(name), allow_code=True) as journal:
            digests.append(journal.digest())
            assert journal.count() == 40
    assert digests[0] == digests[1]
    assert json.loads(query(Path("cut/pilots/study.sqlite"), "SELECT value FROM run WHERE key = 'settings'"))


def test_more_trials_may_be_asked_for_while_calibrating(tmp_path: Path) -> None:
    request = calibrated_request({"macs": 4e8}, **NAMES, seed=0)
    start_calibration(tmp_path / "run", request, Execution())
    found = nas.resume(tmp_path / "run", trials=50)
    assert found.done == 50
    start_calibration(tmp_path / "short", request, Execution())
    short = nas.resume(tmp_path / "short")
    assert short.done == NAMES["trials"]
    assert found.settings.objective.exponents == short.settings.objective.exponents


def query(file: Path, text: str) -> str:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return str(connection.execute(text).fetchone()[0])
