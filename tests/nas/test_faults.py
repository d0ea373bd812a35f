"""What a search survives: trials that fail in every way, interruptions, a full disk, and being killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nas
from baselines import load
from benchmarks import faults
from nas import record
from nas.evaluators import registry
from nas.evaluators.base import Metrics
from nas.evaluators.imagenet import ImageNetPredictor
from nas.evaluators.work import evaluation
from nas.executors import worker
from nas.executors.base import FAULTS, Execution, Failure
from nas.executors.registry import make_executor
from nas.journal import Journal
from nas.journal_format import FILE_NAME
from nas.objective import make_objective
from nas.runs import look_at
from nas.search_loop import SearchEvents, SearchSettings, _Search, run_search
from nas.trial import Batch, Completion, History, Trial
from search_spaces import Architecture, MnasError, load_space
from tests.processes import environment

SOFT = make_objective("soft", 400e6)

FAULTY = """
import os, signal, time
from nas.evaluators.imagenet import ImageNetPredictor

class Faulty(ImageNetPredictor):
    instant = False
    calls = 0

    def evaluate(self, architectures, seed=0):
        (architecture,) = architectures
        first, last = architecture.stages[0].block, architecture.stages[-1].block
        type(self).calls += 1
        if (first.kernel_size, first.expand_ratio) == (5, 6):
            os.kill(os.getpid(), signal.SIGSEGV)
        if (first.kernel_size, first.expand_ratio, first.se_ratio) == (3, 6, 0.25):
            time.sleep(1e6)
        if (last.kernel_size, last.expand_ratio) == (5, 6):
            b"1" * 2**40
        if self.calls % 3 == 0:
            raise OSError("every third time")
        return super().evaluate(architectures, seed)

evaluator = Faulty
"""


def expected(architecture: Architecture) -> str | None:
    first, last = architecture.stages[0].block, architecture.stages[-1].block
    if (first.kernel_size, first.expand_ratio) == (5, 6):
        return "died"
    if (first.kernel_size, first.expand_ratio, first.se_ratio) == (3, 6, 0.25):
        return "time"
    return "memory" if (last.kernel_size, last.expand_ratio) == (5, 6) else None


@pytest.mark.slow
def test_a_search_outlives_every_kind_of_fault(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    settings = SearchSettings("efficientnet", f"{tmp_path}/faulty.py", "random", SOFT, 80, 0)
    execution = Execution("processes", workers=2, time_limit=1.0, memory_limit=2 * 10**9)
    with Journal.create(tmp_path / "run", settings, execution) as journal:
        trials = run_search(settings, journal, execution)
        assert [trial.number for trial in trials] == list(range(80))
        kinds = {trial.failure.kind if trial.failure else None for trial in trials}
        assert kinds == {"died", "time", "memory", None}
        for trial in trials:
            kind = expected(trial.architecture)
            assert (trial.failure and trial.failure.kind) == kind
            # A worker's third call may be for any trial; failures that may be temporary are tried three times.
            assert trial.attempts == 3 if kind in ("died", "memory") else trial.attempts <= 3
        assert any(trial.attempts == 2 for trial in trials if trial.failure is None)
        assert list(journal.trials()) == trials
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / FILE_NAME)) as connection:
        failed = connection.execute("SELECT DISTINCT failure FROM failed_attempts").fetchall()
    assert {kind for (kind,) in failed} <= {kind for kind, fault in FAULTS.items() if fault.retried}


class Greedy(ImageNetPredictor):
    """Runs out of memory on networks of more than 3.5M parameters."""

    name = "greedy"

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        from search_spaces import architecture_cost

        if any(architecture_cost(architecture).params > 3_500_000 for architecture in architectures):
            raise MemoryError("too large")
        return super().evaluate(architectures, seed)


@pytest.mark.parametrize("controller", ["bayesian", "ppo", "nni:regularized-evolution"])
def test_a_controller_leaves_networks_that_fail(monkeypatch: pytest.MonkeyPatch, controller: str) -> None:
    """They count as the worst so far; a controller that is not told suggests them until the search gives up."""
    monkeypatch.setitem(registry.EVALUATORS, "greedy", Greedy)
    settings = SearchSettings("efficientnet", "greedy", controller, SOFT, 300, 0)
    trials = run_search(settings)
    space = load_space("efficientnet")
    sizes = space.cost("params", space.sample_indices(np.random.default_rng(0), 1000))
    assert sum(trial.failure is not None for trial in trials[-100:]) / 100 < 0.5 * (sizes > 3_500_000).mean()
    if controller == "bayesian":
        monkeypatch.setattr(_Search, "_lesson", lambda self, trial: trial)
        with pytest.raises(MnasError, match="50 failures in a row; last: MemoryError: too large"):
            run_search(settings)


class Forbidden(SearchEvents):
    """Events that allow no trial to be done again."""

    def completed(self, trials: Sequence[Trial], controller: object) -> None:
        raise AssertionError("a trial was done again")


TIMED = str(Path(__file__).resolve().parents[2] / "benchmarks" / "timed_imagenet.py")


@pytest.mark.parametrize("controller", ["ppo", "bayesian", "nni:regularized-evolution", "optuna:tpe"])
def test_several_workers_are_killed_resumed_and_played_again(tmp_path: Path, controller: str) -> None:
    options = ("--evaluator", TIMED, "--controller", controller, "--trials", "80", "--workers", "2")
    process = search(tmp_path, *options, "--out", "run", SECONDS="0.02")
    wait_for(lambda: completions(tmp_path / "run") > 20, process)
    process.kill()
    process.communicate()
    before = completions(tmp_path / "run")
    process = search(tmp_path, "--resume", "run", "--allow-code", SECONDS="0.02")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert before < 80
    with Journal.open(tmp_path / "run", allow_code=True) as journal:
        assert [trial.number for trial in journal.trials()] == list(range(80))
        trials = run_search(journal.settings, Forbidden(), history=journal.history())
        assert trials == list(journal.trials())


def search(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nas", "search", *arguments],
        cwd=folder,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def completions(folder: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / FILE_NAME}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM completions").fetchone()[0])
    except sqlite3.Error:
        return 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


ANNOUNCED = """
import os, time
from pathlib import Path
from nas.evaluators.imagenet import ImageNetPredictor

