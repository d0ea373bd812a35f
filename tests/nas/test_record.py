"""A run depends on the files that it names: they are found from every folder, and changes are never taken silently."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import nas
from nas import record
from nas.__main__ import main
from nas.evaluators.base import Metrics
from nas.evaluators.imagenet import ImageNetPredictor
from nas.journal import Journal
from nas.record import Change, _copy_in_memory
from nas.studies.rediscovery import RediscoverySettings, rediscover
from search_spaces import Architecture, MnasError
from search_spaces.plugins import _run_file, located, portable

PLUGIN = """
from nas.evaluators.base import Evaluator, Metrics

class Constant(Evaluator):
    name, meaning, instant = "constant", "a constant", True

    def check(self, architecture):
        pass

    def evaluate(self, architectures, seed=0):
        return [Metrics({accuracy}) for _ in architectures]

evaluator = Constant
"""


def write_plugin(folder: Path, accuracy: float) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "ev.py").write_text(PLUGIN.replace("{accuracy}", str(accuracy)))
    _run_file.cache_clear()
    nas.evaluators.registry._load_evaluator.cache_clear()  # type: ignore[attr-defined]
    return folder / "ev.py"


def accuracies(run: Path) -> list[float]:
    with Journal.open(run, allow_code=True) as journal:
        return [trial.metrics.accuracy for trial in journal.trials() if trial.metrics]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of five trials, started in the folder ``a`` with ``ev.py`` there."""
    write_plugin(tmp_path / "a", 0.5)
    write_plugin(tmp_path / "b", 0.25)
    monkeypatch.chdir(tmp_path / "a")
    _run_file.cache_clear()
    nas.search(evaluator="ev.py", controller="random", trials=5, out=tmp_path / "run")
    return tmp_path / "run"


def test_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "object:Mine#1", "train:images"):
        assert located(name) == name
    assert located("ev.py") == f"{tmp_path}/ev.py"
    assert located("a/ev.py:Mine") == f"{tmp_path}/a/ev.py:Mine"
    assert located("table:t.csv") == f"table:{tmp_path}/t.csv"
    assert [portable(located(name)) for name in ("a/ev.py:Mine", "table:a/t.csv")] == ["ev.py:Mine", "table:t.csv"]
    assert portable("object:Mine#1") == "object:Mine"


def test_a_resume_from_another_folder_uses_the_same_file(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent / "b")
    _run_file.cache_clear()
    nas.resume(run, trials=8, allow_code=True)
    assert accuracies(run) == [0.5] * 8


