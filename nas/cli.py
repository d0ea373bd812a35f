"""`mnas freeze`, `mnas compare` and `mnas spaces`, and what commands on runs share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.cli_compare import add_options, check_options, run_trained_comparison
from baselines.comparators import Mark, load_any
from baselines.console import (
    Commands,
    millions,
    pointer,
    print_json,
    quantity,
    show,
    titled_table,
    whole,
)
from baselines.registry import own_file
from baselines.report import describe, notes, spec_table
from baselines.spec import write_spec
from search_spaces import SPACES, MnasError, SearchSpace, load_space

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


CODE_HELP = "let Python files run that the run names"


def register(commands: Commands) -> None:
    """Add the commands."""
    text = "Write the best network of a run, or another trial, as a spec of its own in specs/."
    parser = commands.add_parser("freeze", help="write a run's best network as a spec", description=text)
    parser.add_argument("folder", metavar="RUN", type=Path, help="folder of a search")
    parser.add_argument("--name", required=True, help="name of the spec, written to specs/NAME.yaml")
    parser.add_argument("--trial", type=whole, help="number of another trial than the best")
    parser.add_argument("--allow-code", action="store_true", help=CODE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_freeze)

    text = (
        "Put specs side by side: structure, cost, predicted accuracy and its noise; with --train, what they come to on "
        "images of your own. The last one is the reference."
    )
    parser = commands.add_parser("compare", help="put specs side by side", description=text)
    parser.add_argument(
        "specs", metavar="SPEC", nargs="*", help="two or more: names of baselines, spec files, torchvision:NAME"
    )
    parser.add_argument("--evaluator", help="whose accuracy to show (default: imagenet)")
    parser.add_argument("--space", help="in whose choices a table is written (default: efficientnet)")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="draw published accuracy against params and MACs, as the paper's Figure 1",
    )
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_compare)

    _register_spaces(commands)


def given_targets(arguments: argparse.Namespace) -> dict[str, float]:
    """The targets by cost of ``--target-macs`` and ``--target``."""
    targets: dict[str, float] = {} if arguments.target_macs is None else {"macs": arguments.target_macs}
    for name, value in arguments.target:
        if name in targets:
            raise MnasError(f"target: {name} stands twice; keep one")
        targets[name] = value
    return targets


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
    if arguments.train:
        run_trained_comparison(arguments)
        return
    check_options(arguments)
    from nas.comparison_view import comparison_data, comparison_view
    from nas.evaluators.registry import load_evaluator
    from nas.evidence import Comparison

    if len(arguments.specs) < 2:
        raise MnasError("compare: one SPEC is no comparison; give two or more (see mnas compare --help)")
    evaluator = load_evaluator(arguments.evaluator or "imagenet", arguments.space or "efficientnet")
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
