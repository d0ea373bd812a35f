"""Rediscovery: its statistics, the study, and how it resumes."""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from baselines import load
from baselines.statistics import wilson
from nas.__main__ import main
from nas.evidence import agreement
from nas.journal import Journal
from nas.search_loop import run_search
from nas.studies.rediscovery import RediscoverySettings, median_ranks, rediscover
from search_spaces import MnasError, StageSpace
from tests.processes import environment


def test_agreement_with_a_network_outside_counts_what_the_space_offers(space: StageSpace) -> None:
    """MnasNet-A1 has an expansion of 3, four layers in stage 4 and 160 channels, which the space does not offer."""
    b0, a1 = load("efficientnet_b0").architecture, load("mnasnet_a1").architecture
    found = agreement(space, b0, a1)
    # 7 stages x (kernel, expansion, squeeze-excite, layers), less expansion of stage 3 and layers of stage 4
    assert found.choices == 26
    table = [
        # B0 and A1: kernel, expansion, SE, layers (FACTS: published tables of the two papers)
        ((3, 1, 0.25, 1), (3, 1, 0.0, 1)),
        ((3, 6, 0.25, 2), (3, 6, 0.0, 2)),
        ((5, 6, 0.25, 2), (5, None, 0.25, 3)),
        ((3, 6, 0.25, 3), (3, 6, 0.0, None)),
        ((5, 6, 0.25, 3), (3, 6, 0.25, 2)),
        ((5, 6, 0.25, 4), (5, 6, 0.25, 3)),
        ((3, 6, 0.25, 1), (3, 6, 0.0, 1)),
    ]
    assert found.shared == sum(x == y for one, other in table for x, y in zip(one, other, strict=True))
    assert agreement(space, b0, b0).shared == 28


@pytest.mark.parametrize("count", [6, 9, 20, 21])
def test_the_interval_of_a_median_covers_it(count: int) -> None:
    ends = median_ranks(count)
    assert ends is not None
    low, high = ends
    assert low + high == count - 1
    rng = np.random.default_rng(0)
    ordered = np.sort(rng.random((40_000, count)), axis=1)  # of uniform values, the median is 0.5
    covered = ((ordered[:, low] <= 0.5) & (ordered[:, high] >= 0.5)).mean()
    assert covered > 0.95 - 0.005
    if low + 1 < high - 1:
        narrower = ((ordered[:, low + 1] <= 0.5) & (ordered[:, high - 1] >= 0.5)).mean()
        assert narrower < 0.95 + 0.005


def test_too_few_searches_have_no_interval() -> None:
    assert median_ranks(5) is None


