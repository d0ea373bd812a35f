"""The journal of a study: a record (`nas.record`) of its jobs, of every attempt at one, and of every result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nas.executors.base import Execution, Failure, execution_of
from nas.record import STUDY_FILE, RunRecord, check_time, plain_json, readable, whole
from search_spaces import MnasError
from search_spaces.errors import one_line

TABLES = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, -- from 0
    key TEXT NOT NULL UNIQUE,   -- name of the job's folder in that of the study
    label TEXT NOT NULL,        -- for a person
    payload TEXT NOT NULL       -- JSON object: what is to be done
) STRICT;
CREATE TABLE failed_attempts (
    number INTEGER NOT NULL REFERENCES jobs,
    attempt INTEGER NOT NULL,   -- from 1
    session INTEGER NOT NULL,
    failure TEXT NOT NULL,      -- refused, error, memory, time or died
    error TEXT NOT NULL,
    seconds REAL NOT NULL,
    last INTEGER NOT NULL,      -- 1 where the session did not try again
    PRIMARY KEY (number, attempt)
) STRICT;
CREATE TABLE results (
    position INTEGER PRIMARY KEY, -- from 1, in the order of completion
    number INTEGER NOT NULL UNIQUE REFERENCES jobs,
    session INTEGER NOT NULL,
    finished REAL NOT NULL,
    seconds REAL NOT NULL,      -- of the last attempt
    result TEXT NOT NULL        -- JSON
) STRICT;
"""


class StoredJob(NamedTuple):
    """A job as stored in the journal."""

    number: int
    key: str
    label: str
    payload: Mapping[str, Any]


class StoredResult(NamedTuple):
    """The result of a job, and the seconds that its last attempt took."""

    result: Any
    seconds: float


class StudyJournal(RunRecord):
    """An open journal of a study. Use `create`, `resume` and `open`; close it, or use it in a ``with`` block."""

    file_name = STUDY_FILE
    schema = 1
    own_tables = TABLES
    outcomes = "results"
    resume_command = "run the study again"

    @classmethod
    def create(
        cls, folder: Path, settings: Mapping[str, Any], execution: Execution, beside: Collection[str] = ()
    ) -> StudyJournal:
        """Create the study's folder and an empty journal in it.

        Args:
            folder: folder of the study.
            settings: settings that determine the study, with its ``kind``, as plain data.
            execution: where and how jobs run.
            beside: names of files and folders that may already exist in the folder.

        Raises:
            MnasError: the folder already holds a run or anything else, or cannot be created.
        """
        return cls._created(folder, settings, execution, beside)

    @classmethod
    def resume(cls, folder: Path, changes: Mapping[str, Any], *, allow_code: bool = False) -> StudyJournal:
        """Open the journal of a study to resume it.

        Args:
            folder: folder of the study.
            changes: fields of the execution that differ from the last session.
            allow_code: as in `open`.

        Raises:
            MnasError: as in `open`; another process is writing to it, or a change breaks its rule.
        """
        with cls.open(folder, allow_code=allow_code) as journal:
            execution = execution_of(changes, journal.execution.as_dict())
            journal.check_contents()
            return cls._resumed(folder, journal.plain_settings, execution, journal, allow_code=allow_code)

    @property
    def kind(self) -> str:
        """The kind of the study."""
        return one_line(str(self.plain_settings.get("kind")), 40)

    def _resume_command(self) -> str:
        return self.resume_command

    # --- writing --------------------------------------------------------------------------------------------------

    def add(self, jobs: Collection[StoredJob]) -> None:
        """Write new jobs."""
        rows = [(job.number, job.key, job.label, json.dumps(job.payload)) for job in jobs]
        with self._writing():
            self._connection.executemany("INSERT INTO jobs VALUES (?, ?, ?, ?)", rows)

    def attempt_failed(self, number: int, failure: Failure, seconds: float, *, last: bool) -> None:
        """Write a failed attempt at a job."""
        with self._writing():
            self._connection.execute(
                "INSERT INTO failed_attempts SELECT ?, 1 + count(*), ?, ?, ?, ?, ? FROM failed_attempts "
                "WHERE number = ?",
                (number, self._session, *failure, seconds, int(last), number),
            )

    def done(self, number: int, result: Any, seconds: float) -> None:
        """Write the result of a job, plain data."""
        values = (number, self._session, time.time(), seconds, json.dumps(result, allow_nan=False))
        columns = "number, session, finished, seconds, result"
        with self._writing():
            self._connection.execute(f"INSERT INTO results ({columns}) VALUES (?, ?, ?, ?, ?)", values)

    # --- reading --------------------------------------------------------------------------------------------------

    def jobs(self) -> list[StoredJob]:
        """All jobs by number."""
        with readable(self.file):
            rows = self._connection.execute("SELECT number, key, label, payload FROM jobs ORDER BY number").fetchall()
            found = [StoredJob(whole(row[0]), row[1], one_line(row[2]), plain_json(row[3])) for row in rows]
            if [job.number for job in found] != list(range(len(found))):
                raise ValueError("its jobs are not numbered from 0")
            if any(job.key in ("", ".", "..") or "/" in job.key for job in found):
                raise ValueError("a job's key is not the name of a folder")
            return found

    def results(self, read: Callable[[Any], Any] = lambda result: result) -> dict[int, StoredResult]:
        """The results of the finished jobs by their numbers, in the order of completion.

        Args:
            read: function from plain data to a result; it may raise any error on data that the study never writes.
        """
        with readable(self.file):
            rows = self._connection.execute("SELECT number, result, seconds FROM results ORDER BY position").fetchall()
            return {whole(number): StoredResult(read(plain_json(text)), seconds) for number, text, seconds in rows}

    def failures(self) -> dict[int, Failure]:
        """The failures of jobs without a result, by their numbers."""
        query = """SELECT number, failure, error FROM failed_attempts AS attempts
            WHERE last AND number NOT IN (SELECT number FROM results)
            AND attempt = (SELECT max(attempt) FROM failed_attempts WHERE number = attempts.number)"""
        with readable(self.file):
            rows = self._connection.execute(query).fetchall()
            return {whole(number): Failure(one_line(kind), one_line(error)) for number, kind, error in rows}

    def last_event(self) -> float:
        """Time of the last event: seconds since 1970, UTC."""
        with readable(self.file):
            finished = check_time(self._number("SELECT max(finished) FROM results"))
        return float(max(finished, self.session()["started"]))

    def counts(self) -> tuple[int, int, int]:
        """Number of jobs done, failed and wanted."""
        done = int(self._number("SELECT count(*) FROM results"))
        return done, len(self.failures()), int(self._number("SELECT count(*) FROM jobs"))


def check_kind(journal: StudyJournal, kind: str) -> None:
    """Raise `MnasError` if a journal is of another kind of study."""
    if journal.kind != kind:
        raise MnasError(f"resume: {journal.file.parent} holds a study of the kind {journal.kind}, expected {kind}")
