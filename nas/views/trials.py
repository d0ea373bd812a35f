"""Trials of a run, as data, as rows of CSV and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from baselines.text import counted, millions, points, seconds_text
from baselines.views.terminal import Table
from nas.journal_format import Record
from nas.trial import Trial
from nas.views.evaluators import evaluator_name, meaning_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.journal import Journal


def data(trial: Record | Trial) -> dict[str, Any]:
    """A trial as plain data: the one form that all commands print."""
    metrics, failure = trial.metrics, trial.failure
    counts = trial.counts if isinstance(trial, Trial) else trial
    return {
        "number": trial.number,
        "state": "failed" if failure else "done" if metrics else "to do",
        "accuracy": metrics and metrics.accuracy,
        "accuracy_std": metrics and metrics.accuracy_std,
        "reward": trial.reward,
        "macs": counts and counts.macs,
        "params": counts and counts.params,
        "costs": list(trial.costs),
        "failure": failure and failure.kind,
        "error": failure and failure.error,
        "attempts": trial.attempts,
        "seconds": trial.seconds,
        "digest": trial.digest,
        "genotype": trial.genotype,
    }


def rows(journal: Journal, records: Sequence[Record]) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each trial, and the columns; costs of the targets and choices are columns of their own."""
    targets = [f"target_{target.cost}" for target in journal.objective.targets]
    found = []
    for record in records:
        flat = data(record)
        costs, genotype = flat.pop("costs"), flat.pop("genotype")
        choices = {f"choice:{label}" if label in flat else label: value for label, value in genotype.items()}
        found.append({**flat, **dict(zip(targets, costs, strict=True)), **choices})
    return found, list(dict.fromkeys(name for row in found for name in row)) or ["number", *targets]


def text(journal: Journal, records: Sequence[Record], top: int) -> list[RenderableType]:
    """The best trials as a table."""
    objective = journal.objective
    done = [record for record in records if record.reward is not None]
    done.sort(key=lambda record: objective.merit(record.reward, record.costs), reverse=True)
    has_counts = all(record.macs is not None for record in done)
    costs = ("MACs", "params") if has_counts else tuple(target.cost for target in objective.targets)
    columns = ("trial", "accuracy", "reward", *costs, "time", "attempts")
    table = Table(f"Trials, best first ({objective.text()})", [(name, "right") for name in columns])
    for record in done[:top]:
        assert record.metrics is not None
        table.add_row(
            str(record.number),
            points(*record.metrics),
            f"{record.reward:.5f}",
            *(
                (_millions(record.macs), _millions(record.params))
                if has_counts
                else (f"{c:,.4g}" for c in record.costs)
            ),
            seconds_text(record.seconds),
            str(record.attempts),
        )
    failed = sum(record.failure is not None for record in records)
    others = {"failed": failed, "to do": len(records) - len(done) - failed}
    left = ", ".join(f"{count:,} {state}" for state, count in others.items() if count)
    shown = f"{min(top, len(done)):,} shown of {len(done):,} that succeeded{'; ' if left else ''}{left}."
    return [table, f"{shown} Accuracy: {meaning_of(evaluator_name(journal.plain_settings))}."]


def failed_text(records: Sequence[Record]) -> list[RenderableType]:
    """The failed trials as a table, with their errors."""
    failures = [(record, record.failure) for record in records if record.failure is not None]
    macs_column = [("MACs", "right")] if all(record.macs is not None for record, _ in failures) else []
    columns = [("trial", "right"), ("failure", "left"), *macs_column, ("attempts", "right"), ("error", "left")]
    table = Table("Failed trials", columns)
    for record, failure in failures:
        macs = (_millions(record.macs),) if macs_column else ()
        table.add_row(str(record.number), failure.kind, *macs, str(record.attempts), failure.error)
    return [table, f"{len(failures):,} of {counted(len(records), 'trial')} failed."]


def _millions(count: int | None) -> str:
    return "" if count is None else millions(count)