def test_wilson_interval() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857, Table I: 81 of 263 and 15 of 148 by method 3
    assert wilson(81 / 263, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(15 / 148, 148) == (pytest.approx(0.0624, abs=1e-4), pytest.approx(0.1605, abs=1e-4))


def test_the_study(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--seeds", "2", "--trials", "60", "--controllers", "bayesian,random", "--html", "s.html"]
    assert main(["rediscover", *options, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    bayesian, random = data["summaries"]
    assert (bayesian["controller"], random["controller"]) == ("bayesian", "random")
    assert bayesian["reward"] > random["reward"]
    assert data["reference_rank"]["percentile"] > 99.9
    for search in data["searches"]:
        assert (search["passed"] is None) == (search["reward"] <= data["reference_reward"])
    assert "EfficientNet-B0" in Path("s.html").read_text()
    assert main(["rediscover", *options]) == 2
    assert "s.html" in capsys.readouterr().err
    assert main(["rediscover", "--controllers", "bayesain"]) == 2
    assert "did you mean 'bayesian'" in capsys.readouterr().err


OPTIONS = ("--seeds", "2", "--trials", "60", "--controllers", "random,nni:regularized-evolution")


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures equal those of a study that was never killed, and every search is the one of its seed."""
    assert main(["rediscover", *OPTIONS, "--out", str(tmp_path / "whole"), "--workers", "1", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    folder, rng = tmp_path / "cut", random.Random(0)
    arguments = [*OPTIONS, "--out", str(folder)]
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "nas", "rediscover", *arguments, "--workers", "2"],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while not (folder / "study.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.5, 4))
        process.kill()
        process.wait()
        arguments = ["--resume", str(folder)]
    assert main(["rediscover", "--resume", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == whole
    settings = RediscoverySettings(("random", "nni:regularized-evolution"), 2, 60)
    with Journal.open(folder / "nni-regularized-evolution-seed1") as journal:
        alone = run_search(settings.search("nni:regularized-evolution", 1))
        assert [trial.genotype for trial in journal.trials()] == [trial.genotype for trial in alone]


STOPPING = """
from pathlib import Path
from nas.evaluators.base import Evaluator, Metrics

class Stopping(Evaluator):
    name = "stopping"
    meaning = "number of blocks"

    def check(self, architecture):
        pass

    def evaluate(self, architectures, seed=0):
        if Path("stop").exists() and Path("red").exists():
            raise KeyboardInterrupt
        return [Metrics(0.5 + architecture.num_blocks / 100) for architecture in architectures]

evaluator = Stopping
"""


def test_the_command_that_resumes_allows_the_code_of_the_study(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "plug.py").write_text(STOPPING)
    (workplace / "stop").touch()
    options = [
        "--controllers",
        "random",
        "--seeds",
        "1",
        "--trials",
        "20",
        "--workers",
        "1",
        "--executor",
        "in-process",
    ]
    assert main(["rediscover", "--evaluator", "plug.py", *options, "--out", "red"]) == 130
    (hint,) = [line for line in capsys.readouterr().err.splitlines() if "resume with" in line]
    (workplace / "stop").unlink()
    words = shlex.split(hint.removeprefix("mnas: resume with: "))
    assert words[0] == "mnas"
    assert main([*words[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["searches"][0]["controller"] == "random"


def test_what_cannot_be_rediscovered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for arguments, message in (
        (["--resume", str(tmp_path), "--seeds", "3"], "seeds: --seeds cannot be combined with --resume"),
        (["--resume", str(tmp_path), "--out", "x"], "out: --out cannot be combined with --resume"),
        (["--resume", str(tmp_path)], "holds no run"),
        (["--controllers", "random,random"], "expected one or more different names"),
        (["--out", str(tmp_path / "full")], "already exists and is not empty"),
        (["--evaluator", "imagnet"], "did you mean 'imagenet'"),
        (
            ["--seeds", "1", "--executor", "in-process", "--workers", "2", "--out", str(tmp_path / "x")],
            "workers: needs",
        ),
    ):
        assert main(["rediscover", *arguments]) == 2, arguments
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="seeds"):
        RediscoverySettings(seeds=0)
    # A study of another kind cannot be resumed as this one.
    found = rediscover(
        tmp_path / "small", RediscoverySettings(("random",), 1, 5), {"executor": "in-process", "workers": 1}
    )
    assert [search.seed for search in found.searches] == [0]
    assert main(["compare", "--train", "--resume", str(tmp_path / "small")]) == 2
    assert "holds no comparison" in capsys.readouterr().err


def test_a_result_changed_by_hand_is_one_line(tmp_path: Path) -> None:
    here = {"executor": "in-process", "workers": 1}
    settings = RediscoverySettings(("random",), 1, 5)
    rediscover(tmp_path / "s", settings, here)
    for result in ("{}", "[]", '{"best_rewards": 3}', '{"best_rewards": ["x"]}', "null"):
        with contextlib.closing(sqlite3.connect(tmp_path / "s" / "study.sqlite")) as connection, connection:
            connection.execute("UPDATE results SET result = ?", (result,))
        with pytest.raises(MnasError, match=r"study\.sqlite: not a usable journal|search\.") as error:
            rediscover(tmp_path / "s", settings, here)
        assert "\n" not in str(error.value)
