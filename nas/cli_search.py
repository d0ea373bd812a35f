"""`mnas search`: a search from its options to what it found."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.console import (
    NO_LIMIT,
    Commands,
    cost_target,
    count,
    duration,
    labelled,
    limit,
    number,
    pointer,
    print_json,
    quantity,
    show,
    whole,
)
from baselines.files import new_folder
from baselines.interrupts import interruptible
from baselines.registry import load
from baselines.report import describe
from baselines.spec import BaselineSpec, write_spec
from nas.cli import CODE_HELP, given_targets
from search_spaces import SPACES, MnasError

if TYPE_CHECKING:
    from nas.journal import Journal
    from nas.objective import Objective
    from nas.search import SearchSettings
    from nas.trial import Trial

REFERENCE = "efficientnet_b0"
DEFAULTS = {
    "space": "efficientnet",
    "evaluator": "imagenet",
    "controller": "bayesian",
    "objective": "hard",
    "trials": 500,
    "seed": 0,
}
PROXY = ("data", "recipe", "epochs", "resolution", "width", "images", "repeats")
# What a run that goes on has already, by the names of the options.
SETTINGS = ("target_macs", "target", "space", "evaluator", "controller", "objective", "exponent", "seed", "out", *PROXY)


def register(commands: Commands) -> None:
    """Add the command."""
    from nas.controllers.registry import CONTROLLERS
    from nas.costs.metrics import COSTS
    from nas.evaluators.registry import EVALUATORS
    from nas.executors.base import EXECUTORS

    text = "Search for the most accurate network at a target of multiply-adds; compare it with EfficientNet-B0."
    parser = commands.add_parser("search", help="search for a baseline", description=text)
    parser.add_argument(
        "--target-macs", type=quantity, help="short for --target macs=…, e.g. 180M (default: 400M, without --target)"
    )
    parser.add_argument(
        "--target",
        type=cost_target,
        action="append",
        default=[],
        metavar="COST=VALUE",
        help=f"a cost to aim at, once or several times: {', '.join(COSTS)}",
    )
    parser.add_argument("--space", help=f"{', '.join(SPACES)} (default: efficientnet)")
    parser.add_argument(
        "--evaluator",
        help=f"source of accuracy: {', '.join(EVALUATORS)}, train (on --data), table:FILE, FILE.py:NAME "
        "(default: imagenet)",
    )
    _register_proxy(parser)
    parser.add_argument("--controller", help=f"{', '.join(CONTROLLERS)} (default: bayesian)")
    parser.add_argument(
        "--objective",
        help="hard: at most the target; soft: the published form, which does not aim at its target; "
        "absolute: near the target; calibrated: near it, with exponents measured there (default: hard)",
    )
    parser.add_argument(
        "--exponent", type=number, help="of the objective (default: -1 hard, -0.07 soft, -0.1 absolute)"
    )
    parser.add_argument("--trials", type=count, help="networks to evaluate (default: 500)")
    parser.add_argument("--seed", type=whole, help="of everything random (default: 0)")
    parser.add_argument("--out", type=Path, help="run folder, new or empty (default: a new one in runs/)")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run, to the end that was asked for or --trials further"
    )
    parser.add_argument(
        "--executor",
        help=f"where trials run: {', '.join(EXECUTORS)} (default: in-process where the evaluator answers at once, else "
        "processes)",
    )
    parser.add_argument("--workers", type=count, help="trials at once (default: 1; ray: as many as there is room for)")
    parser.add_argument("--cores", type=count, help="of the processor, for each trial (default: 1)")
    parser.add_argument("--gpus", type=number, help="for each trial, whole or a fraction; of ray")
    parser.add_argument("--time-limit", type=limit(duration), help="of a trial: 90, 90s, 10m, 2h, none (default: none)")
    parser.add_argument(
        "--memory-limit", type=limit(quantity), help="bytes a trial may allocate: 4G, none (default: none)"
    )
    parser.add_argument("--retries", type=whole, help="attempts after a failed one (default: 2)")
    parser.add_argument("--allow-code", action="store_true", help=CODE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_search_command)


def _register_proxy(parser: argparse.ArgumentParser) -> None:
    """The options of ``--evaluator train``, which make a `nas.evaluators.proxy_training.Proxy`."""
    group = parser.add_argument_group("the proxy of --evaluator train")
    group.add_argument("--data", help="images: a folder, an archive, hf:NAME or torchvision:NAME (docs/training.md)")
    group.add_argument("--recipe", help="by name (default: proxy)")
    group.add_argument("--epochs", type=count, help="of each training (default: the recipe's)")
    group.add_argument("--resolution", type=count, help="side of the images in pixels (default: that of the data)")
    group.add_argument("--width", type=number, help="factor on all channels (default: 1)")
    group.add_argument("--images", type=count, help="to train on (default: all)")
    group.add_argument("--repeats", type=count, help="trainings of each network, whose spread is σ (default: 1)")


def run_search_command(arguments: argparse.Namespace) -> None:
    """Search, record everything in a run folder, and show what was found beside published B0."""
    from nas.freeze import spec_of_trial

    folder, opened = _opened(arguments)
    with opened as journal:
        stopped = _search_into(folder, journal, new=arguments.resume is None)
        if stopped and journal.best_record() is None:  # too early for a report
            journal.end("interrupted")
            print(_how_to_go_on(folder), file=sys.stderr)
            raise KeyboardInterrupt
        best = journal.best()
        spec = spec_of_trial(journal, best, _spec_name(folder))
        (folder / "best.yaml").unlink(missing_ok=True)  # of the run before it was resumed
        write_spec(spec, folder / "best.yaml")
        done, failed = journal.count(), journal.failed_count()
        journal.end("interrupted" if stopped else "complete")
    _report_search(arguments, journal.settings, folder, spec, best, done, failed)
    if stopped:
        print(_how_to_go_on(folder), file=sys.stderr)
        raise KeyboardInterrupt


def _opened(arguments: argparse.Namespace) -> tuple[Path, Journal]:
    """The folder of the run and its journal, new or to go on with."""
    from nas.evaluators.registry import load_evaluator
    from nas.executors.base import Execution
    from nas.journal import Journal

    names = ("executor", "workers", "cores", "gpus", "time_limit", "memory_limit", "retries")
    execution = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    no_limit = {name: None for name in ("time_limit", "memory_limit") if execution.get(name) == NO_LIMIT}
    execution |= no_limit
    if execution.get("executor") == "ray":
        execution.setdefault("workers", 0)
    if arguments.resume:
        given = [name for name in SETTINGS if getattr(arguments, name) not in (None, [])]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise MnasError(f"resume: {arguments.resume} has its own settings; leave {option} out, or begin a new run")
        resumed = Journal.resume(
            arguments.resume, allow_code=arguments.allow_code, changes=execution, trials=arguments.trials
        )
        return arguments.resume, resumed
    for name, value in DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    settings = _settings(arguments)
    if "executor" not in execution:
        # A trial that takes long should not be able to end the search with it.
        at_once = load_evaluator(settings.evaluator, settings.space).instant and not execution.keys() - {"retries"}
        execution["executor"] = "in-process" if at_once else "processes"
    folder = arguments.out or _new_folder(settings)
    return folder, Journal.create(folder, settings, Execution(**execution))


def _settings(arguments: argparse.Namespace) -> SearchSettings:
    from nas.search import SearchSettings

    evaluator = _evaluator(arguments)
    return SearchSettings(
        space=arguments.space,
        evaluator=evaluator,
        controller=arguments.controller,
        objective=_objective(arguments, evaluator),
        trials=arguments.trials,
        seed=arguments.seed,
    )


def _evaluator(arguments: argparse.Namespace) -> str:
    """The evaluator's name; that of a proxy training says all of the proxy."""
    given = {name: value for name in PROXY if (value := getattr(arguments, name)) is not None}
    if arguments.evaluator != "train":
        if given:
            raise MnasError(f"{next(iter(given))}: is of --evaluator train; add that, or leave it out")
        return str(arguments.evaluator)
    from nas.evaluators.proxy_training import Proxy, with_fingerprint

    return with_fingerprint(Proxy(**{"data": "", **given})).name


