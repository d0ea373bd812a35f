"""Variants of a baseline by several rules, all of the same real cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from baselines.spec import BaselineSpec
from scaling.budget import Budget, Solution, measured_latency, solve
from scaling.compound import compound_scale
from scaling.published import PRESETS
from scaling.rules import Rule, rule_named
from scaling.specs import scaled_spec
from search_spaces import Architecture, MnasError, architecture_cost

# Costs of variants may differ by this share from the budget, on either side; a measured latency by 5 %.
TOLERANCE = 0.02
# Rules that scale one dimension.
SINGLE = ("d", "w", "r")
# Rules that are compared unless others are asked for.
USUAL = (*SINGLE, "efficientnet", "dwr", "fast")


@dataclass(frozen=True)
class Variant:
    """A baseline scaled by a rule to a budget.

    Attributes:
        name: name of its spec.
        rule: name of the rule.
        depth, width: factors on layers and channels.
        resolution: side in pixels.
        growth: how depth, width and resolution multiply the baseline's MACs, each alone.
        ideal: how they should by the shares of the rule.
        departure: distance of the two, in log MACs.
        macs, params, activations: counts.
        dropout: dropout probability before the classifier.
        same: names of other rules that make the same network.
    """

    name: str
    rule: str
    depth: float
    width: float
    resolution: int
    growth: tuple[float, ...]
    ideal: tuple[float, ...]
    departure: float
    macs: int
    params: int
    activations: int
    dropout: float
    same: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """All rules that make this network."""
        return self.rule, *self.same


def common_budget(base: Architecture, rules: Sequence[Rule], target: Budget, equal: str | None) -> Budget:
    """The budget that all variants have in common.

    Args:
        base: baseline.
        rules: rules of the variants.
        target: budget that was asked for.
        equal: cost that the variants have in common; None for that of the target. For another cost, the budget is
            what the first rule of several dimensions has of it at the target.

    Raises:
        MnasError: there is no such rule, or it does not meet the target.
    """
    if equal is None or equal == target.cost:
        return target
    rule = next((rule for rule in rules if rule.name not in SINGLE), None)
    if rule is None:
        names = ", ".join(rule.name for rule in rules)
        raise MnasError(
            f"equal: {equal} at {target.text()} are those of a rule of several dimensions, which {names} are not; add "
            f"one, such as efficientnet, or use --target {equal}=…"
        )
    network = solve(base, rule, target, TOLERANCE).architecture
    if equal == "latency":
        return Budget(equal, measured_latency(network))
    return Budget(equal, float(getattr(architecture_cost(network), equal)))


def variants_of(
    base: BaselineSpec, rules: Sequence[str], target: Budget, *, equal: str | None = None, regularise: bool = False
) -> tuple[list[BaselineSpec], list[Variant], tuple[str, ...]]:
    """Scale a baseline by several rules to the same real cost.

    Args:
        base: baseline.
        rules: names of the rules.
        target: budget.
        equal: cost that all variants have in common; that of the target by default.
        regularise: whether larger networks get more dropout, as published (`published_dropout`).

    Returns:
        The specs, the variants in the same order, and sentences on rules that are left out: of the `USUAL` ones, those
        that make the network of an earlier one.

    Raises:
        MnasError: a rule is unknown or given twice, does not meet the budget, or makes the network of the baseline or,
            among rules that were chosen, of another one.
    """
    known = [rule_named(name) for name in rules]
    names = [rule.name for rule in known]
    for name in names:
        if names.count(name) > 1:
            raise MnasError(f"rules: {name} is given twice; remove one")
    budget = common_budget(base.architecture, known, target, equal)
    solutions = [solve(base.architecture, rule, budget, TOLERANCE) for rule in known]
    networks: dict[Architecture, str] = {base.architecture: base.name}
    distinct, notes = [], []
    same_as: dict[str, list[str]] = {}
    for solution in solutions:
        network, name = solution.architecture, solution.rule.name
        earlier = networks.setdefault(network, name)
        sentence = f"{earlier} and {name} make the same network at {budget.text()}"
        if earlier == name:
            distinct.append(solution)
        elif tuple(names) == USUAL and earlier != base.name:
            notes.append(f"{sentence}, which is trained once, as {earlier}")
            same_as.setdefault(earlier, []).append(name)
        else:
            raise MnasError(
                f"rules: {sentence} ({network.resolution} px, {architecture_cost(network).macs:,} MACs); remove one "
                "from --rules, or use another --target or --width"
            )
    if budget is not target:
        notes.insert(
            0, f"all variants have the {budget.show(budget.value)} of the first compound rule at {target.text()}"
        )
    solutions = distinct
    # One value for all variants, which have the same cost: that of the median of their growths.
    own = architecture_cost(base.architecture).macs
    growth = median(architecture_cost(network).macs / own for network in _networks(solutions))
    dropout = published_dropout(growth) if regularise else base.architecture.dropout
    specs = [_spec(base, solution, dropout) for solution in solutions]
    variants = [
        _variant(spec, solution, same_as.get(solution.rule.name, ()))
        for spec, solution in zip(specs, solutions, strict=True)
    ]
    return specs, variants, tuple(notes)


def _networks(solutions: Sequence[Solution]) -> list[Architecture]:
    return [solution.architecture for solution in solutions]


def _spec(base: BaselineSpec, solution: Solution, dropout: float) -> BaselineSpec:
    chosen = replace(solution.coefficients, dropout=dropout)
    way, name = f"{solution.rule.name} {solution.budget.text()}", f"{base.name}_{solution.rule.name}"
    return scaled_spec(base, chosen, name=name, way=way, source=f"{base.name} scaled by {way}")


def _variant(spec: BaselineSpec, solution: Solution, same: Sequence[str]) -> Variant:
    cost = architecture_cost(spec.architecture)
    return Variant(
        name=spec.name,
        rule=solution.rule.name,
        depth=solution.coefficients.depth,
        width=solution.coefficients.width,
        resolution=solution.coefficients.resolution,
        growth=tuple(solution.growth),
        ideal=tuple(solution.ideal),
        departure=solution.departure,
        macs=cost.macs,
        params=cost.params,
        activations=cost.activations,
        dropout=spec.architecture.dropout,
        same=tuple(same),
    )


def published_dropout(growth: float) -> float:
    """Dropout of a network with this many times B0's MACs, interpolated in log MACs between the released B0 to B7.

    It rises from 0.2 (B0) to 0.5 (B6, B7); tensorflow/tpu efficientnet_builder.py. Drop-connect is 0.2 for all of them.
    """
    from baselines.registry import load

    b0 = load("efficientnet_b0").architecture
    points: list[tuple[float, float]] = []
    for number in range(8):
        chosen = PRESETS[f"b{number}"]
        assert chosen.dropout is not None
        points.append((math.log(architecture_cost(compound_scale(b0, chosen)).macs), chosen.dropout))
    place = points[0][0] + math.log(growth)
    for (low, before), (high, after) in pairwise(points):
        if place <= high:
            part = max(0.0, (place - low) / (high - low))
            return round(before + part * (after - before), 3)
    return points[-1][1]
