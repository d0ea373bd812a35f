"""The journal of a search: a record (`nas.record`) of every suggestion and result, in order; the only source of truth.

Its tables are those of `nas.journal_format`; ``sqlite3 journal.sqlite 'select * from trials'`` reads the trials.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from baselines.text import command
from nas.controllers.base import Controller
from nas.evaluators.base import Metrics
from nas.evaluators.registry import load_evaluator, space_of
from nas.executors.base import Execution, Failure, execution_of
from nas.journal_format import COLUMNS, FILE_NAME, SCHEMA, TABLES, Record, record_of
from nas.objective import Objective
from nas.record import CONTENTS, RunRecord, check_time, plain_json, readable, whole
from nas.search_loop import SearchEvents, SearchSettings
from nas.trial import Batch, Completion, History, Known, Trial
from search_spaces import MnasError, Selection, Space
from search_spaces.plugins import KINDS, code_options, portable, refuse_code
from search_spaces.serialization import from_dict

# Name of the evaluator's data beside the files whose content a run depends on.
_DATA = "data of the evaluator"
# Name of what was known before the search.
_KNOWN = "known"


class Journal(RunRecord, SearchEvents):
    """An open journal, which writes the events of a search.

    Use `create` for a new run, `resume` to resume one and `open` to read one; close it, or use it in a ``with`` block.
    """

    file_name = FILE_NAME
    schema = SCHEMA
    own_tables = TABLES
    outcomes = "completions"

    # --- opening --------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        folder: Path,
        settings: SearchSettings,
        execution: Execution | None = None,
        beside: Collection[str] = (),
        known: Sequence[Known] = (),
    ) -> Journal:
        """Make the run folder and an empty journal in it.

        Args:
            folder: folder of the run.
            settings: settings of the search.
            execution: where and how trials run; in this process by default.
            beside: names of files and folders that may already exist in the folder.
            known: measurements that the search starts from.

        Raises:
            MnasError: the folder already holds a run or anything else, or cannot be created.
        """
        others = {_KNOWN: [asdict(each) for each in known]} if known else {}
        return cls._created(folder, settings.as_dict(), execution or Execution(), beside, others)

    @classmethod
    def resume(
        cls,
        folder: Path,
        *,
        allow_code: bool = False,
        changes: Mapping[str, Any] | None = None,
        trials: int | None = None,
        names: Mapping[str, str] | None = None,
        accept_changes: bool = False,
    ) -> Journal:
        """Open the journal of a run to resume it.

        Args:
            folder: folder of the run.
            allow_code: as in `open`.
            changes: fields of the execution that differ from the last session.
            trials: new number of trials of the whole run.
            names: as in `open`.
            accept_changes: whether files that the run depends on may have changed.

        Raises:
            MnasError: as in `open`; another process is writing to it, or a change breaks its rule.
        """
        with cls.open(folder, allow_code=allow_code, names=names) as journal:
            if accept_changes:
                journal._refuse_code()
                journal.check_contents(accept=True)
            settings = journal.settings
            execution = execution_of(changes or {}, journal.execution.as_dict())
            if trials is not None:
                settings = _with_trials(settings, trials, journal.suggested_count())
        return cls._resumed(folder, settings.as_dict(), execution, journal, allow_code=allow_code)

    # --- what the run is ------------------------------------------------------------------------------------------

    @cached_property
    def settings(self) -> SearchSettings:
        """The settings.

        Raises:
            MnasError: a setting breaks its rule, names a Python file that may not run, or a file that has changed.
        """
        self._refuse_code()
        self.check_contents()
        return from_dict(SearchSettings, self.plain_settings, "settings")

    def _refuse_code(self) -> None:
        if not self._allow_code:
            refuse_code(self.plain_settings.values(), f"run: {self.file.parent}")

    @classmethod
    def _contents(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        found = super()._contents(settings)
        data = load_evaluator(settings["evaluator"], settings["space"]).fingerprint
        return {**found, _DATA: data} if data else found

    def has_evaluator_of(self, settings: SearchSettings) -> bool:
        """Whether the evaluator of another search, with what its files hold now, judged the networks of this run."""
        if str(self.plain_settings.get("evaluator")) != settings.evaluator:
            return False
        then, now = self._entries.get(CONTENTS, {}), self._contents({**settings.as_dict(), "controller": "random"})
        return all(then.get(name) == content for name, content in now.items())

    def _elsewhere(self, name: str) -> str:
        setting = next(key for key, value in self.plain_settings.items() if value == name)
        return f"put it back, or say where it is now: {self._resume_command()} --{setting} FILE"

    def _acceptance(self) -> str:
        return f"restore it, start a new run, or accept it: {self._resume_command()} --accept-changes"

    @cached_property
    def objective(self) -> Objective:
        """The objective; reading it loads no plug-ins. Raises `MnasError` if it breaks a rule."""
        return from_dict(Objective, self._entries["settings"].get("objective"), "settings.objective")

    def spans(self) -> list[tuple[float, float]]:
        """When each session started and ended, in seconds since 1970, UTC.

        A session that was killed or is still running ends with its last completed trial.
        """
        query = (
            "SELECT started, coalesce(ended, (SELECT max(finished) FROM completions AS done "
            "WHERE done.session = sessions.session), started) FROM sessions ORDER BY session"
        )
        with readable(self.file):
            return [(check_time(started), check_time(ended)) for started, ended in self._connection.execute(query)]

    # --- writing --------------------------------------------------------------------------------------------------

    def suggested(self, trials: Sequence[Trial], batch: Batch) -> None:
        """Write a batch in one transaction. Raises `RecordError` if that fails, such as on a full disk."""
        rows = [
            (
                trial.number,
                json.dumps(trial.genotype),
                trial.digest,
                trial.counts.macs if trial.counts else 0,
                trial.counts.params if trial.counts else 0,
                json.dumps(trial.costs),
            )
            for trial in trials
        ]
        # Not flushed to the disk: after a power failure a suggestion can be made again, unlike a completed trial.
        with self._writing(flushed=False):
            self._connection.execute("INSERT INTO batches (asked, given, told) VALUES (?, ?, ?)", batch)
            self._connection.executemany("INSERT INTO suggestions VALUES (?, ?, ?, ?, ?, ?)", rows)

    def attempt_failed(self, trial: Trial, attempt: int, failure: Failure, seconds: float) -> None:
        """Write a failed attempt. Raises `RecordError` if that fails."""
        values = (trial.number, attempt, self._session, *failure, seconds)
        with self._writing():
            self._connection.execute("INSERT INTO failed_attempts VALUES (?, ?, ?, ?, ?, ?)", values)

    def completed(self, trials: Sequence[Trial], controller: Controller | None = None) -> None:
        """Write completed trials in one transaction. Raises `RecordError` if that fails."""
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

    def _resume_command(self) -> str:
        return resume_command(self.file.parent, self.plain_settings)

    # --- reading --------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Number of completed trials."""
        return int(self._number("SELECT count(*) FROM completions"))

    def suggested_count(self) -> int:
        """Number of suggested trials, completed or not."""
        return int(self._number("SELECT count(*) FROM suggestions"))

    def failed_count(self) -> int:
        """Number of completed trials that failed."""
        return int(self._number("SELECT count(*) FROM completions WHERE failure IS NOT NULL"))

    def last_event(self) -> float:
        """Time of the last event: seconds since 1970, UTC."""
        with readable(self.file):
            finished = check_time(self._number("SELECT max(finished) FROM completions"))
        return float(max(finished, self.session()["started"]))

    def records(self) -> Iterator[Record]:
        """All trials by number, completed or not; nothing that the settings name is loaded."""
        yield from self._select("ORDER BY number")

    def best_record(self) -> Record | None:
        """The record with the highest merit (`Objective.merit`), the earliest of equals; None if none succeeded."""
        objective = self.objective

        def merit(reward: float, costs: str) -> float:
            return float(objective.merit(reward, plain_json(costs)))

        self._connection.create_function("merit", 2, merit, deterministic=True)
        clause = "WHERE reward IS NOT NULL ORDER BY merit(reward, costs) DESC, number LIMIT 1"
        return next(self._select(clause), None)

    def best(self) -> Trial:
        """The trial of `best_record`. Raises `MnasError` if none succeeded."""
        record = self.best_record()
        if record is None:
            with readable(self.file):
                last = self._connection.execute("SELECT error FROM completions ORDER BY position DESC").fetchone()
            why = f"; the last one failed ({last[0]})" if last and last[0] else ""
            raise MnasError(f"{self.file}: no successful trial{why}; choose another run or trial")
        return self._checked_trial(record)

    def trial(self, number: int) -> Trial:
        """The trial of a number. Raises `MnasError` if the run has none."""
        record = next(self._select("WHERE number = ?", number), None)
        if record is None:
            raise MnasError(
                f"{self.file}: no trial {number} (it has {self.suggested_count()}, from 0); choose another run or trial"
            )
        return self._checked_trial(record)

    def trials(self) -> Iterator[Trial]:
        """All completed trials, by number."""
        space = space_of(self.settings.space, self.settings.evaluator)
        records = self._select("WHERE position IS NOT NULL ORDER BY number")
        while part := list(islice(records, 1000)):
            yield from self._decoded(space, part)

    def _decoded(self, space: Space, records: Sequence[Record]) -> Iterator[Trial]:
        """Records as trials. Raises `MnasError` if one contradicts its genotype."""
        rows = space.indices([record.genotype for record in records])
        decoded = zip(records, space.decode_indices(rows), space.exact_costs(rows), strict=True)
        targets = [target.cost for target in self.objective.targets]
        for position, (record, network, counts) in enumerate(decoded):
            if isinstance(network, Selection):
                now = tuple(float(space.cost(name, rows[[position]])[0]) for name in targets)
                if not all(map(math.isclose, now, record.costs)):
                    raise MnasError(
                        f"{self.file}: trial {record.number} cost {record.costs} and now costs {now}; the table was "
                        "changed: restore it, or start a new run"
                    )
            if (counts.macs, counts.params) != (record.macs, record.params) if counts else record.macs is not None:
                raise self._not_its_genotype(record.number)
            yield Trial(record.number, record.genotype, network, counts, record.costs, *record[6:])

    def completed_trials(self) -> list[Trial]:
        """All completed trials, in the order of completion."""
        with readable(self.file):
            order = [row[0] for row in self._connection.execute("SELECT number FROM completions ORDER BY position")]
            by_number = {trial.number: trial for trial in self.trials()}
            return [by_number[number] for number in order]

    def history(self) -> History:
        """The history of the search, from which it can be resumed."""
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
            known=self.known(),
        )

    def known(self) -> list[Known]:
        """The measurements that the search started from."""
        with readable(self.file):
            return [_known(entry) for entry in self._entries.get(_KNOWN, [])]

    def digest(self) -> str:
        """SHA-256 (16 digits) of settings and trials, without what differs between equal runs (times, order)."""
        # Equal wherever the files are that the settings name.
        settings = {**self.settings.as_dict(), **{kind: portable(getattr(self.settings, kind)) for kind in KINDS}}
        total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        if _KNOWN in self._entries:
            total.update(json.dumps(self._entries[_KNOWN], sort_keys=True).encode())
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
        space = space_of(self.settings.space, self.settings.evaluator)
        (trial,) = self._decoded(space, [record])
        if trial.digest != record.digest:
            raise self._not_its_genotype(record.number)
        return trial

    def _not_its_genotype(self, number: int) -> MnasError:
        return MnasError(f"{self.file}: trial {number} does not match its genotype; the journal was changed by hand")


def resume_command(folder: Path, settings: Mapping[str, Any]) -> str:
    """The command that resumes a search.

    Args:
        folder: folder of the run.
        settings: its settings as plain data; if they name a Python file, the command allows it to run.
    """
    return command("search", "--resume", folder, *code_options(map(str, settings.values())))


def _with_trials(settings: SearchSettings, trials: int, suggested: int) -> SearchSettings:
    if trials < suggested:
        raise MnasError(f"trials: {trials} is less than the {suggested} that the run has; use {suggested} or more")
    return replace(settings, trials=trials)


def _known(entry: Any) -> Known:
    """Measurements as stored. Raises `ValueError` or `TypeError` for an entry that the project never writes."""
    metrics = [Metrics(*pair) for pair in entry["metrics"]]
    problem = next((problem for each in metrics if (problem := each.problem())), None)
    if not all(isinstance(genotype, dict) for genotype in entry["genotypes"]):
        raise ValueError("what was known before the search is damaged")
    if problem or len(metrics) != len(entry["genotypes"]) or not isinstance(entry["same"], bool):
        raise ValueError(f"what was known before the search is damaged ({problem or 'its lengths differ'})")
    return Known(str(entry["source"]), entry["same"], entry["genotypes"], metrics)