def _objective(arguments: argparse.Namespace, evaluator: str) -> Objective:
    from nas.calibration import calibrated_objective
    from nas.objective import make_objective

    targets = given_targets(arguments) or {"macs": 400_000_000}
    if arguments.objective == "calibrated":
        if arguments.exponent is not None:
            raise MnasError("exponent: the calibrated form measures its own; leave --exponent out")
        return calibrated_objective(arguments.space, evaluator, targets, arguments.seed)
    return make_objective(arguments.objective, targets, arguments.exponent)


def _search_into(folder: Path, journal: Journal, *, new: bool) -> bool:
    """Run the search with everything that watches it; whether it was stopped before its end.

    What ends before anything was suggested leaves no folder behind, if it is new.
    """
    from nas.journal import JournalError
    from nas.monitor import Progress, TensorBoard
    from nas.search import run_search
    from nas.watch import Watch

    settings = journal.settings
    history = journal.history()
    # What TensorBoard shows is derived: it is written anew from the journal.
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    progress = Progress(settings.trials, settings.objective)
    board = TensorBoard(folder / "tensorboard", settings.objective)
    try:
        with board, progress.running(), interruptible() as stop:
            earlier = journal.completed_trials()
            board.record(earlier, {})
            progress.record(earlier)
            run_search(settings, Watch(journal, board, progress), journal.execution, history, stop)
    except BaseException as error:
        if new and journal.suggested_count() == 0 and not isinstance(error, JournalError):
            shutil.rmtree(folder, ignore_errors=True)  # `Journal.create` found nothing in it
        elif isinstance(error, KeyboardInterrupt):
            print(_how_to_go_on(folder), file=sys.stderr)
        raise
    return stop() and journal.count() < settings.trials


