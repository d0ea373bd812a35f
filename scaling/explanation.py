"""Why a scaled network has the size it has: its rule, rounding, odd feature maps, and what does not scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import scaling.api
from baselines.arguments import typed
from baselines.registry import load
from baselines.spec import BaselineSpec
from baselines.subjects import Network, spec_of
from baselines.text import Amount, Count, names
from scaling.advice import Advice, Curve, advise, curves
from scaling.budget import Budget, Solution
from scaling.compound import Coefficients
from scaling.lattice import Growth, Lattice
from scaling.pixels import map_sides
from scaling.published import PRESETS, in_proportion, preset
from scaling.rules import DEFAULT_RULE, RULES, Factors, Rule, rule_of
from scaling.sizes import CHEAP, Sized, sized
from search_spaces import Architecture, Cost, architecture_cost, part_costs
from search_spaces.architecture import MAX_RESOLUTION

# The budget that is explained if none is given.
DEFAULT_TARGET = "macs=2x"


class Phi(NamedTuple):
    """The phi for which a rule gives a depth, a width and a resolution; None where the rule does not scale it."""

    depth: float | None
    width: float | None
    resolution: float | None


@dataclass(frozen=True)
class Beside:
    """A network beside the rule.

    Attributes:
        name: name of its coefficients.
        sized: the network, with its costs.
        phi: phi of each dimension by itself, for `Explanation.powers`.
        nominal: d·w²·r² of its coefficients.
        real: its MACs, as a multiple of the baseline's.
        ruled: factors of the rule at the same real growth, before rounding.
    """

    name: str
    sized: Sized
    phi: Phi
    nominal: float
    real: float
    ruled: Factors


@dataclass(frozen=True)
class Rounded:
    """Layers and channels of a part before and after scaling.

    Attributes:
        part: ``stem``, ``stages.0`` … or ``head``.
        layers, exact_layers, new_layers: number of layers of the baseline, times the depth, and after rounding.
        channels, exact_channels, new_channels: the same for its output channels and the width.
    """

    part: str
    layers: int
    exact_layers: float
    new_layers: int
    channels: int
    exact_channels: float
    new_channels: int


@dataclass(frozen=True)
class Side:
    """A network at a resolution.

    Attributes:
        side: resolution in pixels.
        maps: sides of its feature maps, each once, from the stem's.
        macs: its MACs.
        extra: MACs above those of feature maps that are not rounded up to whole pixels, relative to them.
    """

    side: int
    maps: tuple[int, ...]
    macs: int
    extra: float


@dataclass(frozen=True)
class Share:
    """A part of the network, in the baseline and after scaling: ``stem``, ``stages``, ``head`` or ``classifier``."""

    part: str
    before: Cost
    after: Cost


@dataclass(frozen=True)
class Explanation:
    """Why a scaled network has the size it has.

    Attributes:
        baseline: baseline that is scaled.
        spec: network that is explained.
        chosen: its coefficients and costs.
        rule: rule that it is compared with.
        powers: rule of powers that `Beside.phi` refers to: the rule itself, or the paper's if the rule has no phi.
        solution: solution of a budget; None if the network was not scaled to one.
        budget: budget of `advice`.
        own: the baseline unscaled.
        released: the published coefficients on this baseline, and the explained network last.
        growth: how each dimension of the network multiplies MACs on its own.
        nominal: how its coefficients would: d, w² and r².
        rounded: layers and channels of all parts.
        sides: the network at resolutions near its own, from the smallest.
        cheap: cheap resolutions near its own, from the smallest.
        shares: parts of the network, from stem to classifier.
        advice: what each named rule recommends for the budget.
        curves: costs of each named rule's networks.
    """

    baseline: BaselineSpec
    spec: BaselineSpec
    chosen: Sized
    rule: Rule
    powers: Rule
    solution: Solution | None
    budget: Budget
    own: Sized
    released: tuple[Beside, ...]
    growth: Growth
    nominal: Growth
    rounded: tuple[Rounded, ...]
    sides: tuple[Side, ...]
    cheap: tuple[Side, ...]
    shares: tuple[Share, ...]
    advice: tuple[Advice, ...]
    curves: tuple[Curve, ...]

    @property
    def real(self) -> float:
        """MACs of the network, as a multiple of the baseline's."""
        return self.chosen.cost.macs / self.own.cost.macs

    def __repr__(self) -> str:
        return (
            f"Explanation({self.spec.name}, {self.chosen.cost.macs:,} MACs, {self.real:.3g} times {self.baseline.name})"
        )

    def _repr_html_(self) -> str:
        from baselines.views.terminal import as_html
        from scaling.views.explanation import text

        return as_html(*text(self))


