"""The journal of a run: one SQLite file with the settings and every trial, the only truth of the run.

Tables: ``run(key, value)`` with JSON values (``schema``, ``settings``, ``versions``), and ``trials``, a row each,
written batch by batch in one transaction. ``sqlite3 journal.sqlite 'select * from trials'`` reads it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from nas.evaluators.base import Metrics
from nas.search import SearchSettings
from nas.trial import Trial
from search_spaces import Genotype, MnasError, architecture_cost, digest, load_space
from search_spaces.plugins import refuse_code
from search_spaces.serialization import from_dict

SCHEMA = 2
FILE_NAME = "journal.sqlite"
_TABLES = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE trials (
    number INTEGER PRIMARY KEY,
    genotype TEXT NOT NULL,      -- JSON object, label to value
    digest TEXT NOT NULL,        -- of the architecture
    macs INTEGER NOT NULL,
    params INTEGER NOT NULL,
    costs TEXT NOT NULL,         -- JSON list: of the objective's targets, in their order
    accuracy REAL,               -- in [0, 1]; NULL where the evaluation failed, as are the next two
    accuracy_std REAL,
    reward REAL,
    error TEXT,                  -- why the evaluation failed; NULL where it did not
    seconds REAL NOT NULL        -- the evaluation took
) STRICT;
"""
_COLUMNS = "number, genotype, digest, macs, params, costs, accuracy, accuracy_std, reward, error, seconds"


