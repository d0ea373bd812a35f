"""`mnas finalists`: repeated measurements with other seeds, their record, and failures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nas.__main__ import main
from nas.executors.base import Failure
from nas.studies import finalists
from nas.studies.engine import JobOutcome, Study
from nas.studies.finalists import finalists_of
from nas.studies.journal import StudyJournal
from search_spaces import MnasError

NOISY = """
import os, zlib
from nas.evaluators.imagenet import ImageNetPredictor
from nas.evaluators.base import Metrics

class Noisy(ImageNetPredictor):
    noisy = True
    instant = INSTANT

    def evaluate(self, architectures, seed=0):
        with open("calls", "a") as stream:
            stream.write("x" * len(architectures) if seed else "")
        if seed == 2:
            raise OSError("the disk is loose")
        found = super().evaluate(architectures, seed)
        return [Metrics(metrics.accuracy + 0.001 * ((seed * 7) % 5), 0.002) for metrics in found]

evaluator = Noisy
"""


@pytest.fixture(params=["True", "False"])
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("noisy.py").write_text(NOISY.replace("INSTANT", request.param))
    options = ("--evaluator", "noisy.py", "--controller", "random", "--trials", "20", "--retries", "0")
    assert main(["search", *options, "--out", "run"]) == 0
    return Path("run")


def calls() -> int:
    return len(Path("calls").read_text())


def test_what_was_measured_is_there_the_next_time(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finalists", str(run), "--allow-code", "--top", "3", "--repeats", "3", "--json"]
    capsys.readouterr()
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert calls() == 9
    assert [len(finalist["accuracies"]) for finalist in found["finalists"]] == [2, 2, 2]
    assert len(found["failures"]) == 3
    assert found["failures"][0].endswith("seed 2: OSError: the disk is loose")
    with StudyJournal.open(run / "finalists") as journal:
        assert journal.counts() == (6, 3, 9)
    # Only failures are tried again; more networks are measured too.
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert calls() == 12
    more = finalists_of(run, top=5, repeats=3, allow_code=True)
    assert calls() == 12 + 3 + 6
    assert {finalist.trial.number for finalist in more.finalists} > {f["number"] for f in found["finalists"]}


def test_failures_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["finalists", str(run), "--allow-code", "--top", "2", "--repeats", "2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 measurements failed:" in shown
    assert "seed 2: OSError: the disk is loose" in shown


def test_the_study_names_the_command_that_resumes_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resume: list[str] = []

    def noted(folder: Path, study: Study, *_: object, **__: object) -> list[JobOutcome]:
        resume.append(study.resume)
        return [JobOutcome(job, None, Failure("error", "OSError: loose")) for job in study.jobs]

    monkeypatch.setattr(finalists, "run_study", noted)
    with pytest.raises(MnasError, match=r"no measurement succeeded; the first failed: .*OSError: loose"):
        finalists_of(run, top=2, repeats=1, allow_code=True)
    assert resume == ["mnas finalists run --top 2 --repeats 1 --allow-code"]


def test_without_noise_nothing_is_written(tmp_path: Path) -> None:
    assert main(["search", "--controller", "random", "--trials", "10", "--out", str(tmp_path / "run")]) == 0
    assert len(finalists_of(tmp_path / "run", top=4).finalists) == 4
    assert not (tmp_path / "run" / "finalists").exists()


def test_what_has_no_finalists(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match="holds no run"):
        finalists_of(tmp_path)
