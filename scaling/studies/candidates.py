"""The candidates of a search for coefficients: the networks of a grid, and named rules at the same budget, marked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from baselines.arguments import freeze_lists
from baselines.spec import BaselineSpec
from baselines.text import Integers, Numbers
from scaling.budget import Budget, read_budget, solve
from scaling.coefficients import CoefficientSpace, count_text, sides_of, usual_values
from scaling.compound import Coefficients, compound_scale
from scaling.pixels import EXACT_COSTS
from scaling.rules import ALPHA, BETA, GAMMA, RULES
from scaling.specs import scaled_spec
from search_spaces.architecture import Architecture
from search_spaces.cost import architecture_cost
from search_spaces.errors import FieldError, MnasError, unknown_name

# Rules whose place is always told: the paper's, the one with the fewest activations, and single dimensions.
MARKED = ("efficientnet", "fast", "d", "w", "r")
_OPTIONS = {"depth": "depths", "width": "widths", "resolution": "sides"}
USUAL_TARGET = Budget("macs", 2.0, relative=True)


@dataclass(frozen=True)
class Grid:
    """A grid of coefficients around a baseline, and what the networks on it must cost.

    Attributes:
        target: macs, params or activations of each network, as a number or a multiple of the baseline's (default:
            macs=2x).
        product: nominal growth d·w²·r² of each network, as published, instead of a target.
        tolerance: largest difference, relative to the target, or from the product (default: 0.05, or 0.1 for a
            product).
        depths: factors on layers, such as 1,1.2,1.4 or 1:1.4:0.05 (default: six up to the one that meets the target
            alone).
        widths: factors on channels (default: as depths).
        sides: sides of the images in pixels, such as 24,28,32 or 24:32:4 (default: all steps up to the one that meets
            the target alone).
    """

    target: Annotated[Budget, read_budget] | None = None
    product: float | None = None
    tolerance: float | None = None
    depths: Numbers | None = None
    widths: Numbers | None = None
    sides: Integers | None = None

    def __post_init__(self) -> None:
        freeze_lists(self)
        given: object = self.target
        if isinstance(given, str):
            object.__setattr__(self, "target", read_budget(given))
        if self.target is not None and self.product is not None:
            raise MnasError("product: cannot be combined with a target; use one of them")

    def space(self, baseline: Architecture) -> CoefficientSpace:
        """The space of this grid. Raises `FieldError` and `MnasError` as `CoefficientSpace` does."""
        target = (self.target or USUAL_TARGET) if self.product is None else None
        growth = self.product
        if target is not None:
            if target.cost not in EXACT_COSTS:
                raise unknown_name("target", target.cost, EXACT_COSTS)
            own = 1.0 if target.relative else float(getattr(architecture_cost(baseline), target.cost))
            growth = target.value / own
        assert growth is not None
        budget = "target" if self.product is None else "product"
        try:
            depths, widths, sides = usual_values(baseline, growth)
            if self.product is not None:
                sides = tuple(sides_of(baseline, _up_to(math.sqrt(growth))))
        except FieldError as error:
            raise FieldError(budget, f"{error.path} {error.problem}") from None
        try:
            return CoefficientSpace(
                baseline,
                self.depths or depths,
                self.widths or widths,
                self.sides or sides,
                target=target,
                product=self.product,
                tolerance=self.tolerance,
            )
        except FieldError as error:
            # The user knows the options by other names.
            field = _OPTIONS.get(error.path, error.path)
            given = getattr(self, field, None)
            if given:
                raise FieldError(field, error.problem) from None
            raise FieldError(budget, f"{error.path} {error.problem}") from None


def _up_to(end: float) -> list[float]:
    """Factors from 1 to an end in steps of 0.05."""
    steps = math.floor(abs(end - 1) / 0.05 + 1e-9)
    return [round(1 + math.copysign(0.05, end - 1) * step, 9) for step in range(steps + 1)]


@dataclass(frozen=True)
class Candidate:
    """A network of a search for coefficients.

    Attributes:
        name: name of the network.
        depth, width: factors on layers and on channels.
        resolution: side of the image in pixels.
        macs, params, activations: costs of the network.
        on_grid: whether it is on the grid.
        marks: names of the rules that make this network.
        changed: dimensions in which the network itself differs from the baseline: d, w, r. A depth of 1.05 may leave
            all layers as they were. None in searches of earlier versions.
    """

    name: str
    depth: float
    width: float
    resolution: int
    macs: int
    params: int
    activations: int
    on_grid: bool = True
    marks: tuple[str, ...] = ()
    changed: tuple[str, ...] | None = None

    def is_alone(self, dimension: str, baseline: Candidate) -> bool:
        """Whether no other dimension than ``dimension`` (d, w or r) differs from the baseline."""
        changed = self.changed
        if changed is None:
            pairs = ((self.depth, 1), (self.width, 1), (self.resolution, baseline.resolution))
            changed = tuple(letter for letter, (own, other) in zip("dwr", pairs, strict=True) if own != other)
        return set(changed) <= {dimension}


class Found(NamedTuple):
    """The candidates of a search.

    Attributes:
        candidates: candidates, those on the grid first.
        specs: their networks, in the same order.
        notes: sentences on rules that are not among them.
    """

    candidates: tuple[Candidate, ...]
    specs: tuple[BaselineSpec, ...]
    notes: tuple[str, ...]


def candidate(name: str, chosen: Coefficients, network: Architecture) -> Candidate:
    """A network with its coefficients and its costs."""
    cost = architecture_cost(network)
    return Candidate(name, chosen.depth, chosen.width, chosen.resolution, cost.macs, cost.params, cost.activations)


def candidates_of(parent: BaselineSpec, space: CoefficientSpace) -> Found:
    """The networks of a grid that meet its constraint, and those of `MARKED` rules, each network once.

    Args:
        parent: baseline of the space, as a spec.
        space: the grid.

    Raises:
        MnasError: there is a single network.
    """
    rows = space.canonical(space.matching) if space.members is None else space.members
    networks: dict[Architecture, tuple[str, Coefficients]] = {}
    for genotype in space.genotypes(rows):
        chosen = space.coefficients(genotype)
        name = f"d{chosen.depth:g}-w{chosen.width:g}-r{chosen.resolution}"
        networks.setdefault(space.decode(genotype), (name, chosen))
    grid = set(networks)
    marks: dict[Architecture, list[str]] = {}
    notes: list[str] = []
    for name, chosen in _marked(space, notes):
        network = compound_scale(space.baseline, chosen)
        networks.setdefault(network, (name, chosen))
        marks.setdefault(network, []).append(name)
    if len(networks) < 2:
        raise MnasError(f"grid: a single network has {space.constraint()}; use a finer or wider grid")
    found = [
        replace(
            candidate(name, chosen, network),
            on_grid=network in grid,
            marks=tuple(marks.get(network, ())),
            changed=_changed(space.baseline, network),
        )
        for network, (name, chosen) in networks.items()
    ]
    specs = [_spec(parent, name, chosen) for name, chosen in networks.values()]
    return Found(tuple(found), tuple(specs), tuple(notes))


def _changed(base: Architecture, network: Architecture) -> tuple[str, ...]:
    """Dimensions in which a network differs from its baseline: d, w, r."""
    (layers, channels, side), (new_layers, new_channels, new_side) = map(_sizes, (base, network))
    differ = {"d": new_layers != layers, "w": new_channels != channels, "r": new_side != side}
    return tuple(name for name, differs in differ.items() if differs)


def _sizes(network: Architecture) -> tuple[list[int], list[int], int]:
    """Layers of the stages, channels of all parts, and the side."""
    layers = [stage.num_layers for stage in network.stages]
    channels = [network.stem.out_channels, *(stage.out_channels for stage in network.stages), network.head.out_channels]
    return layers, channels, network.resolution


def _spec(parent: BaselineSpec, name: str, chosen: Coefficients) -> BaselineSpec:
    way = name if name in MARKED else f"w{chosen.width:g} d{chosen.depth:g} r{chosen.resolution}"
    return scaled_spec(parent, chosen, name=name, way=way, source=f"mnas scaling-search {parent.name}")


def _marked(space: CoefficientSpace, notes: list[str]) -> Iterator[tuple[str, Coefficients]]:
    """Name and coefficients of each marked rule at the space's budget; why one is missing goes into the notes."""
    for name in MARKED:
        try:
            yield name, _coefficients_of(name, space)
        except (FieldError, MnasError) as error:
            notes.append(f"the rule {name} is left out ({str(error).split(';')[0]})")
    if space.target is not None and space.target.cost == "macs":
        side = next(iter(sides_of(space.baseline, [GAMMA])))
        published = compound_scale(space.baseline, Coefficients(BETA, ALPHA, side))
        macs = architecture_cost(published).macs
        notes.append(
            f"({ALPHA:g}, {BETA:g}, {GAMMA:g}) themselves give {count_text(macs)} MACs, "
            f"{macs / architecture_cost(space.baseline).macs:.2f} times the baseline's; the rule efficientnet stands "
            "for them at the budget of the others"
        )


def _coefficients_of(name: str, space: CoefficientSpace) -> Coefficients:
    """The coefficients of a rule that meet the space's constraint."""
    base, rule = space.baseline, RULES[name]
    if space.target is not None:
        return solve(base, rule, space.target, space.tolerance).coefficients
    # The published product of 2 stands for the paper's own 1.92, so that phi = 1 gives its coefficients themselves.
    growth = space.product or 2.0
    factors = rule.factors(rule.growth ** math.log2(growth) if rule.growth else growth, base)
    side = next(iter(sides_of(base, [factors.resolution])))
    width, depth = round(factors.width, 3), round(factors.depth, 3)
    return Coefficients(width, depth, side, keep=rule.keep, rounding=rule.rounding)
