"""The study engine: results, faults, resuming, and what it refuses."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nas.executors.base import Failure
from nas.record import STUDY_FILE
from nas.studies.engine import Job, JobOutcome, Study, run_study
from nas.studies.journal import StudyJournal
from nas.studies.progress import StudyProgress
from search_spaces import MnasError
from tests.nas.studies.jobs import STEPS, attempts_in, study
from tests.processes import environment

EXECUTIONS = {
    "in-process": {"executor": "in-process"},
    "processes": {"executor": "processes", "workers": 2, "time_limit": 2.0},
}


@pytest.fixture(params=EXECUTIONS)
def execution(request: pytest.FixtureRequest) -> dict[str, object]:
    return EXECUTIONS[request.param]


def test_results_come_in_the_order_of_jobs(tmp_path: Path, execution: dict[str, object]) -> None:
    asked = study(*({"what": "good", "value": value} for value in range(6)))
    outcomes = run_study(tmp_path / "s", asked, execution)
    assert [outcome.result["square"] for outcome in outcomes] == [0, 1, 4, 9, 16, 25]
    assert {outcome.result["setting"] for outcome in outcomes} == {"s"}
    assert [attempts_in(tmp_path / "s" / job.key) for job in asked.jobs] == [1] * 6
    with StudyJournal.open(tmp_path / "s") as journal:
        assert journal.counts() == (6, 0, 6)
        assert journal.session()["reason"] == "complete"
        assert journal.kind == "test"
    # Finished jobs are read back: nothing is done again.
    assert run_study(tmp_path / "s", asked, execution) == outcomes
    assert [attempts_in(tmp_path / "s" / job.key) for job in asked.jobs] == [1] * 6


def test_jobs_may_depend_on_results(tmp_path: Path, execution: dict[str, object]) -> None:
    """More jobs follow until none is asked for, all in one session, and nothing is repeated when it is run again."""

    def further(outcomes: Sequence[JobOutcome]) -> list[Job]:
        last = outcomes[-1].result["square"]
        number = len(outcomes)
        return [Job(f"job{number}", f"{number}", {"what": "good", "value": last})] if last < 200 else []

    asked = replace(study({"what": "good", "value": 2}), grows=True, further=further)
    outcomes = run_study(tmp_path / "s", asked, execution)
    assert [outcome.result["square"] for outcome in outcomes] == [4, 16, 256]
    with StudyJournal.open(tmp_path / "s") as journal:
        assert journal.counts() == (3, 0, 3)
        assert journal.session()["reason"] == "complete"
    assert query(tmp_path / "s", "SELECT count(*) FROM sessions") == [(1,)]
    assert run_study(tmp_path / "s", asked, execution) == outcomes
    assert [attempts_in(tmp_path / "s" / f"job{number}") for number in range(3)] == [1] * 3


def test_faults_that_may_pass_are_tried_again(tmp_path: Path, execution: dict[str, object]) -> None:
    asked = study({"what": "flaky", "value": 3}, {"what": "good", "value": 2}, {"what": "wrong"}, needs_all=False)
    flaky, good, wrong = run_study(tmp_path / "s", asked, execution)
    assert flaky.result["square"] == 9
    assert good.result["square"] == 4
    assert wrong.failure == Failure("error", "RuntimeError: broken 3")
    attempts = [attempts_in(tmp_path / "s" / f"job{number}") for number in range(3)]
    assert attempts == [3, 1, 3]
    rows = query(tmp_path / "s", "SELECT number, attempt, error, last FROM failed_attempts ORDER BY number, attempt")
    broken = [f"RuntimeError: broken {number}" for number in (1, 2, 3)]
    assert rows == [
        (0, 1, broken[0], 0),
        (0, 2, broken[1], 0),
        (2, 1, broken[0], 0),
        (2, 2, broken[1], 0),
        (2, 3, broken[2], 1),
    ]


def test_workers_that_are_lost_cost_their_own_job(tmp_path: Path) -> None:
    asked = study({"what": "segfault"}, {"what": "sleep"}, {"what": "good", "value": 4}, needs_all=False)
    died, late, good = run_study(tmp_path / "s", asked, EXECUTIONS["processes"])
    assert died.failure == Failure("died", "the worker died of SIGSEGV")
    assert late.failure == Failure("time", "was not done after 2 s")
    assert good.result["square"] == 16
    assert attempts_in(tmp_path / "s" / "job0") == 3
    assert attempts_in(tmp_path / "s" / "job1") == 1


def test_a_job_that_is_needed_ends_the_study_until_its_cause_is_gone(
    tmp_path: Path, execution: dict[str, object]
) -> None:
    asked = study({"what": "good"}, {"what": "refused"}, *[{"what": "after"}] * 8)
    with pytest.raises(MnasError, match="job number 1: value: 7 is not for me; fix it"):
        run_study(tmp_path / "s", asked, execution)
    with StudyJournal.open(tmp_path / "s") as journal:
        done, failed, wanted = journal.counts()
        assert (failed, wanted) == (1, 10)
        assert done < 9  # no more were started
        assert "is not for me" in journal.session()["reason"]
    (tmp_path / "s" / "fixed").touch()
    assert all(outcome.failure is None for outcome in run_study(tmp_path / "s", asked, execution))
    assert attempts_in(tmp_path / "s" / "job0") == 1


def test_a_fault_that_lasts_names_the_command_that_resumes(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match=r"RuntimeError: broken 3; fix that, then resume with: resume it"):
        run_study(tmp_path / "s", study({"what": "wrong"}))


def start(folder: Path, execution: str) -> subprocess.Popen[str]:
    """The study of slow jobs, in its own process."""
    code = (
        "from pathlib import Path; from nas.studies.engine import run_study; "
        "from tests.nas.studies.jobs import STEPS; "
        f"run_study(Path({str(folder)!r}), STEPS, {EXECUTIONS[execution]!r})"
    )
    command = [sys.executable, "-c", f"if __name__ == '__main__': {code}"]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)


def steps_in(folder: Path) -> list[str]:
    return [(folder / job.key / "steps").read_text() for job in STEPS.jobs if (folder / job.key / "steps").exists()]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_killed_at_any_moment_and_resumed(tmp_path: Path, execution: str) -> None:
    rng = random.Random(0)
    folder = tmp_path / "s"
    for _ in range(4):
        before = steps_in(folder)
        process = start(folder, execution)
        deadline = time.monotonic() + 60
        while steps_in(folder) == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.communicate()
    outcomes = run_study(folder, STEPS, EXECUTIONS[execution])
    assert [outcome.result["square"] for outcome in outcomes] == [value**2 for value in range(12)]
    # A job that was killed resumed from its own state.
    assert steps_in(folder) == ["".join(f"{step} " for step in range(20))] * 12
    assert query(folder, "SELECT count(*), count(DISTINCT number) FROM results") == [(12, 12)]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_the_first_interrupt_lets_jobs_keep_their_state(tmp_path: Path, execution: str) -> None:
    folder = tmp_path / "s"
    process = start(folder, execution)
    deadline = time.monotonic() + 60
    while not any(steps_in(folder)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "finishing work in progress" in err
    with StudyJournal.open(folder) as journal:
        assert journal.session()["reason"] == "interrupted"
        assert journal.counts()[0] < 12
        assert journal.failures() == {}
    assert query(folder, "SELECT * FROM failed_attempts") == []  # an attempt that was stopped is none
    assert len(run_study(folder, STEPS, EXECUTIONS[execution])) == 12
    assert steps_in(folder) == ["".join(f"{step} " for step in range(20))] * 12


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    process = start(folder, "in-process")
    deadline = time.monotonic() + 60
    while not any(steps_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(MnasError, match=f"is being written by process {process.pid} on"):
        run_study(folder, STEPS)
    process.kill()
    process.communicate()


def test_what_a_folder_holds_must_be_the_same_study(tmp_path: Path) -> None:
    first = study({"what": "good", "value": 1}, {"what": "good", "value": 2})
    run_study(tmp_path / "s", first)
    for other, message in (
        (replace(first, kind="other"), "holds a study of the kind test, expected other"),
        (replace(first, settings={"setting": "t"}), "holds a study with other settings"),
        (study({"what": "good", "value": 1}), "holds a study with other jobs"),
        (study({"what": "good", "value": 1}, {"what": "good", "value": 3}), "holds a study with other jobs"),
        (study(*[{"what": "good"}] * 3), "holds a study with other jobs"),
    ):
        with pytest.raises(MnasError, match=message):
            run_study(tmp_path / "s", other)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(MnasError, match="already exists and is not empty"):
        run_study(tmp_path / "notes", first)
    with pytest.raises(MnasError, match="job0 is given twice"):
        replace(first, jobs=[*first.jobs, first.jobs[0]])


def test_a_study_that_grows_keeps_what_it_has(tmp_path: Path) -> None:
    payloads = [{"what": "good", "value": value} for value in range(4)]
    run_study(tmp_path / "s", study(*payloads[:3], grows=True))
    grown = run_study(tmp_path / "s", study(*payloads, grows=True))
    assert [outcome.result["square"] for outcome in grown] == [0, 1, 4, 9]
    fewer: Study = study(*payloads[:2], grows=True)
    assert len(run_study(tmp_path / "s", fewer)) == 2
    assert [attempts_in(tmp_path / "s" / f"job{number}") for number in range(4)] == [1] * 4


def test_objects_do_not_travel(tmp_path: Path) -> None:
    asked = study({"what": "good"}, settings={"evaluator": "object:Mine"})
    with pytest.raises(MnasError, match="workers: Mine was given as a Python object"):
        run_study(tmp_path / "s", asked, EXECUTIONS["processes"])
    assert not (tmp_path / "s").exists()
    run_study(tmp_path / "s", asked)
    with pytest.raises(MnasError, match="workers: Mine was given as a Python object"):
        run_study(tmp_path / "s", asked, changes={"workers": 2})


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE run SET value = '99' WHERE key = 'schema'", "schema 99 is unknown"),
        ("DROP TABLE results", "not a usable journal"),
        ("CREATE TRIGGER t AFTER INSERT ON results BEGIN DELETE FROM jobs; END", "not a usable journal"),
        ("UPDATE jobs SET key = '../up'", "not a usable journal"),
        ("UPDATE jobs SET payload = 'no json'", "not a usable journal"),
        ("UPDATE results SET result = 'nan'", "not a usable journal"),
    ],
)
def test_a_journal_changed_by_hand(tmp_path: Path, statement: str, message: str) -> None:
    asked = study({"what": "good"})
    run_study(tmp_path / "s", asked)
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / STUDY_FILE)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(MnasError, match=message):
        run_study(tmp_path / "s", asked)


def test_code_of_a_stranger_does_not_run(tmp_path: Path) -> None:
    asked = study({"what": "good"}, settings={"controllers": ["evil.py:x"]})
    run_study(tmp_path / "s", asked)
    with pytest.raises(MnasError, match=r"names the Python file evil\.py:x"):
        run_study(tmp_path / "s", asked)
    assert len(run_study(tmp_path / "s", asked, allow_code=True)) == 1


def test_the_time_left_is_that_of_the_weights() -> None:
    """Two units were done in 10 s and 6 remain: 30 s for one worker, 15 for two."""
    for workers, left in ((1, "30 s left"), (2, "15 s left")):
        progress = StudyProgress("test", {0: 2.0, 1: 4.0, 2: 2.0}, workers)
        assert progress.left() == ""
        with progress.running():
            progress.earlier({0: 10.0})
            assert progress.left() == left
            progress.reported("job", 4.0, 0.5, "half of it")  # 2 of the 6
            assert progress.left() == left.replace("30", "20").replace("15", "10")


def query(folder: Path, text: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(folder / STUDY_FILE)) as connection:
        return connection.execute(text).fetchall()
