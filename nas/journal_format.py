"""What a journal's file holds: its tables, and a row of a trial as a record; what is wrong with one of a stranger."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nas.evaluators.base import Metrics
from nas.executors.base import FAULTS, Failure
from search_spaces import Genotype, MnasError
from search_spaces.errors import one_line

SCHEMA = 3
FILE_NAME = "journal.sqlite"
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
CREATE TABLE batches (          -- each time that the controller was asked
    batch INTEGER PRIMARY KEY,
    asked INTEGER NOT NULL,     -- for so many suggestions
    given INTEGER NOT NULL,     -- gave so many, numbered on from those before
    told INTEGER NOT NULL       -- had learned from so many completions, in their order
) STRICT;
CREATE TABLE suggestions (
    number INTEGER PRIMARY KEY, -- from 0
    genotype TEXT NOT NULL,     -- JSON object, label to value
    digest TEXT NOT NULL,       -- of the architecture
    macs INTEGER NOT NULL,
    params INTEGER NOT NULL,
    costs TEXT NOT NULL         -- JSON list: of the objective's targets, in their order
) STRICT;
CREATE TABLE failed_attempts (  -- after which there was another
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,   -- from 1
    session INTEGER NOT NULL,
    failure TEXT NOT NULL,
    error TEXT NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (number, attempt)
) STRICT;
CREATE TABLE completions (
    position INTEGER PRIMARY KEY, -- from 1, in the order of completion
    number INTEGER NOT NULL UNIQUE REFERENCES suggestions,
    session INTEGER NOT NULL,
    finished REAL NOT NULL,
    accuracy REAL,              -- in [0, 1]; NULL where the evaluation failed, as are the next two
    accuracy_std REAL,
    reward REAL,
    failure TEXT,               -- refused, error, memory, time or died; NULL where it did not fail, as is the next
    error TEXT,
    attempts INTEGER NOT NULL,  -- 0: the same network had been evaluated before in the run
    seconds REAL NOT NULL       -- of the last attempt
) STRICT;
CREATE VIEW trials AS
    SELECT number, genotype, digest, macs, params, costs, position, accuracy, accuracy_std, reward, failure, error,
           attempts, seconds
    FROM suggestions LEFT JOIN completions USING (number) ORDER BY number;
"""
COLUMNS = "number, genotype, digest, macs, params, costs, accuracy, accuracy_std, reward, failure, error"


class Record(NamedTuple):
    """A trial as the journal has it, its network not decoded; see `nas.trial.Trial` and `TABLES`."""

    number: int
    genotype: Genotype
    digest: str
    macs: int
    params: int
    costs: tuple[float, ...]
    metrics: Metrics | None
    reward: float | None
    failure: Failure | None
    attempts: int
    seconds: float


def record_of(row: tuple[Any, ...], targets: int) -> Record:
    """A row as a record. Raises `ValueError` or `TypeError` for what the project never writes."""
    number, genotype_text, stored, macs, params, costs_text, accuracy, std, reward, kind, error, attempts, seconds = row
    genotype, costs = plain_json(genotype_text), plain_json(costs_text)
    for count in (number, macs, params, attempts or 0):
        whole(count)
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ValueError(f"trial {number} took {seconds} seconds")
    if not isinstance(genotype, dict) or not isinstance(costs, list) or len(costs) != targets:
        raise ValueError(f"trial {number} has no genotype or no costs")
    if not all(isinstance(cost, int | float) and 0 < cost < math.inf for cost in costs):
        raise ValueError(f"trial {number} has a cost that is no number above 0")
    metrics = None if accuracy is None else Metrics(accuracy, std)
    if metrics is not None and (metrics.problem() or reward is None or not math.isfinite(reward)):
        raise ValueError(f"trial {number}: {metrics.problem() or 'has no reward'}")
    failure = None if kind is None else Failure(kind, one_line(str(error)))
    if (kind is not None and kind not in FAULTS) or (attempts is not None and (metrics is None) == (failure is None)):
        raise ValueError(f"trial {number} neither succeeded nor failed")
    return Record(
        number, genotype, stored, macs, params, tuple(costs), metrics, reward, failure, attempts or 0, seconds or 0.0
    )


def plain_json(text: str) -> Any:
    """What a JSON text holds. Raises `ValueError` for what JSON itself does not have: nan and infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def check_time(seconds: float) -> float:
    """A time in seconds since 1970. Raises `ValueError` where it is none of this or the next centuries."""
    if not 0 <= seconds < 1e10:
        raise ValueError(f"{seconds} is no time")
    return seconds


def whole(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Say in one line what is wrong with a journal that cannot be read."""
    try:
        yield
    except MnasError:
        raise
    except (sqlite3.Error, ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        reason = one_line(str(error), 200) or type(error).__name__
        raise MnasError(f"{file}: not a usable journal ({reason}); give the folder of a search") from None


@cache
def tables() -> set[tuple[str, str, str]]:
    """Tables and views as SQLite writes down that they are ours."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return set(connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))
