"""The runs in folders and their progress: searches, trainings and studies; nothing that they name is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from baselines.owner import is_owned
from baselines.training.folder import HISTORY, SETTINGS, WEIGHTS, read_training, validation_curve
from nas.journal import Journal
from nas.journal_format import Record
from nas.record import COMPARISON_FILE, KNOWN, PILOTS, STUDY_FILE
from nas.studies.calibration import is_calibrating
from nas.studies.journal import StudyJournal
from nas.studies.trained_comparison import read_comparison
from search_spaces import MnasError


@dataclass(frozen=True)
class Run:
    """A run at a glance.

    Attributes:
        folder: folder of the run.
        kind: ``search``, ``training``, or a study: ``comparison``, ``ablation``, ``family``, ``scaling-search``,
            ``rediscovery``, ``finalists``, ``calibration``.
        state: ``running``, ``complete``, ``interrupted`` (by a person, or killed), ``failed`` or ``unreadable``.
        problem: reason why it failed or cannot be read; None otherwise.
        owner: process and host that run it; None if it is not running, or unknown.
        settings: settings of a search or a study as plain data.
        done, failed, wanted: numbers of trials, epochs or jobs; ``done`` includes failed trials, but not failed jobs.
        accuracy: best accuracy so far; for a training, on its validation part; None for a study.
        best: best trial of a search so far.
        last_event: time of the last event, in seconds since 1970, UTC.
    """

    folder: Path
    kind: str
    state: str
    problem: str | None = None
    owner: str | None = None
    settings: dict[str, Any] | None = None
    done: int = 0
    failed: int = 0
    wanted: int = 0
    accuracy: float | None = None
    best: Record | None = None
    last_event: float | None = None


def runs_in(folders: Iterable[Path]) -> Iterator[Run]:
    """The runs in folders or one level below, by name, without the jobs inside a study."""
    for folder in folders:
        if kind_of(folder):
            yield look_at(folder)
        elif folder.is_dir():
            yield from (look_at(inner) for inner in sorted(folder.iterdir()) if kind_of(inner))


def kind_of(folder: Path) -> str | None:
    """What a folder holds, by its files (`nas.record.KNOWN`), such as ``search`` or ``training``; None if no run.

    A folder that cannot be read counts as a search.
    """
    try:
        found = (kind for file, (kind, _) in KNOWN.items() if (folder / file).is_file())
        return next(found, "search" if is_calibrating(folder) else None)
    except OSError:
        return "search"


def look_at(folder: Path) -> Run:
    """One run at a glance; an unreadable one has the reason in ``problem``."""
    kind = kind_of(folder) or "search"
    try:
        return _LOOKS[kind](folder)
    except (MnasError, OSError) as error:
        return Run(folder, kind, "unreadable", str(error))


def _look_at_search(folder: Path) -> Run:
    if is_calibrating(folder):
        with StudyJournal.open(folder / PILOTS) as pilots:
            state, problem, owner = pilots.state()
            settings = {name: value for name, value in pilots.plain_settings.items() if name != "kind"}
            state = "interrupted" if state == "complete" else state  # between the pilots and the search
            wanted, last = _count(settings.get("trials"), 0), pilots.last_event()
        return Run(folder, "search", state, problem, owner, settings, wanted=wanted, last_event=last)
    with Journal.open(folder) as journal:
        settings, done, best = dict(journal.plain_settings), journal.count(), journal.best_record()
        return Run(
            folder,
            "search",
            *journal.state(),
            settings,
            done,
            journal.failed_count(),
            _count(settings.get("trials"), done),
            best.metrics.accuracy if best and best.metrics else None,
            best,
            journal.last_event(),
        )


def _count(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def _look_at_study(folder: Path) -> Run:
    with StudyJournal.open(folder) as journal:
        settings = {name: value for name, value in journal.plain_settings.items() if name != "kind"}
        counts, last = journal.counts(), journal.last_event()
        return Run(folder, journal.kind, *journal.state(), settings, *counts, last_event=last)


def _look_at_comparison(folder: Path) -> Run:
    """The progress of a comparison of an earlier version, or one that has never run, is that of its trainings."""
    kind = kind_of(folder) or "comparison"
    if (folder / STUDY_FILE).is_file():
        return replace(_look_at_study(folder), kind=kind)
    plan = read_comparison(folder)
    trainings = [own for _, _, own in plan.folders(folder)]
    done = sum((own / WEIGHTS).is_file() for own in trainings)
    running = any(own.is_dir() and is_owned(own) for own in trainings)
    state = "running" if running else "interrupted" if done < len(trainings) else "complete"
    last = (folder / COMPARISON_FILE).stat().st_mtime
    return Run(folder, kind, state, done=done, wanted=len(trainings), last_event=last)


def _look_at_scaling_search(folder: Path) -> Run:
    if (folder / STUDY_FILE).is_file():
        return _look_at_study(folder)
    return Run(folder, "scaling-search", "interrupted", last_event=folder.stat().st_mtime)


def _look_at_training(folder: Path) -> Run:
    _, settings = read_training(folder)
    history = folder / HISTORY
    curve = validation_curve(folder)
    state = "running" if is_owned(folder) else "complete" if (folder / WEIGHTS).is_file() else "interrupted"
    return Run(
        folder,
        "training",
        state,
        done=curve[-1][0] if curve else 0,
        wanted=settings.recipe.epochs,
        accuracy=max((accuracy for _, accuracy in curve), default=None),
        last_event=(history if history.exists() else folder / SETTINGS).stat().st_mtime,
    )


_LOOKS: dict[str, Callable[[Path], Run]] = {
    "search": _look_at_search,
    "study": _look_at_study,
    "comparison": _look_at_comparison,
    "ablation": _look_at_comparison,
    "family": _look_at_comparison,
    "scaling-search": _look_at_scaling_search,
    "training": _look_at_training,
}
