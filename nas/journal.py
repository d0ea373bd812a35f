"""The journal of a run: one SQLite file with all that was suggested and done, in order; the only truth of the run.

It is written as things happen, one transaction an event (write-ahead log, every completion flushed to the disk), so
that whatever ends the process or the machine, what was written is whole. Its tables are those of `nas.journal_format`,
which the ``sqlite3`` shell shows with ``.schema``; ``sqlite3 journal.sqlite 'select * from trials'`` reads the trials.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from baselines.owner import lock
from nas.controllers.base import Controller
from nas.executors.base import Execution, Failure
from nas.history import Batch, Completion, History, versions
from nas.journal_format import (
    COLUMNS,
    FILE_NAME,
    SCHEMA,
    TABLES,
    Record,
    check_time,
    plain_json,
    readable,
    record_of,
    tables,
    whole,
)
from nas.objective import Objective
from nas.search import SearchEvents, SearchSettings
from nas.trial import Trial
from search_spaces import MnasError, architecture_cost, digest, load_space
from search_spaces.errors import one_line
from search_spaces.plugins import refuse_code
from search_spaces.serialization import from_dict


class JournalError(MnasError):
    """A journal cannot be written any more; what was written is whole."""


class Journal(SearchEvents):
    """An open journal, which writes what a search tells it.

    Use `create` for a new run, `resume` to go on with one and `open` to read one; close it, or use it in a ``with``.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        file: Path,
        entries: Mapping[str, Any],
        lock: int | None = None,
        session: int = 0,
        *,
        code: bool,
    ) -> None:
        self._connection = connection
        self._entries = entries
        self._lock = lock
        self._allow_code = code
        self._session = session
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
            if self._lock is None:
                return
            with suppress(sqlite3.Error, MnasError):  # on a full disk there is no room for a farewell
                if kind is not None:
                    self.end("interrupted" if kind is KeyboardInterrupt else str(error) or kind.__name__)
                # One plain file at rest: whoever only reads it leaves no files of SQLite's beside it. A reader at this
                # very moment keeps the two files; the next one to close the journal removes them.
                self._connection.execute("PRAGMA journal_mode = DELETE")

    # --- opening --------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, settings: SearchSettings, execution: Execution | None = None) -> Journal:
        """Make the run folder and an empty journal in it.

        Raises:
            MnasError: the folder holds a run already, or anything else, or cannot be made.
        """
        try:
            if folder.exists() and not (folder.is_dir() and _never_began(folder)):
                what = "holds a run already" if (folder / FILE_NAME).exists() else "is there already and is not empty"
                raise MnasError(f"out: {folder} {what}; choose another folder or remove it")
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MnasError(f"out: {folder} cannot be made ({error.strerror}); choose another folder") from None
        entries = {"schema": SCHEMA, "settings": settings.as_dict(), "versions": versions()}
        file, lock = folder / FILE_NAME, _own(folder)
        try:
            connection = _connect_to_write(file)
            with connection:
                connection.executescript(f"BEGIN; {TABLES}")
                rows = [(key, json.dumps(value)) for key, value in entries.items()]
                connection.executemany("INSERT INTO run VALUES (?, ?)", rows)
                session = _begin(connection, execution or Execution())
        except BaseException as error:
            os.close(lock)
            if not isinstance(error, sqlite3.Error):
                raise
            raise MnasError(f"out: {folder} cannot be written ({error}); choose another folder") from None
        return cls(connection, file, json.loads(json.dumps(entries)), lock, session, code=True)

    @classmethod
    def resume(
        cls,
        folder: Path,
        *,
        allow_code: bool = False,
        changes: Mapping[str, Any] | None = None,
        trials: int | None = None,
    ) -> Journal:
        """Open the journal of a run to go on with it.

        Args:
            allow_code: as in `open`.
            changes: fields of the execution that are other than in the last session.
            trials: how many the whole run shall have now.

        Raises:
            MnasError: as `open`, another process is writing it, or a change breaks its rule.
        """
        with cls.open(folder, allow_code=allow_code) as journal:
            settings = journal.settings
            execution = from_dict(Execution, {**journal.execution.as_dict(), **(changes or {})}, "execution")
            if trials is not None:
                settings = _with_trials(settings, trials, journal.suggested_count())
            entries = {**journal._entries, "settings": settings.as_dict()}
        lock = _own(folder)
        try:
            connection = _connect_to_write(folder / FILE_NAME)
            with connection:
                values = (json.dumps(entries["settings"]),)
                connection.execute("UPDATE run SET value = ? WHERE key = 'settings' AND value != ?", (*values, *values))
                session = _begin(connection, execution)
        except sqlite3.Error as error:
            os.close(lock)
            raise MnasError(f"resume: {folder} cannot be written ({error}); make room or mend its rights") from None
        stored = json.loads(json.dumps(entries))
        return cls(connection, folder / FILE_NAME, stored, lock, session, code=allow_code)

    @classmethod
    def open(cls, folder: Path, *, allow_code: bool = False) -> Journal:
        """Open the journal of a run for reading.

        Args:
            allow_code: whether Python files that the journal names may run (`search_spaces.plugins`), which they do
                when `settings` are asked for.

        Raises:
            MnasError: the folder holds no run, or its journal cannot be read.
        """
        file = folder / FILE_NAME
        if not file.is_file():
            raise MnasError(f"run: {folder} holds no run ({FILE_NAME} is missing); give the folder of a search")
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            with readable(file):
                found = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
                if ("table", "run") not in {row[:2] for row in found}:
                    raise ValueError("it has no table 'run'")
                entries = {key: plain_json(value) for key, value in connection.execute("SELECT key, value FROM run")}
                if entries.get("schema") != SCHEMA:
                    raise MnasError(f"{file}: schema {entries.get('schema')!r} is unknown; this version reads {SCHEMA}")
                # A file of a stranger could hold views and triggers; it holds our tables, or it is none of ours.
                if {row for row in found if row[2]} != tables():
                    raise ValueError("its tables are not those of a run")
                if not isinstance(entries.get("settings"), dict) or not isinstance(entries.get("versions"), dict):
                    raise ValueError("its settings are missing")
        except BaseException:
            connection.close()
            raise
        return cls(connection, file, entries, code=allow_code)

    # --- what the run is ------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> SearchSettings:
        """The settings.

        Raises:
            MnasError: they break a rule, or name a Python file that may not run.
        """
        stored: dict[str, Any] = self._entries["settings"]
        if not self._allow_code:
            refuse_code(stored.values(), f"run: {self.file.parent}")
        return from_dict(SearchSettings, stored, "settings")

    @property
    def plain_settings(self) -> Mapping[str, Any]:
        """The settings as plain data, unchecked: nothing is loaded that they name."""
        settings: Mapping[str, Any] = self._entries["settings"]
        return settings

    @cached_property
    def objective(self) -> Objective:
        """The objective, for which nothing need be loaded. Raises `MnasError` where it breaks a rule."""
        return from_dict(Objective, self._entries["settings"].get("objective"), "settings.objective")

    @property
    def execution(self) -> Execution:
        """Where and how trials ran in the last session. Raises `MnasError` where it breaks a rule."""
        return from_dict(Execution, self.session()["execution"], "execution")

    def session(self) -> dict[str, Any]:
        """The last session: columns of the table ``sessions``."""
        with readable(self.file):
            cursor = self._connection.execute("SELECT * FROM sessions ORDER BY session DESC LIMIT 1")
            row = cursor.fetchone()
            if row is None:
                raise ValueError("no process ever worked on it")
            plain = [one_line(value) if isinstance(value, str) else value for value in row]
            found = dict(zip([column[0] for column in cursor.description], plain, strict=True))
            check_time(found["started"])
            return {**found, "versions": plain_json(row[4]), "execution": plain_json(row[5])}

    # --- writing --------------------------------------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Say why this session ends; the first reason holds. Raises `JournalError` where that cannot be written."""
        with self._writing():
            self._connection.execute(
                "UPDATE sessions SET ended = ?, reason = ? WHERE session = ? AND ended IS NULL",
                (time.time(), reason, self._session),
            )

    def suggested(self, trials: Sequence[Trial], batch: Batch) -> None:
        """Write a batch in one transaction. Raises `JournalError` where that fails, such as on a full disk."""
        rows = [
            (
                trial.number,
                json.dumps(trial.genotype),
                digest(trial.architecture),
                trial.cost.macs,
                trial.cost.params,
                json.dumps(trial.costs),
            )
            for trial in trials
        ]
        # Not flushed to the disk by itself: where the power fails, a suggestion is made again; what was done is not.
        with self._writing(flushed=False):
            self._connection.execute("INSERT INTO batches (asked, given, told) VALUES (?, ?, ?)", batch)
            self._connection.executemany("INSERT INTO suggestions VALUES (?, ?, ?, ?, ?, ?)", rows)

    def attempt_failed(self, trial: Trial, attempt: int, failure: Failure, seconds: float) -> None:
        """Write a failed attempt. Raises `JournalError` where that fails."""
        values = (trial.number, attempt, self._session, *failure, seconds)
        with self._writing():
            self._connection.execute("INSERT INTO failed_attempts VALUES (?, ?, ?, ?, ?, ?)", values)

    def completed(self, trials: Sequence[Trial], controller: Controller | None = None) -> None:
        """Write trials that were done, in one transaction. Raises `JournalError` where that fails."""
        now = time.time()
        rows = [
            (
                trial.number,
                self._session,
                now,
                *(trial.metrics or (None, None)),
                trial.reward,
                *(trial.failure or (None, None)),
                trial.attempts,
                trial.seconds,
            )
            for trial in trials
        ]
        columns = "number, session, finished, accuracy, accuracy_std, reward, failure, error, attempts, seconds"
        with self._writing():
            self._connection.executemany(
                f"INSERT INTO completions ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )

    @contextmanager
    def _writing(self, *, flushed: bool = True) -> Iterator[None]:
        try:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
            with self._connection:
                yield
        except sqlite3.Error as error:
            folder = self.file.parent
            raise JournalError(
                f"{self.file}: cannot be written ({error}); what was done before is kept: make room, then "
                f"mnas search --resume {folder}"
            ) from None

    # --- reading --------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many trials are done."""
        return int(self._number("SELECT count(*) FROM completions"))

    def suggested_count(self) -> int:
        """How many trials were suggested, done or not."""
        return int(self._number("SELECT count(*) FROM suggestions"))

    def failed_count(self) -> int:
        """How many of the trials that are done have failed."""
        return int(self._number("SELECT count(*) FROM completions WHERE failure IS NOT NULL"))

    def last_event(self) -> float:
        """When something was last written: seconds since 1970, UTC."""
        with readable(self.file):
            finished = check_time(self._number("SELECT max(finished) FROM completions"))
        return float(max(finished, self.session()["started"]))

    def _number(self, query: str) -> Any:
        with readable(self.file):
            return self._connection.execute(query).fetchone()[0] or 0

    def records(self) -> Iterator[Record]:
        """All trials by number, also those that are not done; nothing is loaded that the settings name."""
        yield from self._select("ORDER BY number")

    def best_record(self) -> Record | None:
        """That of the highest merit (`Objective.merit`), the earliest of equals; None where none succeeded."""
        objective = self.objective

        def merit(reward: float, costs: str) -> float:
            return float(objective.merit(reward, plain_json(costs)))

        self._connection.create_function("merit", 2, merit, deterministic=True)
        clause = "WHERE reward IS NOT NULL ORDER BY merit(reward, costs) DESC, number LIMIT 1"
        return next(self._select(clause), None)

    def best(self) -> Trial:
        """The trial of `best_record`. Raises `MnasError` where none succeeded."""
        record = self.best_record()
        if record is None:
            with readable(self.file):
                last = self._connection.execute("SELECT error FROM completions ORDER BY position DESC").fetchone()
            why = f"; the last failed with {last[0]}" if last and last[0] else ""
            raise MnasError(f"{self.file}: no successful trial{why}; choose another run or trial")
        return self._checked_trial(record)

    def trial(self, number: int) -> Trial:
        """One trial. Raises `MnasError` where the run has no trial of that number."""
        record = next(self._select("WHERE number = ?", number), None)
        if record is None:
            raise MnasError(
                f"{self.file}: no trial {number} (it has {self.suggested_count()}, from 0); choose another run or trial"
            )
        return self._checked_trial(record)

    def trials(self) -> Iterator[Trial]:
        """All trials that are done, by number."""
        space = load_space(self.settings.space)
        records = self._select("WHERE position IS NOT NULL ORDER BY number")
        while part := list(islice(records, 1000)):
            rows = space.indices([record.genotype for record in part])
            for record, architecture, cost in zip(
                part, space.decode_indices(rows), space.exact_costs(rows), strict=True
            ):
                if (cost.macs, cost.params) != (record.macs, record.params):
                    raise self._not_its_genotype(record.number)
                yield Trial(record.number, record.genotype, architecture, cost, record.costs, *record[6:])

    def completed_trials(self) -> list[Trial]:
        """All trials that are done, in the order of completion."""
        with readable(self.file):
            order = [row[0] for row in self._connection.execute("SELECT number FROM completions ORDER BY position")]
            by_number = {trial.number: trial for trial in self.trials()}
            return [by_number[number] for number in order]

    def history(self) -> History:
        """What was done, for a search to go on from there."""
        records = list(self.records())
        with readable(self.file):
            batches = [
                Batch(*map(whole, row))
                for row in self._connection.execute("SELECT asked, given, told FROM batches ORDER BY batch")
            ]
            order = [row[0] for row in self._connection.execute("SELECT number FROM completions ORDER BY position")]
            failed = dict(
                self._connection.execute("SELECT number, max(attempt) FROM failed_attempts GROUP BY number").fetchall()
            )
            if [record.number for record in records] != list(range(sum(batch.given for batch in batches))):
                raise ValueError("its trials are not those of its batches")
            if any(later.told < earlier.told for earlier, later in pairwise(batches)):
                raise ValueError("its batches are out of order")
            completions = {}
            for number in map(whole, order):
                record = records[number]
                outcome = record.metrics or record.failure
                if outcome is None:
                    raise ValueError(f"trial {number} is completed without an outcome")
                completions[number] = Completion(outcome, record.reward, record.attempts, record.seconds)
        return History(
            batches=batches,
            genotypes=[record.genotype for record in records],
            completions=completions,
            failed_attempts={number: attempts for number, attempts in failed.items() if number not in completions},
            versions=self._entries["versions"],
        )

    def digest(self) -> str:
        """SHA-256 (16 digits) of settings and trials; what differs from run to run (times, order) is left out."""
        total = hashlib.sha256(json.dumps(self.settings.as_dict(), sort_keys=True).encode())
        with readable(self.file):
            for row in self._connection.execute(f"SELECT {COLUMNS} FROM trials WHERE position IS NOT NULL"):
                total.update(json.dumps(row).encode())
        return total.hexdigest()[:16]

    def _select(self, clause: str, *values: object) -> Iterator[Record]:
        targets = len(self.objective.targets)
        with readable(self.file):
            query = f"SELECT {COLUMNS}, attempts, seconds FROM trials {clause}"
            for row in self._connection.execute(query, values):
                yield record_of(row, targets)

    def _checked_trial(self, record: Record) -> Trial:
        architecture = load_space(self.settings.space).decode(record.genotype)
        cost = architecture_cost(architecture)
        if (digest(architecture), cost.macs, cost.params) != (record.digest, record.macs, record.params):
            raise self._not_its_genotype(record.number)
        return Trial(record.number, record.genotype, architecture, cost, record.costs, *record[6:])

    def _not_its_genotype(self, number: int) -> MnasError:
        return MnasError(f"{self.file}: trial {number} does not match its genotype; the journal was changed by hand")


def _with_trials(settings: SearchSettings, trials: int, suggested: int) -> SearchSettings:
    if trials < suggested:
        raise MnasError(f"trials: {trials} is less than the {suggested} that the run has; give more, or leave it out")
    return replace(settings, trials=trials)


def _connect_to_write(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _begin(connection: sqlite3.Connection, execution: Execution) -> int:
    """Write that a session begins; its number."""
    texts = (json.dumps(versions()), json.dumps(execution.as_dict()))
    values = (time.time(), os.getpid(), socket.gethostname(), *texts)
    columns = "started, pid, host, versions, execution"
    cursor = connection.execute(f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?)", values)
    return int(cursor.lastrowid or 0)


def _own(folder: Path) -> int:
    """The lock of a run folder. Raises `MnasError` where another process has it; the message says which one."""
    try:
        descriptor = lock(folder)
    except OSError as error:
        raise MnasError(f"run: {folder} cannot be locked ({error.strerror}); choose another place for runs") from None
    if descriptor is not None:
        return descriptor
    owner = "another process"
    with suppress(MnasError), Journal.open(folder) as journal:
        session = journal.session()
        owner = f"process {session['pid']} on {session['host']}"
    raise MnasError(f"run: {folder} is being written by {owner}; wait for it, or stop it first")


def _never_began(folder: Path) -> bool:
    """Whether a folder holds nothing but a journal whose search was killed before it was written."""
    names = {path.name for path in folder.iterdir()}
    if FILE_NAME not in names or not all(name.startswith(FILE_NAME) for name in names):
        return not names
    with suppress(sqlite3.Error), closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        return not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return False
