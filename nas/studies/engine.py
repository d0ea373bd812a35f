"""The study engine: networks × seeds × what to do, as journaled and resumable jobs on the executors.

A study is a list of jobs and one function that does a job. The journal in its folder (`nas.studies.journal`) says which
jobs are done. Beside it each job has a folder of its own, where a long one (a training, a search) keeps its state, so
that a killed job resumes too. A study that is killed at any moment and run again ends with the same result. A passing
failure is retried, as in a trial; a job that keeps failing is recorded with its reason, and tried again when the study
is resumed.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from baselines.interrupts import interruptible
from baselines.owner import is_owned
from nas.executors.base import FAULTS, Execution, Executor, Failure, Loader, Performed, Stop, Work, execution_of
from nas.executors.registry import make_executor
from nas.record import exists
from nas.studies.journal import StoredJob, StoredResult, StudyJournal, check_kind
from nas.studies.progress import StudyProgress
from search_spaces import MnasError
from search_spaces.plugins import OBJECT, refuse_code, unnumbered

# How long the processes of a killed session may take to end and release their folders.
FREE_SECONDS = 20.0


class Call(NamedTuple):
    """The arguments of a job's function.

    Attributes:
        settings: settings of the study.
        execution: where and how trials inside the job run, in a study with nested jobs.
        payload: payload of the job.
        folder: folder for the job's state; the function creates it if needed.
        stop: whether to end early, by a KeyboardInterrupt, with the state kept.
        report: function of the share of the job that is done, from 0 to 1, and a text for a person.
    """

    settings: Mapping[str, Any]
    execution: Execution
    payload: Mapping[str, Any]
    folder: Path
    stop: Stop
    report: Callable[[float, str], None]


@dataclass(frozen=True)
class Job:
    """A job of a study.

    Attributes:
        key: name of the job's folder in the study's folder, unique in the study.
        label: name for a person, such as "efficientnet_b0, seed 2".
        payload: work of the job, as plain data.
        weight: expected work relative to the other jobs, to estimate the time left.
    """

    key: str
    label: str
    payload: Mapping[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class Study:
    """The jobs of a study, and how to do them.

    Attributes:
        kind: ``comparison``, ``rediscovery``, ``finalists`` …
        label: what a person calls it; its kind by default.
        settings: settings of all jobs, as plain data.
        jobs: jobs in the order in which they start.
        perform: module-level function that does a job and returns its result as plain data.
        resume: command that resumes the study.
        needs_all: whether a failed job makes the others useless, so that no more are started.
        nested: whether jobs run trials with the execution; they then run here, one after the other.
        grows: whether a study of the same kind and settings may have had other jobs before.
        describe: function from a result, as plain data, to a few words.
        read: function from plain data to the result; it may raise any error on data that the study never writes.
        further: function from the outcomes of all jobs so far to more jobs, in a study that grows; called whenever all
            jobs are done, until it returns none. It must depend on nothing else, so that a resumed study goes on alike.
    """

    kind: str
    settings: Mapping[str, Any]
    jobs: Sequence[Job]
    perform: Callable[[Call], Any]
    resume: str
    label: str = ""
    needs_all: bool = True
    nested: bool = False
    grows: bool = False
    describe: Callable[[Any], str] = lambda result: "done"
    read: Callable[[Any], Any] = lambda result: result
    further: Callable[[Sequence[JobOutcome]], Sequence[Job]] = lambda outcomes: ()

    def __post_init__(self) -> None:
        for key, count in Counter(job.key for job in self.jobs).items():
            if count > 1:
                raise MnasError(f"{self.kind}: {key} is given twice; remove one")


class JobOutcome(NamedTuple):
    """The outcome of a job: a result or a failure.

    Attributes:
        job: the job.
        result: result from `Study.read`; None if the job failed.
        failure: reason why it failed; None if it did not.
    """

    job: Job
    result: Any
    failure: Failure | None


def run_study(
    folder: Path,
    study: Study,
    defaults: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    *,
    beside: Iterable[str] = (),
    allow_code: bool = False,
) -> list[JobOutcome]:
    """Run all jobs of a study that are not done yet.

    Args:
        folder: folder of the study; if it holds this study already, the study is resumed.
        study: jobs and how to do them.
        defaults: fields of the execution of a new study.
        changes: fields of the execution that a person chose, for this session and later ones.
        beside: names that may exist in the folder before the study, including its jobs' folders.
        allow_code: whether Python files named in the settings may run when a study is resumed.

    Returns:
        The outcomes of the jobs, in their order; failures only if the study does not need all jobs.

    Raises:
        KeyboardInterrupt: it was stopped; it can be resumed.
        MnasError: a needed job failed, the folder holds something else, or another process is using it.
    """
    execution = execution_of(changes or {}, defaults)
    _check_objects(study, execution)
    resumed = exists(StudyJournal, folder)
    if resumed:
        journal = _reopened(folder, study, changes or {}, allow_code=allow_code)
    else:
        settings = {"kind": study.kind, **study.settings}
        journal = StudyJournal.create(folder, settings, execution, tuple(beside))
    journal.resume_command = study.resume
    with journal:
        outcomes = _run_jobs(folder, study, journal)
        while more := study.further(outcomes):
            study = replace(study, jobs=(*study.jobs, *more))
            outcomes = _run_jobs(folder, study, journal)
        journal.end("complete")
    return outcomes


def _run_jobs(folder: Path, study: Study, journal: StudyJournal) -> list[JobOutcome]:
    """Do the jobs that are not done yet. Raises `MnasError` if a needed one failed."""
    _Running(folder.absolute(), study, journal).run()
    outcomes = _outcomes(study, journal)
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if failed and study.needs_all:
        job, _, failure = failed[0]
        assert failure is not None
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        # A refusal already states the next step.
        next_step = "" if failure.kind == "refused" else f"; fix that, then resume with: {study.resume}"
        raise MnasError(f"{job.label}{others}: {failure.error}{next_step} (finished jobs are kept in {folder})")
    return outcomes


def _reopened(folder: Path, study: Study, changes: Mapping[str, Any], *, allow_code: bool) -> StudyJournal:
    """The journal of an interrupted study. Raises `MnasError` if it belongs to another study."""
    with StudyJournal.open(folder) as journal:
        check_kind(journal, study.kind)
        stored = {name: value for name, value in journal.plain_settings.items() if name != "kind"}
        if unnumbered(stored) != unnumbered(_plain(study.settings)):
            raise MnasError(f"out: {folder} holds a study with other settings; choose another folder")
        if not allow_code:
            refuse_code(_texts(stored), f"run: {folder}")
        _check_objects(study, execution_of(changes, journal.execution.as_dict()))
    return StudyJournal.resume(folder, changes, allow_code=allow_code)


def _check_objects(study: Study, execution: Execution) -> None:
    """Raise `MnasError` if a Python object would have to be sent to another process."""
    if study.nested or execution.executor == "in-process":
        return
    for name in _texts([study.settings, [job.payload for job in study.jobs]]):
        if name.startswith(OBJECT):
            raise MnasError(
                f"workers: {name.removeprefix(OBJECT)} was given as a Python object, which other processes do not "
                "have; use one worker without limits, or write it to a file and name it FILE.py:NAME"
            )


def _texts(data: Any) -> Iterable[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | Sequence):
        for item in data.values() if isinstance(data, Mapping) else data:
            yield from _texts(item)


def _outcomes(study: Study, journal: StudyJournal) -> list[JobOutcome]:
    failures = journal.failures()
    numbers = {job.key: job.number for job in journal.jobs()}
    results, nothing = journal.results(study.read), StoredResult(None, 0.0)
    return [
        JobOutcome(job, results.get(numbers[job.key], nothing).result, failures.get(numbers[job.key]))
        for job in study.jobs
    ]


# --- doing jobs -------------------------------------------------------------------------------------------------------


class _Stopped(NamedTuple):
    """The outcome of a job that ended early, to be resumed: no failure."""


class JobWork(Work[tuple[Mapping[str, Any], str], Any]):
    """Jobs as work of an executor; a payload is a job's payload and its folder.

    Args:
        function: function that does a job.
        settings, execution: settings and execution of the study.
        report: `Call.report` for jobs in this process.
    """

    name = "study"

    def __init__(
        self,
        function: Callable[[Call], Any],
        settings: Mapping[str, Any],
        execution: Execution,
        report: Callable[[float, str], None] = lambda share, text: None,
    ) -> None:
        self._function = function
        self._settings = settings
        self._execution = execution
        self._report = report

    def perform(self, payloads: Sequence[tuple[Mapping[str, Any], str]], stop: Stop) -> list[Any]:
        return [
            self._one(Call(self._settings, self._execution, payload, Path(folder), stop, self._report))
            for payload, folder in payloads
        ]

    def _one(self, call: Call) -> Any:
        try:
            return _plain(self._function(call))
        except KeyboardInterrupt:
            if not call.stop():
                raise
            return _Stopped()
        except MnasError as error:  # its message has the next step, and a retry would fail again
            return Failure("refused", str(error))


def _work(function: Callable[[Call], Any], settings: Mapping[str, Any], execution: Execution) -> JobWork:
    return JobWork(function, settings, execution)


def _plain(data: Any) -> Any:
    """Data after a round trip through JSON."""
    return json.loads(json.dumps(data, allow_nan=False))


class _Running:
    """A session of a study: its queued and its running jobs."""

    def __init__(self, folder: Path, study: Study, journal: StudyJournal) -> None:
        self._folder = folder
        self._study = study
        self._journal = journal
        self._numbers = self._number_jobs()
        self._jobs = {self._numbers[job.key]: job for job in study.jobs}
        done = journal.results()
        self._queue = deque(number for number in self._jobs if number not in done)
        self._attempts: dict[int, int] = {}
        self._failed = False
        self._execution = journal.execution
        self._here = Execution(retries=self._execution.retries) if study.nested else self._execution
        workers = self._here.workers or 1
        weights = {number: job.weight for number, job in self._jobs.items()}
        self._progress = StudyProgress(study.label or study.kind, weights, min(workers, max(1, len(self._queue))))
        self._earlier = {number: found.seconds for number, found in done.items() if number in self._jobs}

    def _number_jobs(self) -> dict[str, int]:
        """The number of each job by its key; new jobs are written. Raises `MnasError` if the journal has others."""
        stored = {job.key: job for job in self._journal.jobs()}
        new = [job for job in self._study.jobs if job.key not in stored]
        other = next((job for job in self._study.jobs if job.key in stored and not _same(stored[job.key], job)), None)
        missing = stored.keys() - {job.key for job in self._study.jobs}
        if other or (stored and not self._study.grows and (new or missing)):
            raise MnasError(f"resume: {self._folder} holds a study with other jobs; choose another folder")
        added = [
            StoredJob(number, job.key, job.label, job.payload) for number, job in enumerate(new, start=len(stored))
        ]
        if added:
            self._journal.add(added)
        return {job.key: job.number for job in (*stored.values(), *added)}

    def run(self) -> None:
        """Do the queued jobs. Raises `KeyboardInterrupt` if stopped before the end."""
        if not self._queue:
            return
        for number in self._queue:
            if (own := self._folder / self._jobs[number].key).is_symlink():
                raise MnasError(f"resume: {own} is a link, which may point anywhere; put the folder itself there")
        self._wait_for_folders()
        with self._progress.running(), interruptible(saving=True) as stop:
            self._progress.earlier(self._earlier)
            with make_executor(self._here, self._loader(), stop) as executor:
                self._work(executor, stop)
            if self._queue and stop():
                raise KeyboardInterrupt

    def _loader(self) -> Loader[tuple[Mapping[str, Any], str], Any]:
        function, settings = self._study.perform, self._study.settings
        if self._here.executor == "in-process":
            return lambda: JobWork(function, settings, self._execution, self._report)
        return partial(_work, function, settings, self._execution)

    def _report(self, share: float, text: str) -> None:
        job = self._jobs[self._now]
        self._progress.reported(job.label, job.weight, share, text)

    def _work(self, executor: Executor[tuple[Mapping[str, Any], str], Any], stop: Stop) -> None:
        under_way: dict[Future[Performed[Any]], int] = {}
        while True:
            while self._queue and len(under_way) < executor.workers and not stop() and not self._failed:
                number = self._now = self._queue.popleft()
                job = self._jobs[number]
                under_way[executor.submit([(job.payload, str(self._folder / job.key))])] = number
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in [future for future in under_way if future in done]:
                self._settle(under_way.pop(future), future.result())

    def _settle(self, number: int, found: Performed[Any]) -> None:
        """Write the outcome of a job, or queue it again."""
        (outcome,) = found.outcomes
        label = self._jobs[number].label
        if isinstance(outcome, _Stopped):
            self._queue.appendleft(number)
        elif isinstance(outcome, Failure):
            attempt = self._attempts[number] = self._attempts.get(number, 0) + 1
            again = FAULTS[outcome.kind].retried and attempt <= self._here.retries
            self._journal.attempt_failed(number, outcome, found.seconds, last=not again)
            if again:
                self._queue.appendleft(number)
                return
            self._failed = self._failed or self._study.needs_all
            self._progress.settled(number, found.seconds, f"{label}: failed ({outcome.error})")
        else:
            self._journal.done(number, outcome, found.seconds)
            self._progress.settled(number, found.seconds, f"{label}: {self._study.describe(outcome)}")

    def _wait_for_folders(self) -> None:
        """Wait until the processes of a killed session have released their folders."""
        deadline = time.monotonic() + FREE_SECONDS
        for number in self._queue:
            folder = self._folder / self._jobs[number].key
            while folder.is_dir() and is_owned(folder) and time.monotonic() < deadline:
                time.sleep(0.05)


def _same(stored: StoredJob, job: Job) -> bool:
    return bool(stored.payload == _plain(job.payload))