class Journal:
    """An open journal. Use `create` for a new run and `open` to read one; close it, or use it in a ``with``."""

    def __init__(
        self, connection: sqlite3.Connection, settings: SearchSettings, file: Path, lock: int | None = None
    ) -> None:
        self._connection = connection
        self._lock = lock
        self.settings = settings
        self.file = file

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as last:
            if self._lock is not None:
                last.callback(os.close, self._lock)
            last.enter_context(closing(self._connection))
            if self._lock is not None:
                # One plain file at rest: whoever only reads it leaves no files of SQLite's beside it. A reader at this
                # very moment keeps the two files; the next one to close the journal removes them.
                with suppress(sqlite3.OperationalError):
                    self._connection.execute("PRAGMA journal_mode = DELETE")

    @classmethod
    def create(cls, folder: Path, settings: SearchSettings) -> Journal:
        """Make the run folder and an empty journal in it.

        Raises:
            MnasError: the folder holds a run already, or anything else, or cannot be made.
        """
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                what = "holds a run already" if (folder / FILE_NAME).exists() else "is there already and is not empty"
                raise MnasError(f"out: {folder} {what}; choose another folder or remove it")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MnasError(f"out: {folder} cannot be made ({error.strerror}); choose another folder") from None
        file, lock = folder / FILE_NAME, _lock(folder)
        try:
            connection = _connect_to_write(file)
            with connection:
                connection.executescript(_TABLES)
                entries = {
                    "schema": SCHEMA,
                    "settings": settings.as_dict(),
                    "versions": versions(),
                    "owner": _owner(),
                }
                connection.executemany(
                    "INSERT INTO run VALUES (?, ?)", [(key, json.dumps(value)) for key, value in entries.items()]
                )
        except sqlite3.Error as error:
            os.close(lock)
            raise MnasError(f"out: {folder} cannot be written ({error}); choose another folder") from None
        return cls(connection, settings, file, lock)

    @classmethod
    def resume(cls, folder: Path, *, allow_code: bool = False) -> Journal:
        """Open the journal of a run to go on with it.

        Raises:
            MnasError: as `open`, or another process is writing it.
        """
        with cls.open(folder, allow_code=allow_code) as journal:
            settings = journal.settings
        lock = _lock(folder)
        try:
            connection = _connect_to_write(folder / FILE_NAME)
            with connection:
                connection.execute("UPDATE run SET value = ? WHERE key = 'owner'", (json.dumps(_owner()),))
        except sqlite3.Error as error:
            os.close(lock)
            raise MnasError(f"resume: {folder} cannot be written ({error}); make room or mend its rights") from None
        return cls(connection, settings, folder / FILE_NAME, lock)

    @classmethod
    def open(cls, folder: Path, *, allow_code: bool = False) -> Journal:
        """Open the journal of a run for reading.

        Args:
            allow_code: whether Python files that the journal names may run; see `search_spaces.plugins`.

        Raises:
            MnasError: the folder holds no run, its journal cannot be read, or it names a Python file that may not run.
        """
        file = folder / FILE_NAME
        if not file.is_file():
            raise MnasError(f"run: {folder} holds no run ({FILE_NAME} is missing); give the folder of a search")
        with _readable(file):
            connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
            entries = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM run")}
            if entries.get("schema") != SCHEMA:
                raise MnasError(f"{file}: schema {entries.get('schema')!r} is unknown; this version reads {SCHEMA}")
            stored = entries.get("settings")
            if not allow_code and isinstance(stored, dict):
                refuse_code(stored.values(), f"run: {folder}")
            settings = from_dict(SearchSettings, entries.get("settings"), "settings")
        return cls(connection, settings, file)

    def append(self, trials: Sequence[Trial]) -> None:
        """Write trials in one transaction: all of them or none.

        Raises:
            MnasError: the file cannot be written, such as on a full disk.
        """
        rows = [
            (
                trial.number,
                json.dumps(trial.genotype),
                digest(trial.architecture),
                trial.cost.macs,
                trial.cost.params,
                json.dumps(trial.costs),
                *(trial.metrics or (None, None)),
                trial.reward,
                trial.error,
                trial.seconds,
            )
            for trial in trials
        ]
        marks = ", ".join("?" * len(rows[0])) if rows else ""
        try:
            with self._connection:
                self._connection.executemany(f"INSERT INTO trials ({_COLUMNS}) VALUES ({marks})", rows)
        except sqlite3.Error as error:
            raise MnasError(f"{self.file}: cannot be written ({error}); the trials before are kept") from None

    def count(self) -> int:
        """How many trials are written."""
        with _readable(self.file):
            return int(self._connection.execute("SELECT count(*) FROM trials").fetchone()[0])

    def best(self) -> Trial:
        """The trial of the highest merit (`Objective.merit`), the earliest of equals.

        Raises:
            MnasError: no trial succeeded.
        """
        objective = self.settings.objective

        def merit(reward: float, costs: str) -> float:
            return float(objective.merit(reward, json.loads(costs)))

        self._connection.create_function("merit", 2, merit, deterministic=True)
        clause = "WHERE reward IS NOT NULL ORDER BY merit(reward, costs) DESC, number LIMIT 1"
        with _readable(self.file):
            last = self._connection.execute("SELECT error FROM trials ORDER BY number DESC LIMIT 1").fetchone()
        why = f"; the last failed with {last[0]}" if last and last[0] else ""
        return self._one(clause, (), f"no successful trial{why}")

    def trial(self, number: int) -> Trial:
        """One trial. Raises `MnasError` where the run has no trial of that number."""
        return self._one("WHERE number = ?", (number,), f"no trial {number} (it has {self.count()}, from 0)")

    def trials(self) -> Iterator[Trial]:
        """All trials in order."""
        with _readable(self.file):
            for row in self._connection.execute(f"SELECT {_COLUMNS} FROM trials ORDER BY number"):
                yield self._trial(row)

    def digest(self) -> str:
        """SHA-256 (16 digits) of settings and trials; what differs from run to run (seconds) is left out."""
        total = hashlib.sha256(json.dumps(self.settings.as_dict(), sort_keys=True).encode())
        columns = _COLUMNS.removesuffix(", seconds")
        with _readable(self.file):
            for row in self._connection.execute(f"SELECT {columns} FROM trials ORDER BY number"):
                total.update(json.dumps(row).encode())
        return total.hexdigest()[:16]

    def _one(self, clause: str, values: tuple[int, ...], nothing: str) -> Trial:
        with _readable(self.file):
            row = self._connection.execute(f"SELECT {_COLUMNS} FROM trials {clause}", values).fetchone()
            if row is None:
                raise MnasError(f"{self.file}: {nothing}; choose another run or trial")
            return self._trial(row)

    def _trial(self, row: tuple[Any, ...]) -> Trial:
        number, genotype_text, stored_digest, macs, params, costs, accuracy, std, reward, error, seconds = row
        genotype: Genotype = json.loads(genotype_text)
        architecture = load_space(self.settings.space).decode(genotype)
        cost = architecture_cost(architecture)
        if (digest(architecture), cost.macs, cost.params) != (stored_digest, macs, params):
            raise MnasError(f"{self.file}: trial {number} does not match its genotype; the journal was changed by hand")
        metrics = None if accuracy is None else Metrics(accuracy, std)
        return Trial(number, genotype, architecture, cost, tuple(json.loads(costs)), metrics, reward, error, seconds)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Say in one line what is wrong with a journal that cannot be read."""
    try:
        yield
    except (sqlite3.Error, json.JSONDecodeError, TypeError, KeyError) as error:
        raise MnasError(f"{file}: not a usable journal ({error}); give the folder of a search") from None


def _connect_to_write(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
    return connection


def _lock(folder: Path) -> int:
    """A descriptor of the folder that no other process can lock until it is closed, or its process has ended.

    Raises:
        MnasError: another process holds it; the message says which one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        owner = _written_owner(folder / FILE_NAME)
        raise MnasError(f"run: {folder} is being written by {owner}; wait for it, or stop it first") from None
    return descriptor


def _owner() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": socket.gethostname()}


def _written_owner(file: Path) -> str:
    with suppress(sqlite3.Error, TypeError, KeyError, ValueError), closing(sqlite3.connect(file)) as connection:
        (text,) = connection.execute("SELECT value FROM run WHERE key = 'owner'").fetchone()
        owner = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}"
    return "another process"


def versions() -> dict[str, str]:
    """Versions on which a run's result may depend."""
    found = {"python": platform.python_version()}
    for package in ("mnas", "numpy", "scipy", "torch", "nni"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
