"""`mnas front`, `finalists`, `rediscover` and `check`: what runs hold, what many show, and whether a plug-in works."""

from __future__ import annotations

import argparse
import inspect
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.console import (
    Commands,
    cost_target,
    count,
    labelled,
    millions,
    number,
    pointer,
    points,
    print_json,
    quantity,
    show,
    titled_table,
)
from nas.cli import CODE_HELP, given_targets
from search_spaces import MnasError, load_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from nas.finalists import Finalist
    from nas.journal import Journal
    from nas.objective import Objective
    from nas.rediscovery import SeededSearch, Study
    from nas.trial import Trial

DEFAULT_CONTROLLERS = "bayesian,ppo,reinforce,nni:regularized-evolution,random"


def register(commands: Commands) -> None:
    """Add the commands."""
    from nas.costs.metrics import COSTS

    text = "The Pareto front of a run, and the best of its networks for another target; nothing is evaluated."
    parser = commands.add_parser("front", help="a run's Pareto front, or its best for another target", description=text)
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--cost", default="macs", help=f"against accuracy: {', '.join(COSTS)} (default: macs)")
    parser.add_argument("--target-macs", type=quantity, help="short for --target macs=…")
    parser.add_argument(
        "--target", type=cost_target, action="append", default=[], metavar="COST=VALUE", help="another target"
    )
    parser.add_argument("--objective", default="hard", help="form for the target (default: hard)")
    parser.add_argument("--exponent", type=number, help="of that form")
    parser.add_argument("--allow-code", action="store_true", help=CODE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_front)

    text = (
        "Compare the best networks of a run once more: measured again with other seeds where the evaluator has noise, "
        "ranked by accuracy less one σ, ties called ties."
    )
    parser = commands.add_parser("finalists", help="compare a run's best networks with their noise", description=text)
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--top", type=count, default=10, help="how many networks (default: 10)")
    parser.add_argument("--repeats", type=count, default=5, help="measurements of each, where noisy (default: 5)")
    parser.add_argument("--allow-code", action="store_true", help=CODE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_finalists)

    text = (
        "Search with many seeds under the reward that found EfficientNet-B0, and show with confidence intervals how "
        "soon each controller passes B0 and how near it comes to it."
    )
    parser = commands.add_parser("rediscover", help="how near searches come to published B0", description=text)
    parser.add_argument("--seeds", type=count, default=20, help="searches of each controller (default: 20)")
    parser.add_argument("--trials", type=count, default=500, help="of each search (default: 500)")
    parser.add_argument(
        "--controllers", default=DEFAULT_CONTROLLERS, help=f"separated by commas (default: {DEFAULT_CONTROLLERS})"
    )
    parser.add_argument("--evaluator", default="imagenet", help="source of accuracy (default: imagenet)")
    parser.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="draw best reward against evaluations")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_rediscover)
    _register_check(commands)


def run_front(arguments: argparse.Namespace) -> None:
    """Show the Pareto front of a run, and the best trial for another target."""
    from nas.costs.metrics import cost_metric
    from nas.front import pareto_front, retargeted
    from nas.journal import Journal
    from nas.objective import cost_text, make_objective

    metric = cost_metric(arguments.cost)
    targets = given_targets(arguments)
    if not targets and (arguments.objective, arguments.exponent) != ("hard", None):
        raise MnasError("front: --objective and --exponent are of a target; give --target-macs or --target")
    objective = make_objective(arguments.objective, targets, arguments.exponent) if targets else None
    with Journal.open(arguments.folder, allow_code=arguments.allow_code) as journal:
        space, trials = load_space(journal.settings.space), list(journal.trials())
        front = pareto_front(space, trials, arguments.cost)
        best = retargeted(space, trials, objective) if objective else None
        meaning = _meaning(journal)
    if not front:
        raise MnasError(f"run: {arguments.folder} has no successful trial; choose another run")
    if arguments.json:
        data: dict[str, Any] = {"cost": asdict(metric), "front": [_trial_data(trial) for trial in front]}
        if objective and best:
            data["retargeted"] = {"objective": asdict(objective), "reward": best.reward, **_trial_data(best)}
        print_json(data)
        return
    table = titled_table(
        f"Pareto front of {len(trials)} trials", [("trial", "right"), (metric.unit, "right"), ("accuracy", "right")]
    )
    for trial in front:
        assert trial.metrics is not None
        cost = millions(trial.costs[0]) if trial.costs[0] >= 1e6 else f"{trial.costs[0]:,.4g}"
        table.add_row(str(trial.number), cost, points(*trial.metrics))
    lines = [f"Accuracy: {meaning}."]
    if objective and best and best.metrics:
        folder = shlex.quote(str(arguments.folder))
        where = ", ".join(map(cost_text, objective.targets, best.costs))
        met = "" if objective.form != "hard" or objective.meets(best.costs) else " No trial meets the target."
        lines.append(f"Best for the {objective.text()}: trial {best.number}, {points(*best.metrics)}, {where}.{met}")
        show(table, *lines, pointer("Next:", f"mnas freeze {folder} --trial {best.number} --name NAME"))
        return
    show(table, *lines)