class Announced(ImageNetPredictor):
    instant = False
    calls = 0

    def evaluate(self, architectures, seed=0):
        type(self).calls += 1
        if self.calls == 3:
            Path("HERE/worker").write_text(str(os.getpid()))
            while not Path("HERE/go").exists():
                time.sleep(0.01)
            if Path("HERE/fail").exists():
                raise OSError("failed")
        return super().evaluate(architectures, seed)

evaluator = Announced
"""


@pytest.fixture(params=[()])
def held(tmp_path: Path, request: pytest.FixtureRequest) -> subprocess.Popen[str]:
    """A search whose third trial waits for a file ``go``; a test may give further options."""
    (tmp_path / "announced.py").write_text(ANNOUNCED.replace("HERE", str(tmp_path)))
    options = ("--evaluator", "announced.py", "--controller", "random", "--trials", "10", "--out", "run")
    process = search(tmp_path, *options, *request.param)
    wait_for((tmp_path / "worker").exists, process)
    return process


def test_the_first_interrupt_finishes_what_is_under_way(held: subprocess.Popen[str], tmp_path: Path) -> None:
    held.send_signal(signal.SIGINT)
    assert held.stderr is not None
    lines = iter(held.stderr.readline, "")
    assert any("finishing work in progress; press Ctrl-C again to end at once" in line for line in lines)
    (tmp_path / "go").touch()
    out, err = held.communicate(timeout=60)
    assert held.returncode == 130
    assert "resume with: mnas search --resume run" in err
    assert "Traceback" not in err
    assert "Found" in out
    assert completions(tmp_path / "run") == 3


@pytest.mark.parametrize(
    ("held", "failing", "status", "state"),
    [(("--trials", "3"), False, 0, "complete"), (("--retries", "0"), True, 130, "interrupted")],
    indirect=["held"],
)
def test_an_interrupt_during_the_last_trial_or_before_the_first_success(
    held: subprocess.Popen[str], tmp_path: Path, failing: bool, status: int, state: str
) -> None:
    """The first changes nothing; the second is an interruption, not a failure."""
    held.send_signal(signal.SIGINT)
    if failing:
        with contextlib.closing(sqlite3.connect(tmp_path / "run" / FILE_NAME)) as connection, connection:
            connection.execute("UPDATE completions SET accuracy = NULL, reward = NULL, failure = 'error', error = ''")
        (tmp_path / "fail").touch()
    (tmp_path / "go").touch()
    out, err = held.communicate(timeout=60)
    assert held.returncode == status, out + err
    assert ("resume with" in err) == failing
    assert "Traceback" not in out + err
    assert look_at(tmp_path / "run").state == state


RAY = ("--executor", "ray", "--workers", "1")


@pytest.mark.parametrize(
    ("held", "signals"),
    [((), (signal.SIGINT, signal.SIGINT)), ((), (signal.SIGTERM,)), (RAY, (signal.SIGTERM,))],
    indirect=["held"],
)
def test_the_second_interrupt_ends_at_once(
    held: subprocess.Popen[str], tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    for number in signals:
        held.send_signal(number)
        time.sleep(0.2)
    out, err = held.communicate(timeout=60)
    assert held.returncode == 130
    assert "resume with: mnas search --resume run" in err
    assert "Traceback" not in err + out
    assert completions(tmp_path / "run") == 2
    worker = int((tmp_path / "worker").read_text())
    deadline = time.monotonic() + 60
    while not is_gone(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone(worker)
    (tmp_path / "go").touch()
    process = search(tmp_path, "--resume", "run", "--allow-code")
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert completions(tmp_path / "run") == 10


def test_a_killed_search_leaves_no_worker_behind(held: subprocess.Popen[str], tmp_path: Path) -> None:
    held.kill()
    held.communicate()
    worker = int((tmp_path / "worker").read_text())
    deadline = time.monotonic() + 60
    while not is_gone(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone(worker)


def is_gone(process: int) -> bool:
    try:
        return "(" in (state := Path(f"/proc/{process}/stat").read_text()) and state.rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_disk_that_is_full_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    """No file may grow beyond 600 KB, which fails like a full disk."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000)); "
        "from nas.__main__ import main; "
        "sys.exit(main(['search', '--controller', 'random', '--trials', '3000', '--out', 'run']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("mnas: ") and "journal" in line]
    assert len(said) == 1
    assert "what was done before is kept: make room, then mnas search --resume" in said[0]
    assert "Traceback" not in done.stderr
    kept = completions(tmp_path / "run")
    assert 0 < kept < 3000
    process = search(tmp_path, "--resume", "run")
    process.communicate()
    assert process.returncode == 0
    settings = SearchSettings("efficientnet", "imagenet", "random", make_objective("hard", 400e6), 3000, 0)
    with Journal.open(tmp_path / "run") as journal:
        found = [(trial.genotype, trial.metrics) for trial in journal.trials()]
    assert found == [(trial.genotype, trial.metrics) for trial in run_search(settings)]


