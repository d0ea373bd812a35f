"""Format of a search's journal: the tables beside those of every run, and a trial's row as a record."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from nas.evaluators.base import Metrics
from nas.executors.base import FAULTS, Failure
from nas.record import SEARCH_FILE, plain_json, whole
from search_spaces import Genotype
from search_spaces.errors import one_line

SCHEMA = 3
FILE_NAME = SEARCH_FILE
TABLES = """
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
    """A trial as stored in the journal, its network not decoded; see `nas.trial.Trial` and `TABLES`.

    A network without an architecture (from a table's choices) has no MACs or parameters: the journal holds 0, the
    record None. Its digest is that of its choices.
    """

    number: int
    genotype: Genotype
    digest: str
    macs: int | None
    params: int | None
    costs: tuple[float, ...]
    metrics: Metrics | None
    reward: float | None
    failure: Failure | None
    attempts: int
    seconds: float


def record_of(row: tuple[Any, ...], targets: int) -> Record:
    """A row as a record. Raises `ValueError` or `TypeError` for a row that the project never writes."""
    number, genotype_text, stored, macs, params, costs_text, accuracy, std, reward, kind, error, attempts, seconds = row
    genotype, costs = plain_json(genotype_text), plain_json(costs_text)
    for count in (number, macs, params, attempts or 0):
        whole(count)
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ValueError(f"trial {number} took {seconds} seconds")
    if not isinstance(genotype, dict) or not isinstance(costs, list) or len(costs) != targets:
        raise ValueError(f"trial {number} has no genotype or no costs")
    if not all(isinstance(cost, int | float) and 0 < cost < math.inf for cost in costs):
        raise ValueError(f"trial {number} has a cost that is not a number above 0")
    metrics = None if accuracy is None else Metrics(accuracy, std)
    if metrics is not None and (metrics.problem() or reward is None or not math.isfinite(reward)):
        raise ValueError(f"trial {number}: {metrics.problem() or 'has no reward'}")
    failure = None if kind is None else Failure(kind, one_line(str(error)))
    if (kind is not None and kind not in FAULTS) or (attempts is not None and (metrics is None) == (failure is None)):
        raise ValueError(f"trial {number} neither succeeded nor failed")
    return Record(
        number,
        genotype,
        stored,
        macs or None,
        params or None,
        tuple(costs),
        metrics,
        reward,
        failure,
        attempts or 0,
        seconds or 0.0,
    )
