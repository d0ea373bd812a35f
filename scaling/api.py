"""The Python front door of `scaling`: what `mnas scale` does, in functions that take names or objects."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated

from baselines.arguments import typed
from baselines.spec import BaselineSpec
from baselines.subjects import Network, spec_of
from baselines.text import Amount, Count, names
from scaling.budget import Budget, Solution, read_budget
from scaling.budget import solve as solve_budget
from scaling.compound import Coefficients
from scaling.rules import Rule, rule_of
from scaling.specs import Choice, by_preset, by_rule, by_solution, chosen_spec
from search_spaces import Architecture, FieldError, MnasError
from search_spaces.architecture import DEPTH_DIVISOR

# The ways of scaling, of which one is chosen, and the arguments that belong to each.
WAYS = {
    "preset": ("preset",),
    "phi": ("phi",),
    "factor": ("factor",),
    "target": ("target", "target_macs"),
    "factors": ("width", "depth", "resolution"),
}
_POWERS = ("alpha", "beta", "gamma")


@typed
def scale(
    network: Network,
    *,
    preset: str | None = None,
    rule: str | None = None,
    phi: float | None = None,
    factor: float | None = None,
    target_macs: Amount | None = None,
    target: str | Budget | Solution | None = None,
    batch: Count | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    width: float | None = None,
    depth: float | None = None,
    resolution: Count | None = None,
    keep: Annotated[Sequence[str], names] = (),
    activation: str | None = None,
    name: str | None = None,
) -> BaselineSpec:
    """Grow a network, or shrink it, in one of five ways: preset, phi, factor, target, or width, depth and resolution.

    Args:
        network: name of a baseline, spec file, folder of a training or a search; or a spec or an architecture.
        preset: name of released coefficients, such as "b3". They were published for 224 px; another side grows in
            proportion.
        rule: rule for phi, factor and target; efficientnet by default. It says how growth is shared among depth,
            width and resolution (docs/scaling.md).
        phi: exponent of the rule. The paper's rule has depth 1.2^phi, width 1.1^phi and resolution 1.15^phi.
        factor: growth of MACs by the rule: nominal, or real MACs for a rule of published points.
        target_macs: short for target macs=…, such as 1G.
        target: cost to aim at, to 1 %: macs=1G, params=5M, activations=10M, memory=500M (bytes of inference, or of a
            training with batch) or latency=20ms (measured here, to 5 %); 2x is twice the network's own.
        batch: images in a step of a training, for a memory target.
        alpha: factor on layers for phi = 1, for a rule of your own together with beta and gamma.
        beta: factor on channels for phi = 1.
        gamma: factor on the resolution for phi = 1.
        width: factor on channels; 1 by default.
        depth: factor on layers; 1 by default.
        resolution: side of the input image in pixels; the network's own by default.
        keep: parts that are not scaled, from `scaling.compound.KEEPABLE`, besides those that the rule keeps.
        activation: activation function of the new network; the network's own by default.
        name: name of the new spec; the network's name and the way of scaling by default.

    Returns:
        The scaled network, with its parent in its provenance. The parent's figures are not copied.

    Raises:
        MnasError: a name is unknown, a value breaks its rule, more than one way to scale is given, or no network near
            the rule meets the target.
        TypeError: the network is neither a name nor a spec nor an architecture.
    """
    parent, base = _parent(network, activation)
    given: dict[str, object] = {"preset": preset, "phi": phi, "factor": factor, "target": target}
    given |= {"target_macs": target_macs, "width": width, "depth": depth, "resolution": resolution, "rule": rule}
    given |= {"alpha": alpha, "beta": beta, "gamma": gamma, "batch": batch, "keep": tuple(keep) or None}
    names = [name for name, value in given.items() if value is not None]
    way = way_of(names)
    if preset is not None:
        choice = by_preset(base, preset)
    elif way == "factors":
        choice = _by_factors(base, width, depth, resolution, tuple(keep))
    elif isinstance(target, Solution):
        choice = _by_given_solution(base, target, names)
    elif way == "target":
        found = rule_of(rule, alpha, beta, gamma, keep)
        choice = by_solution(solve_budget(base, found, _budget(target, target_macs, batch)))
    else:
        chosen_rule = rule_of(rule, alpha, beta, gamma, keep)
        try:
            return chosen_spec(parent, base, _by_rule(base, chosen_rule, phi, factor), name)
        except FieldError as error:
            value, nearer = (factor, 1) if phi is None else (phi, 0)
            by = f"{value:g} by the rule {chosen_rule.name}"
            raise MnasError(f"{way}: {by} leads to {error}; use one nearer to {nearer}") from None
    return chosen_spec(parent, base, choice, name)


@typed
def solve(
    network: Network,
    *,
    rule: str | None = None,
    target_macs: Amount | None = None,
    target: str | Budget | None = None,
    batch: Count | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    keep: Annotated[Sequence[str], names] = (),
    activation: str | None = None,
) -> Solution:
    """Find the network near a rule that meets a target, and how far it departs from the rule.

    `scale` takes the result as its target and makes it a spec.

    Args:
        network: network, as for `scale`.
        rule, target_macs, target, batch, alpha, beta, gamma, keep, activation: arguments of `scale`.

    Raises:
        MnasError: as `scale`.
        TypeError: the network is neither a name nor a spec nor an architecture.
    """
    _, base = _parent(network, activation)
    return solve_budget(base, rule_of(rule, alpha, beta, gamma, keep), _budget(target, target_macs, batch))


def way_of(given: Collection[str]) -> str:
    """Return the way of scaling that some arguments of `scale` choose: a key of `WAYS`.

    Args:
        given: names of the arguments that are given.

    Raises:
        MnasError: they choose none or several, or contain arguments of another way.
    """
    ways = [way for way, names in WAYS.items() if any(name in given for name in names)]
    has_rule = [name for name in ("rule", *_POWERS) if name in given]
    if not ways and has_rule:
        raise MnasError(f"{has_rule[0]}: expected phi, factor or a target with a rule; add one of them")
    if len(ways) != 1:
        raise MnasError(
            "scale: expected one of preset, phi, factor, a target, or width, depth and resolution"
            + (f"; got {' and '.join(name for way in ways for name in WAYS[way] if name in given)}" if ways else "")
        )
    way = ways[0]
    if way in ("preset", "factors") and has_rule:
        other = "a preset" if way == "preset" else "width, depth and resolution"
        raise MnasError(f"{has_rule[0]}: cannot be combined with {other}; use it with phi, factor or a target")
    if way == "preset" and "keep" in given:
        raise MnasError("keep: cannot be combined with a preset, which defines its own")
    if way != "target" and "batch" in given:
        raise MnasError("batch: is for a memory target, such as memory=500M; remove it or add a target")
    return way


def _parent(network: Network, activation: str | None) -> tuple[BaselineSpec, Architecture]:
    """Return the network that is scaled, and its architecture with another activation, if one is given."""
    parent = spec_of(network)
    base = parent.architecture
    return parent, base if activation is None else replace(base, activation=activation)


def _by_factors(
    base: Architecture, width: float | None, depth: float | None, resolution: int | None, keep: tuple[str, ...]
) -> Choice:
    chosen = Coefficients(
        width=1.0 if width is None else width,
        depth=1.0 if depth is None else depth,
        resolution=base.resolution if resolution is None else resolution,
        keep=keep,
    )
    deepest = max(stage.num_layers for stage in base.stages)
    if chosen.depth * deepest < 1:
        least = f"use {1 / deepest:.3g} or more"
        raise MnasError(f"depth: {chosen.depth:g} leaves less than one layer in every stage; {least}")
    widest = max(stage.out_channels for stage in base.stages)
    if chosen.width * widest < DEPTH_DIVISOR:
        least = f"use {DEPTH_DIVISOR / widest:.3g} or more"
        raise MnasError(f"width: {chosen.width:g} leaves fewer than {DEPTH_DIVISOR} channels in every stage; {least}")
    kept = (f"keep-{part}" for part in keep)
    words = " ".join([f"w{chosen.width:g} d{chosen.depth:g} r{chosen.resolution}", *kept])
    return Choice(words, words, chosen)


def _by_rule(base: Architecture, rule: Rule, phi: float | None, factor: float | None) -> Choice:
    chosen = rule.coefficients(base, phi=phi, factor=factor)
    amount, short = (f"factor {factor:g}", f"x{factor:g}") if phi is None else (f"phi {phi:g}", f"phi{phi:g}")
    return by_rule(rule, amount, short, chosen)


def _by_given_solution(base: Architecture, solution: Solution, given: Collection[str]) -> Choice:
    extra = [name for name in given if name != "target"]
    if extra:
        raise MnasError(f"{extra[0]}: cannot be combined with a Solution as target, which has its own; remove it")
    if solution.base != base:
        raise MnasError("target: this Solution is for another network or activation; solve it again")
    return by_solution(solution)


def _budget(target: str | Budget | Solution | None, target_macs: float | None, batch: int | None) -> Budget:
    """Return the budget of the arguments of `scale`."""
    if target is not None and target_macs is not None:
        raise MnasError("target: cannot be combined with target_macs; remove one")
    if target is None and target_macs is None:
        raise MnasError("target: missing; add a target, such as macs=1G")
    found = Budget("macs", float(target_macs)) if target_macs is not None else target
    if isinstance(found, str):
        found = read_budget(found)
    assert isinstance(found, Budget)
    return found if batch is None else replace(found, batch=batch)
