"""`mnas search`, `mnas freeze`, `mnas compare` and `mnas spaces`."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.comparators import Mark, load_any
from baselines.console import (
    Commands,
    cost_target,
    count,
    labelled,
    millions,
    number,
    pointer,
    print_json,
    quantity,
    show,
    titled_table,
    whole,
)
from baselines.registry import load, own_file
from baselines.report import describe, notes, spec_table
from baselines.spec import BaselineSpec, write_spec
from search_spaces import SPACES, MnasError, SearchSpace, load_space

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from nas.controllers.base import Controller
    from nas.journal import Journal
    from nas.objective import Objective
    from nas.search import SearchSettings
    from nas.trial import Trial

CODE_HELP = "let Python files run that the run names"
REFERENCE = "efficientnet_b0"


def register(commands: Commands) -> None:
    """Add this package's commands."""
    _register_search(commands)

    text = "Write the best network of a run, or another trial, as a spec of its own in specs/."
    parser = commands.add_parser("freeze", help="write a run's best network as a spec", description=text)
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--name", required=True, help="name of the spec, written to specs/NAME.yaml")
    parser.add_argument("--trial", type=whole, help="number of another trial than the best")
    parser.add_argument("--allow-code", action="store_true", help=CODE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_freeze)

    text = "Put specs side by side: structure, cost, predicted accuracy and its noise. The last one is the reference."
    parser = commands.add_parser("compare", help="put specs side by side", description=text)
    parser.add_argument(
        "specs", metavar="SPEC", nargs="+", help="two or more: names of baselines, spec files, torchvision:NAME"
    )
    parser.add_argument("--evaluator", default="imagenet", help="whose accuracy to show (default: imagenet)")
    parser.add_argument(
        "--space", default="efficientnet", help="in whose choices a table is written (default: efficientnet)"
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="draw published accuracy against params and MACs, as the paper's Figure 1",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_compare)

    _register_spaces(commands)


def _register_search(commands: Commands) -> None:
    from nas.controllers.registry import CONTROLLERS
    from nas.costs.metrics import COSTS
    from nas.evaluators.registry import EVALUATORS

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
    parser.add_argument("--space", default="efficientnet", help=f"{', '.join(SPACES)} (default: efficientnet)")
    parser.add_argument(
        "--evaluator",
        default="imagenet",
        help=f"source of accuracy: {', '.join(EVALUATORS)}, table:FILE, FILE.py:NAME (default: imagenet)",
    )
    parser.add_argument("--controller", default="bayesian", help=f"{', '.join(CONTROLLERS)} (default: bayesian)")
    parser.add_argument(
        "--objective",
        default="hard",
        help="hard: at most the target; soft: the published form, which does not aim at its target; "
        "absolute: near the target; calibrated: near it, with exponents measured there (default: hard)",
    )
    parser.add_argument(
        "--exponent", type=number, help="of the objective (default: -1 hard, -0.07 soft, -0.1 absolute)"
    )
    parser.add_argument("--trials", type=count, default=500, help="networks to evaluate (default: 500)")
    parser.add_argument("--seed", type=whole, default=0, help="of everything random (default: 0)")
    parser.add_argument("--out", type=Path, help="run folder, new or empty (default: a new one in runs/)")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run that was interrupted; its settings are its own"
    )
    parser.add_argument("--allow-code", action="store_true", help=CODE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_search_command)


def run_search_command(arguments: argparse.Namespace) -> None:
    """Search, record everything in a run folder, and show what was found beside published B0."""
    from nas.freeze import spec_of_trial
    from nas.journal import Journal

    if arguments.resume:
        folder, opened = arguments.resume, Journal.resume(arguments.resume, allow_code=arguments.allow_code)
        settings = opened.settings
    else:
        settings = _settings(arguments)
        folder = arguments.out or _new_folder(settings)
        opened = Journal.create(folder, settings)
    with opened as journal:
        interrupted = _search_into(folder, journal)
        best = journal.best()
        spec = spec_of_trial(journal, best, _spec_name(folder))
        (folder / "best.yaml").unlink(missing_ok=True)  # of the run before it was resumed
        write_spec(spec, folder / "best.yaml")
        done = journal.count()
    _report_search(arguments, settings, folder, spec, best, done)
    if interrupted:
        print(f"mnas: go on with: mnas search --resume {shlex.quote(str(folder))}", file=sys.stderr)
        raise KeyboardInterrupt