def _meaning(journal: Journal) -> str:
    from nas.evaluators.registry import load_evaluator

    return load_evaluator(journal.settings.evaluator, journal.settings.space).meaning


def _trial_data(trial: Trial) -> dict[str, Any]:
    assert trial.metrics is not None
    return {
        "trial": trial.number,
        "costs": trial.costs,
        "macs": trial.cost.macs,
        "params": trial.cost.params,
        **trial.metrics._asdict(),
        "genotype": trial.genotype,
    }


def run_finalists(arguments: argparse.Namespace) -> None:
    """Compare the best trials of a run once more."""
    from nas.evaluators.registry import load_evaluator
    from nas.finalists import judge_finalists
    from nas.journal import Journal

    with Journal.open(arguments.folder, allow_code=arguments.allow_code) as journal:
        settings, trials = journal.settings, list(journal.trials())
    evaluator = load_evaluator(settings.evaluator, settings.space)
    finalists = judge_finalists(trials, settings.objective, evaluator, arguments.top, arguments.repeats)
    if not finalists:
        raise MnasError(f"run: {arguments.folder} has no successful trial; choose another run")
    if arguments.json:
        data = [
            {
                **_trial_data(finalist.trial),
                "accuracies": finalist.accuracies,
                "accuracy": finalist.accuracy,
                "std": finalist.std,
                "merit": finalist.merit,
                "tie": finalist.tie,
            }
            for finalist in finalists
        ]
        print_json({"noisy": evaluator.noisy, "objective": asdict(settings.objective), "finalists": data})
        return
    show(*_finalists_view(finalists, settings.objective, evaluator.meaning, noisy=evaluator.noisy))
    number = finalists[0].trial.number
    show(pointer("Next:", f"mnas freeze {shlex.quote(str(arguments.folder))} --trial {number} --name NAME"))


def _finalists_view(
    finalists: Sequence[Finalist], objective: Objective, meaning: str, *, noisy: bool
) -> list[Table | str]:
    numbers = ("trial", "MACs", "params", "in the run", "measured again" if noisy else "accuracy")
    table = titled_table(f"Finalists ({objective.text()})", [*((name, "right") for name in numbers), ("", "left")])
    for finalist in finalists:
        trial = finalist.trial
        assert trial.metrics is not None
        table.add_row(
            str(trial.number),
            millions(trial.cost.macs),
            millions(trial.cost.params),
            points(trial.metrics.accuracy),
            "not measured" if noisy and not finalist.accuracies else points(finalist.accuracy, finalist.std),
            "first" if finalist is finalists[0] else "a tie" if finalist.tie else "",
        )
    ties = sum(finalist.tie for finalist in finalists)
    lines: list[Table | str] = [table, f"Accuracy: {meaning}."]
    if noisy:
        lines.append("Measured with other seeds than the run's; ± is σ of the mean. Ranked by accuracy less one σ.")
    else:
        lines.append("The evaluator has no noise to average; ± is its σ. Ranked by accuracy less one σ.")
    if ties:
        lines.append(f"{ties} differ from the first by less than the σ of the difference: the cheapest is as good.")
    return lines


