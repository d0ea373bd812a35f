"""A run that is killed and resumed ends like one that was never killed."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import nas
from nas.__main__ import main
from nas.journal import Journal
from nas.journal_format import FILE_NAME
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from search_spaces import MnasError
from tests.processes import environment
from tests.trials import write

SLOW = """
import time
from nas.evaluators.imagenet import ImageNetPredictor

class Slow(ImageNetPredictor):
    instant = False

    def evaluate(self, architectures, seed=0):
        time.sleep(0.002 * len(architectures))
        return super().evaluate(architectures, seed)

evaluator = Slow
"""
CONTROLLERS = ("random", "bayesian", "reinforce")
# Their replays take longer.
LONGER = [pytest.param(name, marks=pytest.mark.slow) for name in ("ppo", "nni:regularized-evolution", "optuna:tpe")]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nas", "search", *arguments]


@pytest.mark.parametrize("controller", [*CONTROLLERS, *LONGER])
def test_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controller: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.py").write_text(SLOW)
    options = ("--evaluator", "slow.py", "--controller", controller, "--trials", "150", "--target-macs", "300M")
    whole = subprocess.run(
        command(*options, "--out", "whole"), cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert whole.returncode == 0, whole.stderr
    rng = random.Random(0)
    arguments = command(*options, "--out", "cut")
    for _ in range(3):
        process = subprocess.Popen(arguments, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL, stdout=-3)
        journal = tmp_path / "cut" / FILE_NAME
        before, deadline = written(journal), time.monotonic() + 60
        while written(journal) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.wait()
        arguments = command("--resume", "cut", "--allow-code")
    last = subprocess.run(arguments, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    digests = []
    for name in ("whole", "cut"):
        with Journal.open(tmp_path / name, allow_code=True) as opened:
            digests.append(opened.digest())
            assert opened.count() == 150
    assert digests[0] == digests[1]
    assert (tmp_path / "cut" / "best.yaml").is_file()


def written(journal: Path) -> int:
    try:
        connection = sqlite3.connect(f"file:{journal}?mode=ro", uri=True)
        (count,) = connection.execute("SELECT count(*) FROM completions").fetchone()
    except sqlite3.Error:
        return 0
    connection.close()
    return int(count)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A run of 100 trials, 48 of which are recorded."""
    settings = SearchSettings("efficientnet", "imagenet", "ppo", make_objective("hard", 300e6), 100, 0)
    trials = run_search(settings)
    with Journal.create(tmp_path / "run", settings) as journal:
        for first in range(0, 48, 12):
            write(journal, trials[first : first + 12])
    return tmp_path / "run"


@pytest.mark.parametrize("controller", [*CONTROLLERS, *LONGER])
def test_a_run_made_longer_equals_one_as_long_at_once(controller: str, tmp_path: Path) -> None:
    """Also if it was made longer more than once within a batch."""
    total = 75
    whole = nas.search(controller=controller, trials=total, out=tmp_path / "whole")
    nas.search(controller=controller, trials=17, out=tmp_path / "run")
    for trials in (21, 22, 59, total):
        longer = nas.resume(tmp_path / "run", trials=trials)
        assert (longer.done, longer.complete) == (trials, True)
    assert [(t.number, t.genotype, t.reward) for t in longer.trials] == [
        (t.number, t.genotype, t.reward) for t in whole.trials
    ]
    assert longer.best.number == whole.best.number


def test_two_owners_are_refused_and_a_dead_one_is_none(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "from nas.journal import Journal; from pathlib import Path; "
        f"journal = Journal.resume(Path({str(half)!r})); print(1, flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"1\n"
    assert main(["search", "--resume", str(half)]) == 2
    assert f"is being written by process {other.pid} on " in capsys.readouterr().err
    other.kill()
    other.communicate()
    assert main(["search", "--resume", str(half)]) == 0


def test_other_suggestions_than_then_are_named(half: Path) -> None:
    columns = ("genotype", "digest", "macs", "params", "costs")
    connection = sqlite3.connect(half / FILE_NAME)
    with connection:
        select = f"SELECT {', '.join(columns)} FROM trials WHERE number = ?"
        update = f"UPDATE suggestions SET {' = ?, '.join(columns)} = ? WHERE number = ?"
        rows = {number: connection.execute(select, (number,)).fetchone() for number in (20, 30)}
        connection.execute(update, (*rows[30], 20))
        connection.execute(update, (*rows[20], 30))
    connection.close()
    with Journal.resume(half) as journal, pytest.raises(MnasError, match="resume: trial 20 was another network"):
        run_search(journal.settings, history=journal.history())


def test_what_cannot_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--resume", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
