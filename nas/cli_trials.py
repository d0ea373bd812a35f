"""`mnas runs` and `mnas trials`: what runs there are, and every trial of one."""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.console import Commands, count, labelled, millions, points, print_json, show, titled_table
from search_spaces import MnasError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nas.journal import Journal
    from nas.journal_format import Record
    from nas.runs import Run

TOP = 20


def register(commands: Commands) -> None:
    """Add the commands."""
    text = "List runs: their state, how far they are, and their best so far. Nothing is changed or loaded."
    parser = commands.add_parser("runs", help="what runs there are, and how far", description=text)
    parser.add_argument(
        "folders", metavar="FOLDER", type=Path, nargs="*", help="runs, or folders of runs (default: runs/)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_runs)

    text = "Show the trials of a run, best first, or those that failed; as JSON or CSV, all of them by number."
    parser = commands.add_parser("trials", help="the trials of a run", description=text)
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--top", type=count, default=TOP, help=f"how many to show (default: {TOP})")
    parser.add_argument("--failed", action="store_true", help="those that failed, with their errors")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--csv", action="store_true", help="print CSV, a column for each choice")
    parser.set_defaults(run=run_trials)


def run_runs(arguments: argparse.Namespace) -> None:
    """List runs."""
    from nas.runs import runs_in

    folders: list[Path] = arguments.folders or [Path("runs")]
    for folder in arguments.folders:
        if not folder.is_dir():
            raise MnasError(f"runs: there is no folder {folder}; give folders of runs")
    runs = list(runs_in(folders))
    if arguments.json:
        print_json({"runs": [_run_data(run) for run in runs]})
        return
    if not runs:
        show(f"No runs in {', '.join(map(str, folders))}.")
        return
    columns = [("run", "left"), ("state", "left"), ("done", "right"), ("failed", "right"), ("evaluator", "left")]
    table = titled_table("Runs", [*columns, ("best", "right"), ("MACs", "right"), ("trial", "right"), ("last", "left")])
    for run in runs:
        best = run.best
        found = ("", "", "")
        if best is not None and best.metrics is not None:
            found = (points(*best.metrics), millions(best.macs), str(best.number))
        last = "" if run.last_event is None else _time(run.last_event)
        counts = (f"{run.done} of {run.wanted}", str(run.failed))
        table.add_row(str(run.folder), run.state, *counts, _evaluator(run.settings), *found, last)
    problems = [labelled(f"{run.folder}:", run.problem) for run in runs if run.problem]
    owners = [labelled(f"{run.folder}:", f"running as {run.owner}") for run in runs if run.owner]
    evaluators = dict.fromkeys(_evaluator(run.settings) for run in runs if run.settings)
    show(table, *(f"Accuracy of {name}: {_meaning(name)}." for name in evaluators), *owners, *problems)


def _evaluator(settings: Mapping[str, Any] | None) -> str:
    return str((settings or {}).get("evaluator", ""))


def _meaning(evaluator: str) -> str:
    """What an evaluator's accuracy is; one of a person's own is not loaded for that."""
    from nas.evaluators.registry import EVALUATORS

    made = EVALUATORS.get(evaluator)
    return made().meaning if made else "as it says of itself"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %H:%M")


def _run_data(run: Run) -> dict[str, Any]:
    return {
        **asdict(run),
        "folder": str(run.folder),
        "best": None if run.best is None else _trial_data(run.best),
        "last_event": None if run.last_event is None else datetime.fromtimestamp(run.last_event, UTC).isoformat(),
    }


def run_trials(arguments: argparse.Namespace) -> None:
    """Show the trials of a run."""
    from nas.journal import Journal

    with Journal.open(arguments.folder) as journal:
        records = list(journal.records())
        if arguments.json:
            print_json({"run": str(arguments.folder), "trials": [_trial_data(record) for record in records]})
        elif arguments.csv:
            _print_csv(journal, records)
        elif arguments.failed:
            _show_failed(records)
        else:
            _show_best(journal, records, arguments.top)


def _trial_data(record: Record) -> dict[str, Any]:
    metrics, failure = record.metrics, record.failure
    return {
        "number": record.number,
        "state": "failed" if failure else "done" if metrics else "to do",
        "accuracy": metrics and metrics.accuracy,
        "accuracy_std": metrics and metrics.accuracy_std,
        "reward": record.reward,
        "macs": record.macs,
        "params": record.params,
        "costs": list(record.costs),
        "failure": failure and failure.kind,
        "error": failure and failure.error,
        "attempts": record.attempts,
        "seconds": record.seconds,
        "digest": record.digest,
        "genotype": record.genotype,
    }


def _print_csv(journal: Journal, records: Sequence[Record]) -> None:
    """A row a trial; the costs of the targets and the choices are columns of their own."""
    targets = [f"target_{target.cost}" for target in journal.objective.targets]
    labels = list(records[0].genotype) if records else []
    writer = csv.writer(sys.stdout, lineterminator="\n")
    plain = [name for name in _trial_data(records[0]) if name not in ("costs", "genotype")] if records else ["number"]
    writer.writerow([*plain, *targets, *labels])
    for record in records:
        data = _trial_data(record)
        choices = [record.genotype.get(label) for label in labels]
        writer.writerow([*(data[name] for name in plain), *record.costs, *choices])


def _show_best(journal: Journal, records: Sequence[Record], top: int) -> None:
    objective = journal.objective
    done = [record for record in records if record.reward is not None]
    done.sort(key=lambda record: objective.merit(record.reward, record.costs), reverse=True)
    columns = ("trial", "accuracy", "reward", "MACs", "params", "seconds", "attempts")
    table = titled_table(f"Trials, best first ({objective.text()})", [(name, "right") for name in columns])
    for record in done[:top]:
        assert record.metrics is not None
        table.add_row(
            str(record.number),
            points(*record.metrics),
            f"{record.reward:.5f}",
            millions(record.macs),
            millions(record.params),
            f"{record.seconds:.3g}",
            str(record.attempts),
        )
    failed = sum(record.failure is not None for record in records)
    show(
        table,
        f"{min(top, len(done))} shown of {len(done)} that succeeded; {failed} failed, "
        f"{len(records) - len(done) - failed} are to do. Accuracy: {_meaning(_evaluator(journal.plain_settings))}.",
    )


def _show_failed(records: Sequence[Record]) -> None:
    columns = [("trial", "right"), ("failure", "left"), ("MACs", "right"), ("attempts", "right"), ("error", "left")]
    table = titled_table("Failed trials", columns)
    failed = [record for record in records if record.failure is not None]
    for record in failed:
        assert record.failure is not None
        table.add_row(
            str(record.number), record.failure.kind, millions(record.macs), str(record.attempts), record.failure.error
        )
    show(table, f"{len(failed)} of {len(records)} trials failed.")
