"""What every executor must do."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nas
from nas.evaluators.base import Metrics
from nas.evaluators.work import evaluation
from nas.executors.base import EXECUTORS, FAULTS, Execution, Executor, Failure, execution_of
from nas.executors.registry import make_executor
from nas.studies.engine import run_study
from search_spaces import Architecture, MnasError
from tests.conformance import faulty_evaluator as faulty
from tests.nas.studies import jobs

PLUGIN = str(Path(faulty.__file__))
# Executors that run trials in processes other than the search's.
APART = {
    "processes": Execution("processes", workers=2, time_limit=3.0, memory_limit=2 * 10**9),
    "ray": Execution("ray", workers=2, time_limit=3.0, memory_limit=2 * 10**9),
}


def started(execution: Execution) -> Executor:
    if execution.executor == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed; pip install 'mnas[ray]'")
    return make_executor(execution, evaluation(PLUGIN, "efficientnet"))


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with started(APART.get(request.param, Execution())) as made:
        yield made


@pytest.fixture(scope="module", params=APART)
def apart(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with started(APART[request.param]) as made:
        yield made


def outcome(executor: Executor, architecture: Architecture, what: int) -> Metrics | Failure:
    (found,) = executor.submit([replace(architecture, num_classes=what)]).result(timeout=60).outcomes
    return found


def test_every_submission_has_its_outcome(executor: Executor, b0: Architecture) -> None:
    sizes = range(32, 32 + 40)
    futures = [executor.submit([replace(b0, resolution=size, num_classes=faulty.GOOD)]) for size in sizes]
    wait(futures, timeout=60)
    assert [future.result().outcomes for future in futures] == [[Metrics(size / 1000)] for size in sizes]
    assert all(future.result().seconds >= 0 for future in futures)


def test_several_at_once(executor: Executor, b0: Architecture) -> None:
    kinds = (faulty.GOOD, faulty.WRONG, faulty.GOOD, faulty.NONSENSE)
    found = executor.submit([replace(b0, num_classes=kind) for kind in kinds]).result(timeout=60)
    good = Metrics(b0.resolution / 1000)
    failed, nonsense = Failure("error", "RuntimeError: broken"), Failure("error", "accuracy nan is not in [0, 1]")
    assert found.outcomes == [good, failed, good, nonsense]


@pytest.mark.parametrize(
    ("what", "failure"),
    [
        (faulty.WRONG, Failure("error", "RuntimeError: broken")),
        (faulty.REFUSED, Failure("refused", "FieldError: num_classes: 3 is not for me")),
        (faulty.NONSENSE, Failure("error", "accuracy nan is not in [0, 1]")),
    ],
)
def test_failures_are_outcomes(executor: Executor, b0: Architecture, what: int, failure: Failure) -> None:
    assert outcome(executor, b0, what) == failure
    assert outcome(executor, b0, faulty.GOOD) == Metrics(b0.resolution / 1000)


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        (faulty.MEMORY, "memory", "Unable to allocate"),
        (faulty.SEGFAULT, "died", "died"),
        (faulty.EXIT, "died", "died"),
        (faulty.INTERRUPT, "error", "KeyboardInterrupt"),
        (faulty.CLOSE, "died", "died"),
        (faulty.SLEEP, "time", "was not done after 3 s"),
    ],
)
def test_a_worker_that_is_lost_costs_its_own_trial(
    apart: Executor, b0: Architecture, what: int, kind: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = apart.submit([replace(b0, num_classes=what)])
    good = [apart.submit([replace(b0, num_classes=faulty.GOOD)]) for _ in range(10)]
    (found,) = bad.result(timeout=60).outcomes
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert "Traceback" not in capfd.readouterr().err
    assert kind in FAULTS
    assert message in found.error
    assert "\n" not in found.error
    assert all(future.result(timeout=60).outcomes == [Metrics(b0.resolution / 1000)] for future in good)


@pytest.mark.parametrize("name", APART)
def test_what_work_has_started_ends_with_its_worker(name: str, b0: Architecture) -> None:
    """Also a process in a session of its own whose parent has ended."""
    with started(replace(APART[name], workers=1)) as executor:
        child = outcome(executor, b0, faulty.CHILD)
        assert isinstance(child, Metrics)
        process = Path(f"/proc/{round(child.accuracy * 1e7)}")
        # While the child becomes another program, its command line is that of its parent, or empty.
        deadline = time.monotonic() + 10
        while not (process / "cmdline").read_bytes().startswith(b"sleep\0"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert isinstance(outcome(executor, b0, faulty.SLEEP), Failure)
    deadline = time.monotonic() + 10
    while process.exists() and b"sleep" in (process / "cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("name", APART)
def test_a_worker_in_which_work_failed_gets_no_more(name: str, b0: Architecture) -> None:
    """What failed may have left it without memory or files, and everything else would fail there too."""
    with started(replace(APART[name], workers=1)) as executor:
        first = outcome(executor, b0, faulty.WHO)
        assert outcome(executor, b0, faulty.WHO) == first
        assert outcome(executor, b0, faulty.REFUSED) == Failure("refused", "FieldError: num_classes: 3 is not for me")
        assert outcome(executor, b0, faulty.WHO) == first
        assert isinstance(outcome(executor, b0, faulty.WRONG), Failure)
        assert isinstance(outcome(executor, b0, faulty.WHO), Metrics)
        assert outcome(executor, b0, faulty.WHO) != first


def test_a_worker_that_holds_more_and_more_is_replaced_before_it_fails(
    b0: Architecture, capsys: pytest.CaptureFixture[str]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        with started(Execution("processes")) as executor:
            found = [outcome(executor, b0, faulty.FILES) for _ in range(12)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(isinstance(each, Metrics) for each in found)
    assert 2 <= len(set(found)) <= 6
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert re.fullmatch(
        r"mnas: after \d payloads, a worker had \d{3} open files \(\d+ after its first\), more than half of the limit, "
        "and was replaced, as later ones will be; what it runs seems to keep what it no longer needs",
        said[0],
    )


@pytest.mark.parametrize("name", EXECUTORS)
def test_jobs_of_a_study_are_done_as_trials_are(name: str, tmp_path: Path) -> None:
    execution = APART.get(name, Execution(retries=1))
    if name == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed; pip install 'mnas[ray]'")
    payloads = [{"what": "good", "value": value} for value in range(5)]
    bad = [{"what": "wrong"}, {"what": "refused"}, *([{"what": "segfault"}] if name in APART else [])]
    asked = jobs.study(*payloads, *bad, needs_all=False)
    outcomes = run_study(tmp_path / "study", asked, {**execution.as_dict(), "retries": 1})
    assert [outcome.result["square"] for outcome in outcomes[:5]] == [0, 1, 4, 9, 16]
    processes = {outcome.result["process"] for outcome in outcomes[:5]}
    assert (processes == {os.getpid()}) == (name == "in-process")
    wrong, refused, *died = [outcome.failure for outcome in outcomes[5:]]
    assert wrong == Failure("error", "RuntimeError: broken 2")
    assert refused == Failure("refused", "value: 7 is not for me; fix it")
    assert [failure and failure.kind for failure in died] == ["died"] * (name in APART)
    tried = [jobs.attempts_in(tmp_path / "study" / job.key) for job in asked.jobs]
    assert tried == [1] * 5 + [2, 1] + [2] * (name in APART)


def test_ray_takes_the_code_along(tmp_path: Path) -> None:
    """A node needs neither the project nor the evaluator's file: it runs a copy that was sent.

    In another folder and without PYTHONPATH, because a worker on the same machine would find the project through them.
    """
    pytest.importorskip("ray", reason="ray is not installed; pip install 'mnas[ray]'")
    (tmp_path / "faulty.py").write_text(Path(PLUGIN).read_text())
    (tmp_path / "run.py").write_text(
        "from dataclasses import replace\n"
        "from baselines import load\n"
        "from nas.executors.base import Execution\n"
        "from nas.evaluators.work import evaluation\n"
        "from nas.executors.registry import make_executor\n"
        "with make_executor(Execution('ray'), evaluation('faulty.py', 'efficientnet')) as executor:\n"
        f"    strange = replace(load('efficientnet_b0').architecture, num_classes={faulty.WHERE})\n"
        "    print(executor.submit([strange]).result().outcomes[0].error)\n"
    )
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    if "No module named" in done.stderr:
        pytest.skip("the project is not installed here; make installs it")
    assert "py_modules" in done.stdout, done.stderr
    assert str(Path(nas.__file__).parent) not in done.stdout


def test_trials_run_apart_and_end_with_the_executor(b0: Architecture) -> None:
    with started(APART["processes"]) as made:
        found = outcome(made, b0, faulty.WHO)
        assert isinstance(found, Metrics)
        worker = round(found.accuracy * 1e7)
        assert worker != os.getpid()
        made.submit([replace(b0, num_classes=faulty.SLEEP)])
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


@pytest.mark.parametrize(
    ("changes", "before", "expected"),
    [
        ({}, {}, Execution()),
        ({"retries": 0}, {}, Execution(retries=0)),
        ({"workers": 2}, {}, Execution("processes", workers=2)),
        ({"time_limit": 5.0}, {}, Execution("processes", time_limit=5.0)),
        ({"workers": 2}, Execution(retries=1).as_dict(), Execution("processes", workers=2, retries=1)),
        ({"executor": "ray"}, {}, Execution("ray", workers=0)),
        ({"executor": "ray"}, Execution("processes", workers=2).as_dict(), Execution("ray", workers=0)),
        ({"cores": 2}, Execution("ray", workers=3).as_dict(), Execution("ray", workers=3, cores=2)),
        ({"time_limit": None}, Execution("processes", time_limit=5.0).as_dict(), Execution("processes")),
        (
            {"executor": "in-process"},
            Execution("processes", 4, time_limit=5.0, retries=1).as_dict(),
            Execution(retries=1),
        ),
    ],
)
def test_where_work_runs(changes: dict[str, Any], before: dict[str, Any], expected: Execution) -> None:
    assert execution_of(changes, before) == expected


def test_long_work_is_apart() -> None:
    assert execution_of({}, apart=True) == Execution("processes")
    assert execution_of({"executor": "in-process"}, apart=True) == Execution()
    with pytest.raises(MnasError, match="unknown execution 'wrkers'; did you mean 'workers'"):
        execution_of({"wrkers": 2})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"executor": "proceses"}, "unknown executor 'proceses'; did you mean 'processes'"),
        ({"workers": 2}, "workers: needs trials in processes of their own"),
        ({"time_limit": 5.0}, "time_limit: needs trials in processes of their own"),
        ({"cores": 2}, "cores: needs trials in processes of their own"),
        ({"executor": "processes", "time_limit": 3e6}, "time_limit: 3000000.0 is not a number from 0.001 to 2e"),
        ({"executor": "processes", "time_limit": -1.0}, "time_limit: -1.0 is not a number"),
        ({"executor": "processes", "memory_limit": 5}, "memory_limit: 5 is not"),
        ({"executor": "processes", "gpus": 0.5}, "gpus: only ray assigns GPUs to trials"),
        ({"executor": "ray", "gpus": float("nan")}, "gpus: nan is not"),
        ({"retries": -1}, "retries: -1 is not"),
    ],
)
def test_what_cannot_be_asked_for(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Execution(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": 0, "gpus": 0.5}, r"no node has more than 0 GPU, one task asks for 0\.5"),
        ({"workers": 1, "cores": 1000}, "CPU, one task asks for 1000"),
        ({"workers": 1, "memory_limit": 10**15}, r"memory, one task asks for 1e\+15"),
    ],
)
def test_ray_without_room_says_so(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started(Execution("ray", **fields))  # type: ignore[arg-type]