def _settings(arguments: argparse.Namespace) -> SearchSettings:
    from nas.search import SearchSettings

    return SearchSettings(
        space=arguments.space,
        evaluator=arguments.evaluator,
        controller=arguments.controller,
        objective=_objective(arguments),
        trials=arguments.trials,
        seed=arguments.seed,
    )


def _objective(arguments: argparse.Namespace) -> Objective:
    from nas.calibration import calibrated_objective
    from nas.objective import make_objective

    targets = given_targets(arguments) or {"macs": 400_000_000}
    if arguments.objective == "calibrated":
        if arguments.exponent is not None:
            raise MnasError("exponent: the calibrated form measures its own; leave --exponent out")
        return calibrated_objective(arguments.space, arguments.evaluator, targets, arguments.seed)
    return make_objective(arguments.objective, targets, arguments.exponent)


def given_targets(arguments: argparse.Namespace) -> dict[str, float]:
    """The targets by cost of ``--target-macs`` and ``--target``."""
    targets: dict[str, float] = {} if arguments.target_macs is None else {"macs": arguments.target_macs}
    for name, value in arguments.target:
        if name in targets:
            raise MnasError(f"target: {name} stands twice; keep one")
        targets[name] = value
    return targets


def _search_into(folder: Path, journal: Journal) -> bool:
    """Run the search with everything that watches it; whether it was interrupted after at least one batch.

    What ends before the first batch leaves no folder behind.
    """
    from nas.monitor import Progress, TensorBoard
    from nas.search import run_search

    objective = journal.settings.objective
    progress = Progress(journal.settings.trials, objective)
    earlier = list(journal.trials())
    # What TensorBoard shows is derived: it is written anew from the journal.
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    try:
        with TensorBoard(folder / "tensorboard", objective) as board, progress.running():

            def record(trials: Sequence[Trial], controller: Controller) -> None:
                journal.append(trials)
                board.record(trials, controller.diagnostics())
                progress.record(trials)

            if earlier:
                board.record(earlier, {})
                progress.record(earlier)
            run_search(journal.settings, record, earlier)
    except BaseException as error:
        if journal.count() == 0:
            shutil.rmtree(folder, ignore_errors=True)  # `Journal.create` found nothing in it
            raise
        if not isinstance(error, KeyboardInterrupt):
            raise
        return True
    return False