@pytest.mark.parametrize("size", [43_296, 47_500, 105_096, 138_056])
def test_a_disk_may_be_full_at_any_moment(tmp_path: Path, size: int) -> None:
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size})); "
        "from nas.__main__ import main; "
        "sys.exit(main(['search', '--controller', 'random', '--trials', '100', '--out', 'run']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("mnas: ") and "TensorBoard" not in line]
    assert len(said) == (done.returncode == 2)
    if said and "--resume" in said[0]:  # the advice works
        process = search(tmp_path, "--resume", "run")
        _, err = process.communicate()
        assert process.returncode == 0, err


NOISY = """
import multiprocessing, time
from nas.evaluators.imagenet import ImageNetPredictor

class Noisy(ImageNetPredictor):
    instant = False

    def evaluate(self, architectures, seed=0):
        print("epoch 1 of 1", flush=True)
        return super().evaluate(architectures, seed)

class Slow(ImageNetPredictor):
    def __init__(self):
        super().__init__()
        if multiprocessing.parent_process():
            time.sleep(1e6)
"""


def test_what_an_evaluator_prints_is_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    process = search(tmp_path, "--evaluator", "noisy.py:Noisy", "--trials", "3", "--json", "--out", "run")
    out, err = process.communicate()
    assert json.loads(out)["trials"] == 3
    assert "epoch 1 of 1" in err


def test_a_worker_that_never_has_its_evaluator_costs_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    monkeypatch.setattr(worker, "START_SECONDS", 1.0)
    with make_executor(Execution("processes"), evaluation(f"{tmp_path}/noisy.py:Slow", "efficientnet")) as executor:
        (found,) = executor.submit([load("efficientnet_b0").architecture]).result(timeout=60).outcomes
    assert found == Failure("time", "was not loaded after 1 s")