@typed
def explain(
    network: Network,
    *,
    preset: str | None = None,
    rule: str | None = None,
    phi: float | None = None,
    factor: float | None = None,
    target_macs: Amount | None = None,
    target: str | Budget | None = None,
    batch: Count | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    width: float | None = None,
    depth: float | None = None,
    resolution: Count | None = None,
    keep: Annotated[Sequence[str], names] = (),
    activation: str | None = None,
) -> Explanation:
    """Explain a scaled network: its rule beside published coefficients, rounding, and other rules at its cost.

    Args:
        network: network, as for `scaling.api.scale`.
        preset, rule, phi, factor, target_macs, target, batch, alpha, beta, gamma: arguments of `scaling.api.scale`;
            without any, the target is twice the network's MACs.
        width, depth, resolution, keep, activation: arguments of `scaling.api.scale`.

    Raises:
        MnasError: as `scaling.api.scale`.
        TypeError: the network is neither a name nor a spec nor an architecture.
    """
    options = {name: value for name, value in locals().items() if name not in ("network", "keep") and value is not None}
    if not any(name in options for way in scaling.api.WAYS.values() for name in way):
        options["target"] = DEFAULT_TARGET
    chosen = _choose(network, options, tuple(keep))
    parent = spec_of(network)
    base = replace(parent.architecture, activation=chosen.spec.architecture.activation)
    return _explained(replace(parent, architecture=base), chosen)


class _Chosen(NamedTuple):
    """A network with its coefficients, the rule that it is compared with, and the solution of its budget."""

    spec: BaselineSpec
    coefficients: Coefficients
    rule: Rule
    solution: Solution | None


def _choose(network: Network, options: dict[str, Any], keep: tuple[str, ...]) -> _Chosen:
    """The network that the arguments of `explain` choose."""

    def given(*names: str) -> dict[str, Any]:
        return {name: options[name] for name in names if name in options}

    way = scaling.api.way_of([*options, *(["keep"] if keep else [])])
    powers = given("rule", "alpha", "beta", "gamma")
    rule = rule_of(**powers, keep=keep) if way not in ("preset", "factors") else RULES[DEFAULT_RULE]
    activation = given("activation")
    if way == "target":
        budget = given("target", "target_macs", "batch")
        solution = scaling.api.solve(network, **powers, **budget, **activation, keep=keep)
        spec = scaling.api.scale(network, target=solution, **activation)
        return _Chosen(spec, solution.coefficients, rule, solution)
    spec = scaling.api.scale(network, **options, keep=keep)
    record = spec.provenance.scaling
    assert record is not None
    made = Coefficients(record.width, record.depth, record.resolution, keep=keep)
    if way == "preset":
        published = in_proportion(spec_of(network).architecture, preset(str(options["preset"])))
        return _Chosen(spec, published, rule, None)
    return _Chosen(
        spec, made if way == "factors" else replace(made, keep=rule.keep, rounding=rule.rounding), rule, None
    )


def _explained(baseline: BaselineSpec, chosen: _Chosen) -> Explanation:
    base, rule, solution = baseline.architecture, chosen.rule, chosen.solution
    found = sized(base, chosen.coefficients)
    # A latency would have to be measured many times for every rule, which takes minutes.
    if solution and solution.budget.cost != "latency":
        budget = solution.budget
    else:
        budget = Budget("macs", float(f"{found.cost.macs:.4g}"))
    powers = rule if rule.growth is not None else RULES[DEFAULT_RULE]
    own = sized(base, Coefficients(1.0, 1.0, base.resolution))
    names = {name: in_proportion(base, PRESETS[name]) for name in _family(base)} | {
        chosen.spec.name: chosen.coefficients
    }
    sides, cheap = _sides(found.architecture)
    lattice = Lattice(base, replace(rule, keep=chosen.coefficients.keep, rounding=chosen.coefficients.rounding))
    factors = _factors(base, chosen.coefficients)
    return Explanation(
        baseline=baseline,
        spec=chosen.spec,
        chosen=found,
        rule=rule,
        powers=powers,
        solution=solution,
        budget=budget,
        own=own,
        released=tuple(_beside(name, sized(base, one), own, rule, powers) for name, one in names.items()),
        growth=lattice.growth(chosen.coefficients),
        nominal=Growth(factors.depth, factors.width**2, factors.resolution**2),
        rounded=_rounded(base, found),
        sides=sides,
        cheap=cheap,
        shares=_shares(base, found.architecture),
        advice=advise(base, budget, tuple({**RULES, rule.name: rule}.values())),
        curves=curves(base),
    )


