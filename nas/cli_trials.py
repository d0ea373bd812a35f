"""`mnas runs` and `mnas trials`: what runs there are, and every trial of one."""

from __future__ import annotations

import argparse
import csv
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.console import Commands, count, labelled, millions, points, print_json, show, titled_table
from search_spaces import MnasError
from search_spaces.errors import one_line

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
    _register_forms(parser)
    parser.set_defaults(run=run_runs)

    text = "Show the trials of a run, best first, or those that failed; as JSON or CSV, all of them by number."
    parser = commands.add_parser("trials", help="the trials of a run", description=text)
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--top", type=count, default=TOP, help=f"how many to show (default: {TOP})")
    parser.add_argument("--failed", action="store_true", help="those that failed, with their errors")
    _register_forms(parser)
    parser.set_defaults(run=run_trials)


def _register_forms(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument("--csv", action="store_true", help="print CSV, a line each")


def run_runs(arguments: argparse.Namespace) -> None:
    """List runs."""
    from nas.runs import Run, runs_in

    folders: list[Path] = arguments.folders or [Path("runs")]
    for folder in arguments.folders:
        if not folder.is_dir():
            raise MnasError(f"runs: there is no folder {folder}; give folders of runs")
    runs = list(runs_in(folders))
    if arguments.json:
        print_json({"runs": [_run_data(run) for run in runs]})
        return
    if arguments.csv:
        _write_csv([_flat_run(run) for run in runs], list(_flat_run(Run(Path(), "unreadable"))))
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
        table.add_row(str(run.folder), run.state, *counts, one_line(_evaluator(run.settings), 40), *found, last)
    problems = [labelled(f"{run.folder}:", run.problem) for run in runs if run.problem]
    owners = [labelled(f"{run.folder}:", f"running as {run.owner}") for run in runs if run.owner]
    evaluators = dict.fromkeys(_evaluator(run.settings) for run in runs if run.settings)
    show(table, *(f"Accuracy of {one_line(name, 40)}: {_meaning(name)}." for name in evaluators), *owners, *problems)


def _evaluator(settings: Mapping[str, Any] | None) -> str:
    return one_line(str((settings or {}).get("evaluator", "")))


def _meaning(evaluator: str) -> str:
    """What an evaluator's accuracy is; one of a person's own is not loaded for that."""
    from nas.evaluators.proxy_training import ProxyTraining, proxy_of
    from nas.evaluators.registry import EVALUATORS

    if evaluator in EVALUATORS:
        return EVALUATORS[evaluator]().meaning
    with suppress(MnasError):
        return ProxyTraining(proxy_of(evaluator)).meaning
    return "as it says of itself"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%d %b %H:%M")


def _run_data(run: Run) -> dict[str, Any]:
    return {
        **asdict(run),
        "folder": str(run.folder),
        "best": None if run.best is None else _trial_data(run.best),
        "last_event": None if run.last_event is None else datetime.fromtimestamp(run.last_event, UTC).isoformat(),
    }


def _flat_run(run: Run) -> dict[str, Any]:
    """A run as a line: its settings of one value each, and its best trial without the choices."""
    data, settings = _run_data(run), run.settings or {}
    best = data.pop("best") or {}
    names = ("space", "evaluator", "controller", "seed")
    of_best = ("number", "accuracy", "accuracy_std", "reward", "macs", "params")
    del data["settings"]
    return {
        **data,
        **{name: settings.get(name) for name in names},
        **{f"best_{name}": best.get(name) for name in of_best},
    }


def _write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


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
    rows = []
    for record in records:
        data = _trial_data(record)
        costs, genotype = data.pop("costs"), data.pop("genotype")
        rows.append({**data, **dict(zip(targets, costs, strict=True)), **genotype})
    _write_csv(rows, list(dict.fromkeys(name for row in rows for name in row)) or ["number", *targets])


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
