"""What runs there are and how far each is, read from their journals; nothing is loaded that a journal names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.owner import is_owned
from nas.journal import Journal
from nas.journal_format import FILE_NAME, Record
from search_spaces import MnasError


@dataclass(frozen=True)
class Run:
    """A run at a glance.

    Attributes:
        folder: of the run.
        state: ``running``, ``complete``, ``interrupted`` (by a person, or killed), ``failed`` or ``unreadable``.
        problem: why it failed or cannot be read; None where neither.
        owner: process and host that work on it; None where none does.
        settings: as plain data.
        done, failed, wanted: trials; failed ones are among the done.
        best: so far.
        last_event: when something last happened, in seconds since 1970, UTC.
    """

    folder: Path
    state: str
    problem: str | None = None
    owner: str | None = None
    settings: dict[str, Any] | None = None
    done: int = 0
    failed: int = 0
    wanted: int = 0
    best: Record | None = None
    last_event: float | None = None


def runs_in(folders: Iterable[Path]) -> Iterator[Run]:
    """The runs that folders are, or hold one level down, by name."""
    for folder in folders:
        if _may_be_run(folder):
            yield look_at(folder)
        elif folder.is_dir():
            yield from (look_at(inner) for inner in sorted(folder.iterdir()) if _may_be_run(inner))


def _may_be_run(folder: Path) -> bool:
    """Whether there is a journal in it, or nobody may look."""
    try:
        return (folder / FILE_NAME).is_file()
    except OSError:
        return True


def look_at(folder: Path) -> Run:
    """One run at a glance; one that cannot be read says why."""
    try:
        with Journal.open(folder) as journal:
            session = journal.session()
            settings, wanted = dict(journal.plain_settings), journal.plain_settings.get("trials")
            done = journal.count()
            state, problem, owner = "interrupted", None, None
            if is_owned(folder):
                state, owner = "running", f"process {session['pid']} on {session['host']}"
            elif session["reason"] == "complete":
                state = "complete"
            elif session["reason"] not in (None, "interrupted"):
                state, problem = "failed", str(session["reason"])
            return Run(
                folder,
                state,
                problem,
                owner,
                settings,
                done,
                journal.failed_count(),
                wanted if isinstance(wanted, int) else done,
                journal.best_record(),
                journal.last_event(),
            )
    except (MnasError, OSError) as error:
        return Run(folder, "unreadable", str(error))