# --- the rule beside published coefficients ---------------------------------------------------------------------------


def _family(base: Architecture) -> list[str]:
    """Names of the presets that were released for the kind of a baseline."""
    is_lite = base == load("efficientnet_lite0").architecture
    return [f"lite{number}" for number in range(1, 5)] if is_lite else [f"b{number}" for number in range(1, 8)]


def _factors(base: Architecture, chosen: Coefficients) -> Factors:
    return Factors(chosen.depth, chosen.width, chosen.resolution / base.resolution)


def _beside(name: str, found: Sized, own: Sized, rule: Rule, powers: Rule) -> Beside:
    base = own.architecture
    factors = _factors(base, found.coefficients)
    real = found.cost.macs / own.cost.macs
    return Beside(name, found, implied_phi(factors, powers), factors.product, real, rule.factors(real, base))


def implied_phi(factors: Factors, rule: Rule) -> Phi:
    """Return the phi of each dimension by itself: log d / log alpha, log w / log beta and log r / log gamma.

    Args:
        factors: factors on layers, channels and side.
        rule: rule with a phi, such as the paper's.
    """
    assert rule.growth is not None
    unit = rule.factors(rule.growth, load("efficientnet_b0").architecture)
    return Phi(*(None if one == 1 else math.log(own) / math.log(one) for own, one in zip(factors, unit, strict=True)))


# --- rounding ---------------------------------------------------------------------------------------------------------


def _rounded(base: Architecture, found: Sized) -> tuple[Rounded, ...]:
    """Every part before scaling, scaled without rounding, and rounded."""
    chosen, last = found.coefficients, len(base.stages)
    names = ("stem", *(f"stages.{index}" for index in range(last)), "head")
    layers = zip((1, *_layers(base), 1), (1, *_layers(found.architecture), 1), strict=True)
    channels = zip(_channels(base), _channels(found.architecture), strict=True)
    rows = []
    for place, (name, deep, wide) in enumerate(zip(names, layers, channels, strict=True)):
        is_end = "ends" in chosen.keep and place in (1, last)
        is_smaller = chosen.rounding.channels(wide[0], chosen.width) < wide[0]
        is_kept = name in chosen.keep or (f"large-{name}" in chosen.keep and is_smaller)
        depth = 1.0 if is_end or place in (0, last + 1) else chosen.depth
        width = 1.0 if is_kept else chosen.width
        rows.append(Rounded(name, deep[0], deep[0] * depth, deep[1], wide[0], wide[0] * width, wide[1]))
    return tuple(rows)


def _layers(network: Architecture) -> list[int]:
    return [stage.num_layers for stage in network.stages]


def _channels(network: Architecture) -> list[int]:
    return [network.stem.out_channels, *(stage.out_channels for stage in network.stages), network.head.out_channels]


# --- feature maps -----------------------------------------------------------------------------------------------------


def _sides(network: Architecture) -> tuple[tuple[Side, ...], tuple[Side, ...]]:
    """The network at resolutions near its own, and the cheap ones among all between the next multiples of the stride.

    At multiples of the total stride no map is rounded up: MACs are there a constant (squeeze-excite, classifier) and a
    part that grows with the pixels.
    """
    own, stride = network.resolution, network.total_stride
    one, two = (architecture_cost(replace(network, resolution=times * stride)).macs for times in (1, 2))
    growing = (two - one) / 3
    constant = one - growing

    def at(side: int) -> Side:
        macs = architecture_cost(replace(network, resolution=side)).macs
        whole = constant + growing * (side / stride) ** 2
        return Side(side, tuple(map_sides(network, side)), macs, macs / whole - 1)

    below = own // stride * stride
    wanted = (below, below + 1, own, own + 1, below + stride // 2, below + stride)
    near = {side for side in wanted if side <= MAX_RESOLUTION}
    around = map(at, range(max(stride, below - stride), min(below + 2 * stride, MAX_RESOLUTION) + 1))
    cheap = [side for side in around if side.extra <= CHEAP]
    return tuple(map(at, sorted(near))), tuple(cheap)


# --- what does not scale ----------------------------------------------------------------------------------------------


def _shares(base: Architecture, scaled: Architecture) -> tuple[Share, ...]:
    parts: dict[str, list[Cost]] = {}
    for place, network in enumerate((base, scaled)):
        for name, cost in part_costs(network):
            both = parts.setdefault(name.split(".")[0], [Cost(), Cost()])
            both[place] = both[place] + cost
    return tuple(Share(name, *both) for name, both in parts.items())
