"""A network for a budget: its rule, what was found, and the shares of its dimensions beside the rule's, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.text import signed
from baselines.views.terminal import Table
from scaling.rules import Rule, constraint, position
from search_spaces import Architecture, architecture_cost

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scaling.budget import Solution

_COLUMNS = ("coefficient", "multiplies MACs by", "share", "rule's share")


def text(solution: Solution) -> list[RenderableType]:
    """A budget, what was found for it, and how far that departs from the rule."""
    budget, show = solution.budget, solution.budget.show
    batch = "" if budget.batch is None else f" with batch {budget.batch}"
    wanted = f" ({show(solution.wanted)})" if budget.relative else ""
    lines = [
        *rule_lines(solution.rule, solution.base, solution.scale),
        f"Budget: {budget.text()}{wanted}{batch}; found {show(solution.found)} ({signed(100 * solution.error)} %)",
    ]
    if budget.cost == "latency":
        lines.append(f"Time:   {latency_protocol()}; another run will differ")
    if solution.on_rule:
        lines.append(f"Found:  the rule {solution.rule.name} itself makes this network")
    else:
        lines.append(
            f"Found:  near the rule, which jumps over this budget; it departs by {solution.departure:.3f} in log MACs"
        )
    return [*lines, "", solution_table(solution)]


def solution_table(solution: Solution) -> Table:
    """Each dimension of a network: its coefficient, how it multiplies MACs alone, and its share beside the rule's."""
    table = Table("Shares of the growth of log MACs", [("dimension", "left"), *((name, "right") for name in _COLUMNS)])
    chosen, shares, rule = solution.coefficients, solution.growth.shares(), solution.ideal.shares()
    coefficients = {
        "depth": f"{chosen.depth:g}",
        "width": f"{chosen.width:g}",
        "resolution": f"{chosen.resolution} px",
    }
    for place, (name, coefficient) in enumerate(coefficients.items()):
        cells = ["–" if found is None else _percent(found[place]) for found in (shares, rule)]
        table.add_row(name, coefficient, f"×{solution.growth[place]:.3f}", *cells)
    table.add_section()
    together = architecture_cost(solution.architecture).macs / architecture_cost(solution.base).macs
    table.add_row("together", "", f"×{together:.3f}", "", "", style="bold")
    return table


def rule_lines(rule: Rule, base: Architecture, scale: float) -> list[str]:
    """A rule with its source, and where a growth of MACs lies among its points or misses the paper's constraint."""
    lines = [f"Rule:   {rule.name}: {rule.meaning} [{rule.source}]"]
    if found := position(rule, base, scale):
        lines.append(f"Points: {found}")
    if found := constraint(rule):
        lines.append(f"Note:   {found}")
    return lines


def _percent(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:.1f} %"  # 0.0 removes the sign of -0.0


def latency_protocol() -> str:
    """How a latency was measured."""
    from baselines.latency import Protocol, machine

    protocol = Protocol()
    how = f"median of {protocol.runs} runs of one image after {protocol.warmup} to warm up"
    return f"{how}, measured on {machine(protocol)}"