def test_a_worker_that_cannot_be_started_costs_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(process: object) -> None:
        raise OSError(24, "Too many open files")

    killed: list[int] = []
    monkeypatch.setattr(worker.SpawnProcess, "start", no_more)
    monkeypatch.setattr(os, "killpg", lambda group, number: killed.append(group))
    with make_executor(Execution("processes"), evaluation("imagenet", "efficientnet")) as executor:
        (found,) = executor.submit([load("efficientnet_b0").architecture]).result(timeout=60).outcomes
    assert found == Failure("died", "no worker could be started (Too many open files)")
    assert killed == []


def test_workers_of_a_script_without_a_main_guard_name_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import nas\nnas.search(target_macs=180e6, trials=2, workers=1, execution={'executor': 'processes'})\n"
    )
    ran = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment()
    )
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert "no worker could be started (exit status 1; " in last
    assert 'if __name__ == "__main__":' in last
    # The worker failed once, and left no run of its own beside that of the script.
    assert ran.stderr.count("MnasError: workers: ") == 1
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_an_evaluator_that_cannot_be_sent_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed; pip install 'mnas[ray]'")
    (tmp_path / "locked.py").write_text(
        "import threading\nfrom nas.evaluators.imagenet import ImageNetPredictor\n"
        "class Locked(ImageNetPredictor):\n    lock = threading.Lock()\nevaluator = Locked\n"
    )
    with pytest.raises(MnasError, match=r"imagenet cannot be sent to other machines .*TypeError"):
        make_executor(Execution("ray"), evaluation(f"{tmp_path}/locked.py", "efficientnet"))


def test_a_search_that_is_killed_before_it_began_may_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SearchSettings("efficientnet", "imagenet", "random", SOFT, 20, 0)
    with monkeypatch.context() as patch:
        patch.setattr(record, "_begin", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Journal.create(tmp_path / "run", settings)
    with Journal.create(tmp_path / "run", settings) as journal:
        assert journal.count() == 0


def test_a_file_system_without_locks_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(MnasError, match=r"cannot be locked .No locks available"):
        Journal.create(tmp_path / "run", SearchSettings("efficientnet", "imagenet", "random", SOFT, 20, 0))


def test_limits_can_be_dropped(tmp_path: Path) -> None:
    settings = SearchSettings("efficientnet", "imagenet", "random", SOFT, 20, 0)
    with Journal.create(tmp_path / "run", settings, Execution("processes", time_limit=60.0, retries=1)):
        pass
    options = ("--executor", "in-process", "--time-limit", "none", "--retries", "0")
    process = search(tmp_path, "--resume", "run", *options)
    _, err = process.communicate()
    assert process.returncode == 0, err
    with Journal.open(tmp_path / "run") as journal:
        assert journal.execution == Execution(retries=0)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (History([Batch(5, 5, 3)], [{}] * 5), "trial 0 was completed before it was suggested"),
        (History([Batch(5, 5, 0)], [{}] * 5, versions={"numpy": "0.1"}), r"trial 0 was another .* numpy 0\.1 \(now"),
        (History([], [], {4: Completion(Metrics(0.5), 0.5, 1, 0.0)}), "trial 4 was completed before"),
    ],
)
def test_a_history_that_contradicts_itself(history: History, message: str) -> None:
    settings = SearchSettings("efficientnet", "imagenet", "random", SOFT, 20, 0)
    with pytest.raises(MnasError, match=f"resume: {message}"):
        run_search(settings, history=history)


@pytest.mark.parametrize("objective", ["hard", "calibrated"])
def test_objects_that_workers_cannot_import_are_refused(tmp_path: Path, objective: str) -> None:
    class Own(ImageNetPredictor):
        """Keeps the name of what it inherits, but is another evaluator."""

        def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
            return [Metrics(0.5) for _ in architectures]

    chosen: dict[str, Any] = {"evaluator": Own(), "objective": objective, "controller": "random", "trials": 5}
    for fields in ({"workers": 2}, {"execution": {"time_limit": 5.0}}, {"execution": {"executor": "processes"}}):
        with pytest.raises(MnasError, match=r"trials cannot run in other processes: .*Own is defined where"):
            nas.search(**chosen, **fields, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
    assert nas.search(**chosen, out=tmp_path / "run").best.metrics == Metrics(0.5)


@pytest.mark.slow
def test_a_ray_node_that_dies_costs_no_trial() -> None:
    pytest.importorskip("ray", reason="ray is not installed; pip install 'mnas[ray]'")
    faults.ray(0)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_small_file_system_that_fills() -> None:
    try:
        with faults.small_disk(1):
            pass
    except subprocess.CalledProcessError:
        pytest.skip("no file system can be mounted here")
    faults.disk(0)