def test_a_changed_file_is_refused_until_it_is_accepted(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_plugin(run.parent / "a", 0.75)
    for command in (["search", "--resume", str(run), "--trials", "8"], ["freeze", str(run), "--name", "x"]):
        assert main([*command, "--allow-code"]) == 2
        message = capsys.readouterr().err
        assert f"{file} has changed since the run was started; restore it, start a new run, or accept it" in message
    advice = re.search(r"accept it: mnas (search --resume \S+ --allow-code --accept-changes)", message)
    assert advice is not None
    assert main([*advice[1].split(), "--trials", "8"]) == 0
    assert "ev.py changed after 5 results, which may not be comparable" in " ".join(capsys.readouterr().out.split())
    assert accuracies(run) == [0.5] * 5 + [0.75] * 3
    with Journal.open(run, allow_code=True) as journal:
        (change,) = journal.changes()
    assert (change.name, change.done) == (str(file), 5)
    assert nas.load_run(run, allow_code=True).changes == (change,)
    assert main(["report", str(run), "--allow-code", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reproduce"]["changes"][0]["done"] == 5
    write_plugin(run.parent / "a", 0.5)  # back again is a change, too
    with pytest.raises(MnasError, match="has changed"):
        nas.resume(run, trials=10, allow_code=True)
    found = nas.resume(run, trials=10, allow_code=True, accept_changes=True)
    assert [change.done for change in found.changes] == [5, 8]


def test_accepting_code_does_not_allow_it(run: Path) -> None:
    write_plugin(run.parent / "a", 0.75)
    with pytest.raises(MnasError, match="add --allow-code"):
        nas.resume(run, trials=8, accept_changes=True)


def test_a_moved_file_is_named_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run.parent / "a" / "ev.py"
    moved = file.rename(run.parent / "moved.py")
    _run_file.cache_clear()
    resume = ["search", "--resume", str(run), "--trials", "8", "--allow-code"]
    assert main(resume) == 2
    assert "ev.py is gone; put it back, or say where it is now: mnas search --resume" in capsys.readouterr().err
    assert main([*resume, "--evaluator", str(run.parent / "b" / "ev.py")]) == 2  # another file
    assert "has changed since the run was started" in capsys.readouterr().err
    assert main([*resume, "--evaluator", "imagenet"]) == 2
    assert "ev.py, and is resumed with it; remove evaluator" in capsys.readouterr().err
    assert main([*resume, "--evaluator", str(moved)]) == 0
    assert accuracies(run) == [0.5] * 8
    assert nas.resume(run, trials=9, allow_code=True).settings.evaluator == str(moved)  # it stays there


def test_a_changed_table_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    rows = [(a, b) for a in range(5) for b in range(5)]
    file.write_text("a,b,accuracy\n" + "".join(f"{a},{b},0.5\n" for a, b in rows))
    given = {"space": "table", "targets": {}, "controller": "random"}
    nas.search(evaluator=f"table:{file}", trials=5, out=tmp_path / "run", **given)  # type: ignore[arg-type]
    file.write_text("a,b,accuracy\n" + "".join(f"{a},{b},0.25\n" for a, b in rows))
    with pytest.raises(MnasError, match=r"t\.csv has changed since the run was started"):
        nas.resume(tmp_path / "run", trials=8)
    found = nas.resume(tmp_path / "run", trials=8, accept_changes=True)
    assert accuracies(tmp_path / "run") == [0.5] * 5 + [0.25] * 3
    assert found.changes == (Change(f"table:{file}", found.changes[0].before, found.changes[0].after, 5),)


def test_a_changed_table_of_a_run_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b,accuracy\n" + "".join(f"{a},{b},0.5\n" for a in range(3) for b in range(3)))
    nas.search(
        evaluator=f"table:{file}", space="table", targets={}, controller="random", trials=3, out=tmp_path / "run"
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "journal.sqlite")) as connection, connection:
        digest = json.loads(connection.execute("SELECT value FROM run WHERE key = 'contents'").fetchone()[0])
        connection.execute("DELETE FROM run WHERE key = 'contents'")
        (value,) = digest.values()
        connection.execute("INSERT INTO run VALUES ('fingerprint', ?)", (json.dumps(value),))
    assert nas.load_run(tmp_path / "run").done == 3
    file.write_text(file.read_text().replace("0.5", "0.25"))
    with pytest.raises(MnasError, match=r"t\.csv has changed since the run was started"):
        nas.resume(tmp_path / "run", trials=5)


def test_equal_runs_of_other_folders_have_one_digest_and_specs_name_no_folder(run: Path) -> None:
    write_plugin(run.parent / "c", 0.5)
    other = run.parent / "other"
    nas.search(evaluator=str(run.parent / "c" / "ev.py"), controller="random", trials=5, out=other)
    with Journal.open(run, allow_code=True) as one, Journal.open(other, allow_code=True) as two:
        assert one.digest() == two.digest()
    found = nas.load_run(run, allow_code=True)
    assert found.spec is not None
    assert found.spec.provenance.search is not None
    assert found.spec.provenance.search.evaluator == "ev.py"


def test_a_study_refuses_a_changed_file(tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "a", 0.5)
    settings = RediscoverySettings(controllers=("random",), seeds=1, trials=3, evaluator=str(file))
    rediscover(tmp_path / "study", settings, {"executor": "in-process", "workers": 1})
    write_plugin(tmp_path / "a", 0.25)
    with pytest.raises(MnasError, match=r"ev\.py has changed since the run was started; restore it, or start a new"):
        rediscover(tmp_path / "study", RediscoverySettings(("random",), 1, 3, str(file)), {"executor": "in-process"})


def test_accepting_needs_a_resume(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--accept-changes", "--trials", "2"]) == 2
    assert capsys.readouterr().err == "mnas: --accept-changes: needs --resume RUN; add it\n"


def test_a_killed_run_is_read_where_nothing_can_be_written(run: Path, tmp_path: Path) -> None:
    """SQLite could read the log only by writing beside it."""
    with Journal.resume(run, allow_code=True, trials=6) as journal:
        shutil.copytree(run, tmp_path / "killed")
        expected = journal.session()["pid"], len(list(journal.records()))
    assert (tmp_path / "killed" / "journal.sqlite-wal").stat().st_size
    file = tmp_path / "killed" / "journal.sqlite"
    before = {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()}
    with contextlib.closing(_copy_in_memory(file, file.with_name("journal.sqlite-wal"))) as connection:
        pid = connection.execute("SELECT pid FROM sessions ORDER BY session DESC").fetchone()[0]
        assert (pid, connection.execute("SELECT count(*) FROM suggestions").fetchone()[0]) == expected
        assert connection.execute("SELECT count(*) FROM sessions").fetchone()[0] == 2  # the second is in the log alone
    assert {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()} == before


def test_a_run_killed_before_its_start_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.sqlite").touch()
    with pytest.raises(MnasError, match="killed before anything was written; remove it and start again"):
        Journal.open(tmp_path / "run")


class Again(ImageNetPredictor):
    """An evaluator given as an object to resume a run that began with one."""


def search_with(action: Callable[[], object], out: Path) -> None:
    class Acting(ImageNetPredictor):
        instant = False
        calls = 0

        def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
            self.calls += 1
            if self.calls == 6:
                action()
            return super().evaluate(architectures, seed)

    nas.search(evaluator=Acting(), controller="random", trials=12, execution={"executor": "in-process"}, out=out)


def test_a_folder_that_is_removed_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match=r"run: .* was moved or removed while it was being written"):
        search_with(lambda: shutil.rmtree(tmp_path / "run"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_moved_keeps_what_was_done(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match="if it was moved, resume it where it is now"):
        search_with(lambda: (tmp_path / "run").rename(tmp_path / "moved"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with Journal.open(tmp_path / "moved") as journal:
        assert journal.count() == 5
    found = nas.resume(tmp_path / "moved", evaluator=Again)
    assert (found.done, found.complete) == (12, True)


def test_the_file_alone_is_nearly_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WHOLE_SECONDS", 0.0)
    (tmp_path / "copy").mkdir()
    search_with(lambda: shutil.copy(tmp_path / "run" / "journal.sqlite", tmp_path / "copy"), tmp_path / "run")
    with Journal.open(tmp_path / "copy") as journal:
        assert journal.count() == 5