def run_rediscover(arguments: argparse.Namespace) -> None:
    """Run the rediscovery study."""
    from baselines.files import check_new
    from nas.rediscovery import rediscover
    from nas.rediscovery_view import study_data, study_view, write_study_figure

    controllers = [name.strip() for name in arguments.controllers.split(",") if name.strip()]
    if not controllers or len(set(controllers)) != len(controllers):
        raise MnasError(f"controllers: {arguments.controllers!r} is not one or more different names")
    if arguments.html:
        check_new(arguments.html, field="html")
    total, done = len(controllers) * arguments.seeds, 0

    def progress(search: SeededSearch) -> None:
        nonlocal done
        done += 1
        passed = "not passed" if search.passed is None else f"passed after {search.passed}"
        print(f"{done}/{total}  {search.controller}, seed {search.seed}: B0 {passed}", file=sys.stderr, flush=True)

    study: Study = rediscover(
        controllers, arguments.seeds, arguments.trials, arguments.workers, arguments.evaluator, progress=progress
    )
    if arguments.html:
        write_study_figure(study, arguments.html)
    if arguments.json:
        print_json(study_data(study))
        return
    show(*study_view(study))
    if arguments.html:
        show(labelled("Written:", str(arguments.html)))


def _register_check(commands: Commands) -> None:
    text = (
        "Try the rules on a space, an evaluator and a controller of your own: those that a Python file defines under "
        "these names, or FILE.py:NAME."
    )
    parser = commands.add_parser("check", help="what is wrong with a plug-in", description=text)
    parser.add_argument("name", metavar="PLUGIN", help="FILE.py, FILE.py:NAME, or the name of an installed one")
    parser.add_argument("--space", default="efficientnet", help="to try evaluators and controllers on")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> None:
    """Check plug-ins; a broken rule is an error."""
    from nas.check import check_controller, check_evaluator, check_space
    from nas.controllers.base import Controller
    from nas.evaluators.base import Evaluator
    from nas.evaluators.registry import load_evaluator
    from search_spaces import SearchSpace
    from search_spaces.plugins import defined

    findings = []
    space = load_space(arguments.space)
    plugins = defined(arguments.name)
    for kind, name, found in plugins:
        if kind == "space" or isinstance(found, SearchSpace):
            space = load_space(name)
            findings.append((name, "space", list(check_space(space))))
    for kind, name, found in plugins:
        if kind == "evaluator" or isinstance(found, Evaluator) or _is_class(found, Evaluator):
            findings.append((name, "evaluator", list(check_evaluator(load_evaluator(name), space))))
        elif kind == "controller" or _is_class(found, Controller) or _takes_three(found):
            findings.append((name, "controller", list(check_controller(name, space))))
    if not findings:
        raise MnasError(
            f"check: {arguments.name} is no space, evaluator or controller; call it so in the file, or say FILE.py:NAME"
        )
    problems = [finding for _, _, rules in findings for finding in rules if finding.problem]
    if arguments.json:
        data = [{"name": name, "kind": kind, "rules": list(map(asdict, rules))} for name, kind, rules in findings]
        print_json({"checked": data, "problems": len(problems)})
    else:
        for name, kind, rules in findings:
            show(labelled(f"{name}", f"as a {kind}"))
            show(*(f"  ok     {r.rule}" if r.problem is None else f"  WRONG  {r.rule}: {r.problem}" for r in rules))
    if problems:
        raise MnasError(f"check: {len(problems)} of the rules do not hold; see above")


def _takes_three(found: object) -> bool:
    """Whether it is a function of space, objective and seed, as a controller's is."""
    return inspect.isfunction(found) and len(inspect.signature(found).parameters) == 3


def _is_class(found: object, kind: type) -> bool:
    return isinstance(found, type) and issubclass(found, kind)