def _how_to_go_on(folder: Path) -> str:
    return f"mnas: go on with: mnas search --resume {shlex.quote(str(folder))}"


def _report_search(
    arguments: argparse.Namespace,
    settings: SearchSettings,
    folder: Path,
    spec: BaselineSpec,
    best: Trial,
    done: int,
    failed: int,
) -> None:
    from nas.comparison_view import comparison_data, comparison_view
    from nas.evaluators.registry import load_evaluator
    from nas.evidence import Comparison
    from nas.objective import cost_text

    known = {spec.name: best.metrics} if best.metrics else {}
    comparison = Comparison([spec, load(REFERENCE)], load_evaluator(settings.evaluator, settings.space), known)
    if arguments.json:
        found = {"trial": best.number, "genotype": best.genotype, "reward": best.reward, **describe(spec)}
        data = {"out": str(folder), "settings": settings.as_dict(), "trials": done, "failed": failed, "best": found}
        print_json({**data, "comparison": comparison_data(comparison)})
        return
    show(
        labelled("Found", f"in trial {best.number} of {done}: reward {best.reward:.5f} ({settings.objective.text()})"),
        *(cost_text(*pair) for pair in zip(settings.objective.targets, best.costs, strict=True)),
        *(() if settings.objective.meets(best.costs) else (_missed(settings.objective),)),
        *((f"{failed} of {done} trials failed: mnas trials {shlex.quote(str(folder))} --failed",) if failed else ()),
        *comparison_view(comparison),
        pointer("Run:", str(folder)),
        pointer("Next:", f"mnas freeze {shlex.quote(str(folder))} --name NAME"),
        pointer("Watch:", f"tensorboard --logdir {shlex.quote(str(folder))}"),
    )


def _missed(objective: Objective) -> str:
    if objective.form == "hard":
        return "No trial meets the target; more trials may, or a network of this space cannot meet them all."
    return "The best is over its target, which this form of the objective permits."


def _new_folder(settings: SearchSettings) -> Path:
    """A folder in runs/ that does not exist yet, named after the search."""
    controller = re.sub(r"\W+", "-", settings.controller)
    space = re.sub(r"\W+", "-", settings.space)
    target = "-".join(re.sub(r"[=]", "", target.text()) for target in settings.objective.targets)
    return new_folder(f"{space}-{target}-{controller}-seed{settings.seed}")


def _spec_name(folder: Path) -> str:
    """A name for the best network of a run folder: the folder's own, without what a name cannot hold."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).lstrip("_.-")[:64]
    return name or "found"
