"""What each named rule makes of a baseline: its network for a budget, and its costs as MACs grow.

Activations stand beside MACs everywhere, because run time on GPUs and TPUs follows activations rather than MACs (arXiv
2103.06877). Rules of equal MACs differ by more than a factor of two in activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scaling.budget import Budget, Solution, solve
from scaling.lattice import Lattice
from scaling.rules import RULES, Rule, position
from scaling.sizes import Sized, sized
from search_spaces import Architecture, FieldError, MnasError

# Growths of MACs in the figure: a quarter to 16 times, two steps for every doubling.
LOW, HIGH = 0.25, 16.0
# Beyond the published points of a rule, or smaller than the baseline, for which formulas were not published.
EXTRAPOLATED = "extrapolated"
_STEPS = tuple(LOW * 2 ** (step / 2) for step in range(13))


@dataclass(frozen=True)
class Advice:
    """What a rule recommends for a budget.

    Attributes:
        rule: the rule.
        solution: its network for the budget; None if it has none.
        sized: the network with its costs; None if there is none.
        basis: ``formula``, ``between x_gpu_b2 and x_gpu_b3`` (published points), or `EXTRAPOLATED`.
        problem: why there is no network; empty if there is one.
    """

    rule: Rule
    solution: Solution | None
    sized: Sized | None
    basis: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Curve:
    """Costs of a rule's networks.

    Attributes:
        rule: name of the rule.
        points: MACs and activations of each network, from the smallest.
    """

    rule: str
    points: tuple[tuple[int, int], ...]


def advise(base: Architecture, budget: Budget, rules: Sequence[Rule] = tuple(RULES.values())) -> tuple[Advice, ...]:
    """Return what each rule recommends for a budget, in the order of the rules.

    Args:
        base: baseline.
        budget: cost and its value; not a latency, which would be measured many times for every rule.
        rules: rules to ask.
    """
    return tuple(_advice(base, budget, rule) for rule in rules)


def _advice(base: Architecture, budget: Budget, rule: Rule) -> Advice:
    try:
        solution = solve(base, rule, budget)
    except MnasError as error:
        return Advice(rule, None, None, problem=str(error).removeprefix("target: "))
    return Advice(rule, solution, sized(base, solution.coefficients), _basis(solution))


def _basis(solution: Solution) -> str:
    """Whether a rule was published for a size, in a few words."""
    if not solution.rule.points:
        return "formula" if solution.scale >= 1 else EXTRAPOLATED
    if not solution.published:
        return EXTRAPOLATED
    found = position(solution.rule, solution.base, solution.scale) or ""
    return found.removeprefix("interpolated in log MACs ")


def curves(base: Architecture, rules: Sequence[Rule] = tuple(RULES.values())) -> tuple[Curve, ...]:
    """Return the costs of each rule's networks for growths of MACs from `LOW` to `HIGH`.

    They are the networks of the rules themselves, so rounding makes their MACs differ from the growth that was asked
    for. Networks that a rule cannot make are left out.
    """
    return tuple(Curve(rule.name, _points(base, rule)) for rule in rules)


def _points(base: Architecture, rule: Rule) -> tuple[tuple[int, int], ...]:
    lattice, found = Lattice(base, rule), set()
    for growth in _STEPS:
        try:
            chosen = rule.coefficients(base, factor=growth)
        except FieldError:
            continue
        if chosen.resolution >= base.total_stride:
            found.add((lattice.cost(chosen, "macs"), lattice.cost(chosen, "activations")))
    return tuple(sorted(found))
