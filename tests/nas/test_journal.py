from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from nas.executors.base import Failure
from nas.found import spec_of_trial
from nas.journal import Journal, resume_command
from nas.journal_format import FILE_NAME
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import Trial, best_trial
from search_spaces import MnasError
from tests.trials import write

SETTINGS = SearchSettings("efficientnet", "imagenet", "random", make_objective("hard", 400_000_000), 60, 0)


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    done = run_search(SETTINGS)
    done[7] = replace(done[7], metrics=None, reward=None, failure=Failure("error", "RuntimeError: broken"))
    return done


@pytest.fixture
def folder(tmp_path: Path, trials: list[Trial]) -> Path:
    with Journal.create(tmp_path / "run", SETTINGS) as journal:
        write(journal, trials[:40])
        write(journal, trials[40:])
    return tmp_path / "run"


def test_what_is_written_is_read_back(folder: Path, trials: list[Trial]) -> None:
    with Journal.open(folder) as journal:
        assert journal.settings == SETTINGS
        assert list(journal.trials()) == trials
        assert journal.count() == 60
        assert journal.best() == best_trial(trials, SETTINGS.objective)
        assert journal.trial(7) == trials[7]


def test_the_digest_covers_settings_and_outcomes_but_not_seconds(tmp_path: Path, trials: list[Trial]) -> None:
    def digest_of(name: str, settings: SearchSettings, rows: list[Trial]) -> str:
        with Journal.create(tmp_path / name, settings) as journal:
            write(journal, rows)
            return journal.digest()

    first = digest_of("a", SETTINGS, trials)
    assert digest_of("b", SETTINGS, [replace(trial, seconds=9.0) for trial in trials]) == first
    assert digest_of("c", replace(SETTINGS, seed=1), trials) != first
    assert digest_of("d", SETTINGS, trials[:-1]) != first


def test_a_batch_is_written_whole_or_not_at_all(folder: Path, trials: list[Trial]) -> None:
    with Journal.create(folder.parent / "other", SETTINGS) as journal:
        write(journal, trials[:10])
        with pytest.raises(MnasError, match=r"cannot be written .*what was done before is kept"):
            write(journal, [*trials[10:20], trials[3]])
        assert journal.count() == 10


def test_a_folder_with_anything_in_it_is_left_alone(folder: Path, tmp_path: Path) -> None:
    before = (folder / FILE_NAME).read_bytes()
    with pytest.raises(MnasError, match="already holds a run"):
        Journal.create(folder, SETTINGS)
    assert (folder / FILE_NAME).read_bytes() == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(MnasError, match="already exists and is not empty"):
        Journal.create(tmp_path / "notes", SETTINGS)
    with pytest.raises(MnasError, match="already exists"):
        Journal.create(tmp_path / "notes" / "mine.txt", SETTINGS)
    assert [file.name for file in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Journal.create(tmp_path / "empty", SETTINGS).__exit__(None, None, None)
    assert (tmp_path / "empty" / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + b"\x00" * 200])
def test_damaged_journals_are_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(MnasError, match="not a usable journal" if content else "killed before anything") as error:
        Journal.open(tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / FILE_NAME).read_bytes() == content


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / FILE_NAME)
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE run SET value = '99' WHERE key = 'schema'", "schema 99 is unknown"),
        ("UPDATE run SET value = '{}' WHERE key = 'settings'", "settings.objective: None is not a mapping"),
        ("UPDATE run SET value = 'no json' WHERE key = 'settings'", "not a usable journal"),
        ("DELETE FROM run", "schema None is unknown"),
        ("DROP TABLE batches", "not a usable journal"),
        ("UPDATE suggestions SET genotype = '{}'", "stage1_kernel_size: missing"),
        ("UPDATE suggestions SET genotype = '[1'", "not a usable journal"),
        ("UPDATE suggestions SET macs = macs + 1", "does not match its genotype"),
        ("UPDATE completions SET reward = NULL", "no successful trial"),
    ],
)
def test_a_journal_changed_by_hand(folder: Path, statement: str, message: str) -> None:
    change(folder, statement)
    with pytest.raises(MnasError, match=message), Journal.open(folder) as journal:
        journal.best()


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(MnasError, match="holds no run"):
        Journal.open(tmp_path)


def test_freezing_a_trial_keeps_where_it_comes_from(folder: Path) -> None:
    with Journal.open(folder) as journal:
        best = journal.best()
        spec = spec_of_trial(journal, best, "found")
        record = spec.provenance.search
        assert record is not None
        assert (record.trial, record.trials, record.seed) == (best.number, 60, 0)
        assert record.journal_digest == journal.digest()
        assert spec.architecture == best.architecture
        assert best.metrics is not None
        figure = spec.figures[0]
        assert (figure.kind, figure.value, figure.std) == (
            "predicted",
            best.metrics.accuracy,
            best.metrics.accuracy_std,
        )
        assert "shortened schedule" in figure.source
        with pytest.raises(MnasError, match="trial: 7 failed"):
            spec_of_trial(journal, journal.trial(7), "found")
        with pytest.raises(MnasError, match="no trial 60 "):
            journal.trial(60)


def test_closing_while_another_reads(tmp_path: Path, trials: list[Trial]) -> None:
    with Journal.create(tmp_path / "run", SETTINGS) as journal:
        write(journal, trials[:10])
        reader = sqlite3.connect(journal.file)
        reading = reader.execute("SELECT number FROM trials")
        reading.fetchone()
    assert len(reading.fetchall()) == 9
    reader.close()
    with Journal.open(tmp_path / "run") as again:
        assert again.count() == 10


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"space": "efficientnet", "evaluator": "imagenet", "objective": {"form": "hard"}}, ""),
        ({"space": "efficientnet", "evaluator": "mine.py:Mine", "objective": {"form": "hard"}}, " --allow-code"),
        ({"space": "own.py", "evaluator": "imagenet"}, " --allow-code"),
    ],
)
def test_the_command_that_resumes_allows_code_where_the_run_names_some(
    settings: dict[str, object], expected: str
) -> None:
    assert resume_command(Path("my run"), settings) == f"mnas search --resume 'my run'{expected}"
