"""`RunRecord`: the SQLite file in a run's folder, with what all kinds of runs share: owner, sessions, settings.

Every event is written when it happens, in one transaction (write-ahead log, every result flushed to the disk), so
that the file stays consistent however the process or the machine ends. A search (`nas.journal`) and a study
(`nas.studies.journal`) add tables of their own. The ``sqlite3`` shell shows all tables with ``.schema``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import socket
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from baselines.owner import is_owned, lock
from baselines.training.folder import SETTINGS as TRAINING_FILE
from nas.executors.base import Execution
from search_spaces import MnasError
from search_spaces.errors import one_line
from search_spaces.plugins import OBJECT, TRAIN_ON, file_named, unnumbered
from search_spaces.serialization import digest_of_file, from_dict, read_bytes

TABLES = """
CREATE TABLE run (              -- what the run is
    key TEXT PRIMARY KEY,       -- schema, settings, versions (under which it began)
    value TEXT NOT NULL         -- JSON
) STRICT;
CREATE TABLE sessions (         -- each time that a process worked on it
    session INTEGER PRIMARY KEY,
    started REAL NOT NULL,      -- seconds since 1970, UTC, as all times
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    versions TEXT NOT NULL,     -- JSON object
    execution TEXT NOT NULL,    -- JSON object: where and how trials ran
    ended REAL,                 -- NULL while it works, and for ever where it was killed
    reason TEXT                 -- complete, interrupted, or the error that ended it
) STRICT;
"""
# Entries of the table ``run``: digests of the files that the settings name, and their changes that were accepted.
CONTENTS, CHANGES = "contents", "changes"
# How often what is in the log is written into the file itself, which people copy without its log.
WHOLE_SECONDS = 1.0
# Entry of earlier versions: the digest of the table of measurements alone.
_FORMER = "fingerprint"
# A larger journal is not copied to be read.
MAX_COPY = 2**31
# Subfolder of a search in which its exponents are measured (`nas.studies.calibration`).
PILOTS = "pilots"
# Files that identify a folder, with the kind of its run and the commands that read it.
SEARCH_FILE, STUDY_FILE, COMPARISON_FILE = "journal.sqlite", "study.sqlite", "comparison.json"
# In order of precedence: a comparison that has run is a study too.
KNOWN = {
    SEARCH_FILE: ("search", "mnas trials or mnas runs"),
    # Trained comparisons whose networks `scaling` makes.
    "ablation.json": ("ablation", "mnas ablate --resume, mnas report or mnas runs"),
    "family.json": ("family", "mnas family --resume, mnas report or mnas runs"),
    "scaling-search.json": ("scaling-search", "mnas scaling-search --resume, mnas report or mnas runs"),
    COMPARISON_FILE: ("comparison", "mnas compare --resume or mnas runs"),
    STUDY_FILE: ("study", "mnas runs"),
    TRAINING_FILE: ("training", "mnas evaluate or mnas runs"),
}


class RecordError(MnasError):
    """A record can no longer be written; what was written before is intact."""


@dataclass(frozen=True)
class Change:
    """A file that changed after a run was started, and was accepted.

    Attributes:
        name: name that stands for it.
        before, after: digests of its content, 16 digits.
        done: number of results until then.
    """

    name: str
    before: str
    after: str
    done: int

    def __str__(self) -> str:
        return f"{one_line(self.name)} changed after {self.done:,} results, which may not be comparable with later ones"


class RunRecord:
    """A record, open for reading or writing.

    Close it, or use it in a ``with`` block. Subclasses define how a run is created and resumed.

    Attributes:
        file: the SQLite file.
        file_name: its name.
        schema: version of the tables.
        own_tables: SQL of the tables beside `TABLES`.
        outcomes: name of the table with a row for each result.
    """

    file_name: ClassVar[str]
    schema: ClassVar[int]
    own_tables: ClassVar[str]
    outcomes: ClassVar[str]

    def __init__(
        self,
        connection: sqlite3.Connection,
        file: Path,
        entries: dict[str, Any],
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
        self._identity = _identity(file)
        self._whole_at = -math.inf
        self.file = file

    def __enter__(self) -> Self:
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
            with suppress(sqlite3.Error, MnasError):  # on a full disk, the end of the session cannot be written
                if kind is not None:
                    interrupted = issubclass(kind, KeyboardInterrupt)
                    self.end("interrupted" if interrupted else str(error) or kind.__name__)
                # Leave a single file, so that readers leave no other SQLite files beside it. While another process
                # reads the record, the two files stay; the next process that closes the record removes them.
                self._connection.execute("PRAGMA journal_mode = DELETE")

    # --- opening --------------------------------------------------------------------------------------------------

    @classmethod
    def _created(
        cls,
        folder: Path,
        settings: Mapping[str, Any],
        execution: Execution,
        beside: Collection[str] = (),
        others: Mapping[str, Any] | None = None,
    ) -> Self:
        """Create the folder and an empty record in it.

        Args:
            folder: folder of the run.
            settings: settings that determine the run.
            execution: where and how it runs in this session.
            beside: names of files and folders that may already exist in the folder.
            others: further entries about the run.

        Raises:
            MnasError: the folder already holds a run or anything else, or cannot be created.
        """
        try:
            check_unused(folder, cls.file_name, beside)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MnasError(f"out: {folder} cannot be created ({error.strerror}); choose another folder") from None
        contents = cls._contents(settings)
        entries = {"schema": cls.schema, "settings": settings, "versions": versions(), CONTENTS: contents}
        entries |= others or {}
        file, lock = folder / cls.file_name, cls._own(folder)
        try:
            connection = _connect_to_write(file)
            with connection:
                connection.executescript(f"BEGIN; {TABLES} {cls.own_tables}")
                rows = [(key, json.dumps(unnumbered(value))) for key, value in entries.items()]
                connection.executemany("INSERT INTO run VALUES (?, ?)", rows)
                session = _begin(connection, execution)
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except BaseException as error:
            os.close(lock)
            if not isinstance(error, sqlite3.Error):
                raise
            raise MnasError(f"out: {folder} cannot be written ({error}); choose another folder") from None
        return cls(connection, file, json.loads(json.dumps(entries)), lock, session, code=True)

    @classmethod
    def _resumed(
        cls, folder: Path, settings: Mapping[str, Any], execution: Execution, opened: Self, *, allow_code: bool
    ) -> Self:
        """Open a record to continue it.

        Args:
            folder: folder of the run.
            settings: settings of the run from now on.
            execution: where and how it runs in this session.
            opened: record, opened for reading.
            allow_code: as in `open`.

        Raises:
            MnasError: another process is writing to it, or it cannot be written.
        """
        entries = {**opened._entries, "settings": settings}
        for end in ("", "-wal", "-shm", "-journal"):
            if (file := folder / f"{cls.file_name}{end}").is_symlink():
                raise MnasError(f"resume: {file} is a link, which may point anywhere; put the file itself there")
        lock = cls._own(folder)
        try:
            connection = _connect_to_write(folder / cls.file_name)
            with connection:
                for key in ("settings", CONTENTS, CHANGES):
                    if key in entries:
                        values = (key, json.dumps(unnumbered(entries[key])))
                        connection.execute("INSERT OR REPLACE INTO run VALUES (?, ?)", values)
                session = _begin(connection, execution)
        except sqlite3.Error as error:
            os.close(lock)
            raise MnasError(f"resume: {folder} cannot be written ({error}); make room or fix its permissions") from None
        stored = json.loads(json.dumps(entries))
        return cls(connection, folder / cls.file_name, stored, lock, session, code=allow_code)

    @classmethod
    def open(cls, folder: Path, *, allow_code: bool = False, names: Mapping[str, str] | None = None) -> Self:
        """Open a record for reading.

        Args:
            folder: folder of the run.
            allow_code: whether Python files that the record names may run (`search_spaces.plugins`).
            names: names that stand for settings from now on, by the name of the setting: those of objects in this
                process, and the new places of files that were moved.

        Raises:
            MnasError: the folder holds no such run, or its record cannot be read.
        """
        file = folder / cls.file_name
        if not file.is_file():
            raise _no_run(folder, cls.file_name)
        connection = _connect_to_read(file)
        try:
            with readable(file):
                found = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
                if not found:
                    raise MnasError(f"run: {folder} was killed before anything was written; remove it and start again")
                if ("table", "run") not in {row[:2] for row in found}:
                    raise ValueError("it has no table 'run'")
                entries = {key: plain_json(value) for key, value in connection.execute("SELECT key, value FROM run")}
                if entries.get("schema") != cls.schema:
                    reads = f"this version reads {cls.schema}"
                    raise MnasError(f"{file}: schema {entries.get('schema')!r} is unknown; {reads}")
                # A file from elsewhere could hold views and triggers; only one with exactly our tables is accepted.
                if {row for row in found if row[2]} != _written_down(TABLES + cls.own_tables):
                    raise ValueError("its tables are not those of a run")
                if not isinstance(entries.get("settings"), dict) or not isinstance(entries.get("versions"), dict):
                    raise ValueError("its settings are missing")
                if _FORMER in entries:
                    entries.setdefault(CONTENTS, {str(entries["settings"].get("evaluator")): entries[_FORMER]})
                for setting, name in (names or {}).items():
                    _rename(entries, setting, name)
        except BaseException:
            connection.close()
            raise
        return cls(connection, file, entries, code=allow_code)

    @classmethod
    def _own(cls, folder: Path) -> int:
        """The lock of a run's folder. Raises `MnasError` if another process has it; the message names the process."""
        try:
            descriptor = lock(folder)
        except OSError as error:
            raise MnasError(f"run: {folder} cannot be locked ({error.strerror}); choose another place") from None
        if descriptor is not None:
            return descriptor
        owner = "another process"
        with suppress(MnasError), cls.open(folder) as record:
            owner = record.worker()
        raise MnasError(f"run: {folder} is being written by {owner}; wait for it, or stop it first")

    # --- what the run is ------------------------------------------------------------------------------------------

    @classmethod
    def _contents(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """Digests of what settings name and results depend on: Python files and tables, by their names."""
        given = (settings.get(key, ()) for key in ("space", "evaluator", "controller", "controllers"))
        names = [name for value in given for name in ([value] if isinstance(value, str) else value)]
        files = {name: file for name in names if (file := file_named(name))}
        return {name: digest_of_file(file) if file.is_file() else "" for name, file in files.items()}

    def check_contents(self, *, accept: bool = False) -> None:
        """Raise `MnasError` if a file that the settings name is not what it was when the run was started.

        Args:
            accept: whether changes are accepted; the record then keeps them when it is resumed.
        """
        known: Mapping[str, str] = self._entries.get(CONTENTS, {})
        if not known:
            return
        for name, before in known.items():
            if before and (file := file_named(name)) and not file.exists():
                raise MnasError(f"{self.file}: {file} is gone; {self._elsewhere(name)}")
        now = self._contents(self.plain_settings)
        for name, before in known.items():
            if now.setdefault(name, "") == before:
                continue
            if not accept:
                what = file_named(name) or name
                raise MnasError(f"{self.file}: {what} has changed since the run was started; {self._acceptance()}")
            done = self._number(f"SELECT count(*) FROM {self.outcomes}")
            change = Change(name, before, now[name], int(done))
            self._entries[CHANGES] = [asdict(each) for each in (*self.changes(), change)]
            self._entries[CONTENTS] = {**self._entries[CONTENTS], name: now[name]}

    def changes(self) -> tuple[Change, ...]:
        """Changes that were accepted, in order."""
        with readable(self.file):
            return tuple(Change(**change) for change in self._entries.get(CHANGES, []))

    def _elsewhere(self, name: str) -> str:
        """What to do about a file that is not where it was."""
        return "put it back, or start a new run"

    def _acceptance(self) -> str:
        """What to do about a file that has changed."""
        return "restore it, or start a new run"

    @property
    def plain_settings(self) -> Mapping[str, Any]:
        """The settings as plain, unchecked data; nothing that they name is loaded."""
        settings: Mapping[str, Any] = self._entries["settings"]
        return settings

    @property
    def execution(self) -> Execution:
        """Where and how the last session ran. Raises `MnasError` if it breaks a rule."""
        return from_dict(Execution, self.session()["execution"], "execution")

    def session(self) -> dict[str, Any]:
        """The last session: columns of the table ``sessions``."""
        with readable(self.file):
            cursor = self._connection.execute("SELECT * FROM sessions ORDER BY session DESC LIMIT 1")
            row = cursor.fetchone()
            if row is None:
                raise ValueError("it has no session")
            plain = [one_line(value) if isinstance(value, str) else value for value in row]
            found = dict(zip([column[0] for column in cursor.description], plain, strict=True))
            check_time(found["started"])
            return {**found, "versions": plain_json(row[4]), "execution": plain_json(row[5])}

    def worker(self) -> str:
        """Process and host of the last session."""
        session = self.session()
        return f"process {session['pid']} on {session['host']}"

    def state(self) -> tuple[str, str | None, str | None]:
        """``running``, ``complete``, ``interrupted`` or ``failed``; the reason of a failure; and who runs it.

        Raises:
            OSError: as in `baselines.owner.is_owned`.
        """
        reason = self.session()["reason"]
        if is_owned(self.file.parent):
            return "running", None, self.worker()
        if reason in (None, "interrupted"):
            return "interrupted", None, None
        return ("complete", None, None) if reason == "complete" else ("failed", str(reason), None)

    # --- writing --------------------------------------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """Write why this session ends; the first reason is kept. Raises `RecordError` if it cannot be written."""
        with self._writing():
            self._connection.execute(
                "UPDATE sessions SET ended = ?, reason = ? WHERE session = ? AND ended IS NULL",
                (time.time(), reason, self._session),
            )

    @contextmanager
    def _writing(self, *, flushed: bool = True) -> Iterator[None]:
        if _identity(self.file) != self._identity:
            raise RecordError(
                f"run: {self.file.parent} was moved or removed while it was being written, so this session ends; if it "
                "was moved, resume it where it is now"
            )
        try:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
            with self._connection:
                yield
            if (now := time.monotonic()) >= self._whole_at + WHOLE_SECONDS:  # the file alone is nearly whole, too
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                self._whole_at = now
        except sqlite3.Error as error:
            raise RecordError(
                f"{self.file}: cannot be written ({error}); what was done before is kept: make room, then "
                f"{self._resume_command()}"
            ) from None

    def _resume_command(self) -> str:
        """The command that resumes the run."""
        return f"resume {self.file.parent}"

    def _number(self, query: str) -> Any:
        with readable(self.file):
            return self._connection.execute(query).fetchone()[0] or 0


def check_unused(folder: Path, file_name: str, beside: Collection[str] = ()) -> None:
    """Raise `MnasError` if a folder exists and holds more than the empty record of a run killed before its start.

    Args:
        folder: folder of a new run.
        file_name: name of its record.
        beside: names of files and folders that may already exist in the folder.
    """
    if folder.exists() and not (folder.is_dir() and _never_began(folder, file_name, beside)):
        known = any((place / name).exists() for name in KNOWN for place in (folder, folder / PILOTS))
        what = "already holds a run" if known else "already exists and is not empty"
        raise MnasError(f"out: {folder} {what}; choose another folder or {'resume' if known else 'remove'} it")


def exists(record: type[RunRecord], folder: Path) -> bool:
    """Whether a folder holds a run of this kind, unless it was killed before anything was written."""
    file = folder / record.file_name
    return file.is_file() and not _is_empty(file)


def versions() -> dict[str, str]:
    """Versions on which a run's result may depend."""
    found = {"python": platform.python_version()}
    for package in ("mnas", "numpy", "scipy", "torch", "nni", "optuna"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


# --- untrusted files ------------------------------------------------------------------------------------------------


def plain_json(text: str) -> Any:
    """The data of a JSON text. Raises `ValueError` for nan and infinity, which JSON does not have."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not valid JSON")

    return json.loads(text, parse_constant=refuse)


def check_time(seconds: float) -> float:
    """Check a time in seconds since 1970. Raises `ValueError` if it is before 1970 or centuries ahead."""
    if not 0 <= seconds < 1e10:
        raise ValueError(f"{seconds} is not a time")
    return seconds


def whole(value: object) -> int:
    """Check a count. Raises `ValueError` for anything else."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn errors of an unreadable record into one line."""
    try:
        yield
    except MnasError:
        raise
    except (sqlite3.Error, ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        reason = one_line(str(error), 200) or type(error).__name__
        raise MnasError(f"{file}: not a usable journal ({reason}); use the folder of another run") from None


@cache
def _written_down(tables: str) -> set[tuple[str, str, str]]:
    """Our tables and views as SQLite stores their definitions."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(tables)
        return set(connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def _rename(entries: Mapping[str, Any], setting: str, name: str) -> None:
    """Let another name stand for a setting. Raises `MnasError` if the setting needs none."""
    stored = str(entries["settings"].get(setting))
    was_object, is_object = stored.startswith(OBJECT), name.startswith(OBJECT)
    # Images have a fingerprint in the name, and are checked when they are read.
    movable = (file_named(stored) and file_named(name)) or (stored.startswith(TRAIN_ON) and name.startswith(TRAIN_ON))
    if was_object != is_object or not (is_object or movable):
        rule = "which needs no object" if is_object else "and is resumed with it"
        raise MnasError(f"{setting}: the run uses {one_line(stored)}, {rule}; remove {setting}")
    entries["settings"][setting] = name
    contents = entries.get(CONTENTS, {})
    if stored in contents:
        contents[name] = contents.pop(stored)


def _no_run(folder: Path, wanted: str) -> MnasError:
    """The error for a folder without the wanted record; it says what else the folder holds."""
    for name, (kind, reader) in KNOWN.items():
        if (folder / name).is_file():
            return MnasError(f"run: {folder} holds a {kind}, expected a {KNOWN[wanted][0]}; use {reader} with it")
    if (folder / PILOTS / STUDY_FILE).is_file():
        return MnasError(
            f"run: {folder} has no trials yet, since it is being calibrated; use mnas search --resume first"
        )
    expected = f"expected the folder of a {KNOWN[wanted][0]}"
    return MnasError(f"run: {folder} holds no run ({wanted} is missing); {expected}")


# --- files ------------------------------------------------------------------------------------------------------------


def _identity(file: Path) -> tuple[int, int] | None:
    """What tells a file from any other, wherever it is; None if there is none."""
    with suppress(OSError):
        found = file.stat()
        return found.st_dev, found.st_ino
    return None


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """A connection that writes nothing into the folder.

    SQLite reads the log of a killed run only where it may write beside it. Elsewhere, a copy of both is read.
    """
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    log = file.with_name(f"{file.name}-wal")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema")
    except sqlite3.OperationalError:
        if os.access(file.parent, os.W_OK) or not log.is_file():
            return connection  # its reader says what is wrong
        connection.close()
        return _copy_in_memory(file, log)
    except (sqlite3.Error, UnicodeDecodeError):  # of SQLite's message, where the file is damaged
        pass
    return connection


def _copy_in_memory(file: Path, log: Path) -> sqlite3.Connection:
    """A connection to a copy of a database and its log.

    Raises:
        MnasError: there is no room for the copy, or one of the files is not a file.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / file.name
            for source in (file, log):
                (copy.parent / source.name).write_bytes(read_bytes(source, MAX_COPY, "journal"))
            with closing(sqlite3.connect(copy)) as whole:
                whole.execute("PRAGMA journal_mode = DELETE")  # which writes the log into the file
            content = copy.read_bytes()
    except (OSError, sqlite3.Error) as error:
        raise MnasError(
            f"{file}: was killed, and its folder cannot be written ({error}); copy it to where it can"
        ) from None
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content)
    return connection


def _connect_to_write(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _begin(connection: sqlite3.Connection, execution: Execution) -> int:
    """Write the start of a session. Returns its number."""
    texts = (json.dumps(versions()), json.dumps(execution.as_dict()))
    values = (time.time(), os.getpid(), socket.gethostname(), *texts)
    columns = "started, pid, host, versions, execution"
    cursor = connection.execute(f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?)", values)
    return int(cursor.lastrowid or 0)


def _never_began(folder: Path, file_name: str, beside: Collection[str]) -> bool:
    """Whether a folder holds only what may be beside a record, and at most the empty record of a killed run."""
    names = {path.name for path in folder.iterdir()} - set(beside)
    if file_name not in names or not all(name.startswith(file_name) for name in names):
        return not names
    return _is_empty(folder / file_name)


def _is_empty(file: Path) -> bool:
    """Whether an SQLite file has no table yet."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as connection:
        return not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return False