def _report_search(
    arguments: argparse.Namespace, settings: SearchSettings, folder: Path, spec: BaselineSpec, best: Trial, done: int
) -> None:
    from nas.comparison_view import comparison_data, comparison_view
    from nas.evaluators.registry import load_evaluator
    from nas.evidence import Comparison
    from nas.objective import cost_text

    known = {spec.name: best.metrics} if best.metrics else {}
    comparison = Comparison([spec, load(REFERENCE)], load_evaluator(settings.evaluator, settings.space), known)
    if arguments.json:
        found = {"trial": best.number, "genotype": best.genotype, "reward": best.reward, **describe(spec)}
        data = {"out": str(folder), "settings": settings.as_dict(), "trials": done, "best": found}
        print_json({**data, "comparison": comparison_data(comparison)})
        return
    show(
        labelled("Found", f"in trial {best.number} of {done}: reward {best.reward:.5f} ({settings.objective.text()})"),
        *(cost_text(*pair) for pair in zip(settings.objective.targets, best.costs, strict=True)),
        *(() if settings.objective.meets(best.costs) else (_missed(settings.objective),)),
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
    base = f"{space}-{target}-{controller}-seed{settings.seed}"
    tries = (Path("runs") / (base if attempt == 1 else f"{base}-{attempt}") for attempt in range(1, 10_000))
    return next(folder for folder in tries if not folder.exists())


def _spec_name(folder: Path) -> str:
    """A name for the best network of a run folder: the folder's own, without what a name cannot hold."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).lstrip("_.-")[:64]
    return name or "found"


def run_freeze(arguments: argparse.Namespace) -> None:
    """Write a trial of a run as a spec."""
    from nas.freeze import spec_of_trial
    from nas.journal import Journal

    with Journal.open(arguments.folder, allow_code=arguments.allow_code) as journal:
        trial = journal.best() if arguments.trial is None else journal.trial(arguments.trial)
        spec = spec_of_trial(journal, trial, arguments.name)
    file = own_file(spec.name)
    written = write_spec(spec, file)
    if arguments.json:
        print_json({**describe(spec), "file": str(file)})
        return
    show(spec_table(spec), *notes(spec), pointer("Written:" if written else "Already there:", str(file)))


def run_compare(arguments: argparse.Namespace) -> None:
    """Put specs side by side."""
    from nas.comparison_view import comparison_data, comparison_view
    from nas.evaluators.registry import load_evaluator
    from nas.evidence import Comparison

    if len(arguments.specs) < 2:
        raise MnasError("compare: one SPEC is no comparison; give two or more (see mnas compare --help)")
    evaluator = load_evaluator(arguments.evaluator, arguments.space)
    comparison = Comparison([load_any(name) for name in arguments.specs], evaluator)
    if arguments.html:
        from baselines.figure import write_figure

        write_figure([Mark(judged.name, judged.params, judged.macs) for judged in comparison.judged], arguments.html)
    if arguments.json:
        print_json(comparison_data(comparison))
        return
    show(*comparison_view(comparison))
    if arguments.html:
        show(pointer("Written:", str(arguments.html)))


def _register_spaces(commands: Commands) -> None:
    text = (
        "List the search spaces with their size and the MACs of their smallest and largest network; or count the "
        "networks of one space by their MACs, exactly."
    )
    parser = commands.add_parser("spaces", help="list the search spaces, or count one's networks", description=text)
    parser.add_argument("name", metavar="SPACE", nargs="?", help=f"{', '.join(SPACES)}, or FILE.py:NAME")
    parser.add_argument("--histogram", action="store_true", help="how many networks lie in each band of MACs")
    parser.add_argument("--near", type=quantity, metavar="MACS", help="how many networks lie within 2 %% of this")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_spaces)


def run_spaces(arguments: argparse.Namespace) -> None:
    """List the spaces, or count the networks of one."""
    if arguments.histogram or arguments.near is not None:
        _count_networks(arguments)
        return
    spaces = [load_space(name) for name in ([arguments.name] if arguments.name else SPACES)]
    if arguments.json:
        print_json({"spaces": [_space_data(space) for space in spaces]})
        return
    columns = ("choices", "genotypes", "networks", "smallest", "largest")
    table = titled_table("Spaces", [("name", "left"), *((column, "right") for column in columns)])
    for space in spaces:
        low, high = (millions(macs) for macs in space.macs_range)
        sizes = (f"{space.size:.4g}", f"{space.num_networks:.4g}")
        table.add_row(space.name, str(len(space.labels)), *sizes, low, high)
    show(table, "Genotypes that build the same layers are one network. MACs are those of one image.")


def _space_data(space: SearchSpace) -> dict[str, Any]:
    return {
        "name": space.name,
        "size": space.size,
        "networks": space.num_networks,
        "macs_range": space.macs_range,
        "choices": {choice.label: choice.values for choice in space.decisions},
    }


def _count_networks(arguments: argparse.Namespace) -> None:
    from search_spaces.sampling import MacsDistribution

    space = load_space(arguments.name or "efficientnet")
    distribution = MacsDistribution(space)
    data: dict[str, Any] = {"space": space.name, "networks": space.num_networks}
    views: list[RenderableType] = []
    if arguments.histogram:
        edges = distribution.round_edges()
        counts = distribution.histogram(edges)
        data |= {"edges": edges, "counts": counts}
        views.append(_histogram_table(space, edges, counts))
    if arguments.near is not None:
        low, high = math.ceil(0.98 * arguments.near), math.floor(1.02 * arguments.near)
        inside = distribution.count(low, high)
        data["near"] = {"macs": arguments.near, "low": low, "high": high, "networks": inside}
        share = 100 * inside / space.num_networks
        views.append(
            f"{inside:,} of {space.num_networks:,} networks of {space.name} ({share:.3g} %) lie within 2 % of "
            f"{millions(arguments.near)} MACs."
        )
    if arguments.json:
        print_json(data)
        return
    show(*views)


def _histogram_table(space: SearchSpace, edges: Sequence[int], counts: Sequence[int]) -> Table:
    headers = [("MACs", "right"), ("networks", "right"), ("share", "right"), ("", "left")]
    table = titled_table(f"Networks of {space.name} by MACs: {space.num_networks:,} in all", headers)
    widest = max(counts)
    for (low, high), inside in zip(pairwise(edges), counts, strict=True):
        bar = "█" * round(40 * inside / widest)
        share = f"{100 * inside / space.num_networks:.3g} %"
        table.add_row(f"{millions(low)} – {millions(high)}", f"{inside:,}", share, bar)
    return table
