"""`CoefficientSpace`: depth, width and resolution of a baseline as choices, so that any search can look for them.

The paper found its α, β and γ by a small grid search, and published neither the grid nor how closely a point had to
meet the constraint (mingxingtan/efficientnet#1). Here both are stated: a grid, and a constraint on the real cost of the
network or, as published, on the nominal product d·w²·r².
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from baselines.text import millions
from scaling.budget import Budget, read_budget
from scaling.compound import EFFICIENTNET, HIGHEST_FACTOR, LOWEST_FACTOR, Coefficients, Rounding, compound_scale
from scaling.pixels import EXACT_COSTS
from scaling.published import side_step
from scaling.rules import Factors
from search_spaces.architecture import MAX_RESOLUTION, Architecture, check_int, check_number
from search_spaces.cost import architecture_cost
from search_spaces.errors import FieldError, MnasError, shorten, unknown_name
from search_spaces.space import Choice, Genotype, Indices, Space, Value

MOST_ROWS = 20_000
# By default a network costs what it should within 5 %, and a product is right within the 0.1 with which a grid of step
# 0.05 has the paper's coefficients (their product is 1.92).
COST_TOLERANCE, PRODUCT_TOLERANCE = 0.05, 0.1
# Values of depth and of width in a grid of one's own choosing, from the baseline to the one that meets a budget alone.
_STEPS = 5
_MOST_SIDES = 12

Values = Sequence[float]
Sides = Sequence[int] | Mapping[int, float]


class CoefficientSpace(Space):
    """The networks that a baseline becomes with each depth, width and resolution of a grid.

    Several coefficients can give the same network, because layers and channels are rounded. Its first row that meets
    the constraint stands for it.

    Args:
        baseline: network to scale.
        depth: factors on the layers.
        width: factors on the channels.
        resolution: sides of the image in pixels; as a mapping, with the factor that counts in the nominal product
            (`sides_of`); otherwise that is the side over the baseline's.
        target: budget of each network, such as ``macs=2x`` or ``activations=10M``: one of macs, params, activations.
        product: nominal growth d·w²·r² of each network, instead of a budget.
        tolerance: largest difference from the budget, relative to it, 0.05 by default; or from the product, 0.1.
        rounding: how layers and channels are rounded.
        keep: parts that are not scaled, from `scaling.compound.KEEPABLE`.
        name: name of the space.

    Attributes:
        matching: rows that meet the constraint, of shape (rows, 3).

    Raises:
        FieldError: a value breaks its rule, such as a resolution below the total stride.
        MnasError: the constraint is none, or no row meets it; the message has the nearest ones.

    Example:
        >>> from baselines import load
        >>> b0 = load("efficientnet_b0").architecture
        >>> space = CoefficientSpace(b0, (1, 1.2), (1, 1.1), (224, 256), target="macs=2x", tolerance=0.2)
        >>> space.labels, space.size, len(space.members)
        (('depth', 'width', 'resolution'), 8, 3)
        >>> space.decode({"depth": 1.2, "width": 1.1, "resolution": 224}).resolution
        224
    """

    def __init__(
        self,
        baseline: Architecture,
        depth: Values,
        width: Values,
        resolution: Sides,
        *,
        target: Budget | str | None = None,
        product: float | None = None,
        tolerance: float | None = None,
        rounding: Rounding = EFFICIENTNET,
        keep: tuple[str, ...] = (),
        name: str = "coefficients",
    ) -> None:
        self.baseline, self.rounding, self.keep = baseline, rounding, keep
        self.target = read_budget(target) if isinstance(target, str) else target
        self.product = product
        choices = {"depth": tuple(depth), "width": tuple(width), "resolution": tuple(resolution)}
        _check(choices, baseline)
        super().__init__(name, [Choice(label, values) for label, values in choices.items()])
        own = (
            resolution if isinstance(resolution, Mapping) else {side: side / baseline.resolution for side in resolution}
        )
        self._factors = own
        everything = np.stack(np.unravel_index(np.arange(self.size), self.cardinalities.tolist()), axis=1)
        self._networks = [
            compound_scale(baseline, self.coefficients(genotype)) for genotype in self.genotypes(everything)
        ]
        counts = {network: architecture_cost(network) for network in dict.fromkeys(self._networks)}
        self._costs = {cost: np.array([getattr(counts[net], cost) for net in self._networks]) for cost in EXACT_COSTS}
        self.tolerance = self._checked_tolerance(tolerance)
        meets = self._meets()
        # The first row of each network, where possible among those that meet the constraint.
        first: dict[Architecture, int] = {}
        for place in (*np.flatnonzero(meets).tolist(), *np.flatnonzero(~meets).tolist()):
            first.setdefault(self._networks[place], place)
        self._first = first
        self._canonical = everything[[first[network] for network in self._networks]]
        self.matching: Indices = everything[meets]
        members: Indices = everything[sorted(place for place in first.values() if meets[place])]
        self.members = members if len(members) < self.size else None

    def coefficients(self, genotype: Mapping[str, Value]) -> Coefficients:
        """The coefficients of a genotype."""
        depth, width, side = (genotype[label] for label in ("depth", "width", "resolution"))
        return Coefficients(float(width), float(depth), int(side), keep=self.keep, rounding=self.rounding)

    # --- the constraint -------------------------------------------------------------------------------------------

    def _checked_tolerance(self, tolerance: float | None) -> float:
        if self.target is not None and self.product is not None:
            raise MnasError("product: cannot be combined with a target; use one of them")
        if self.target is not None and self.target.cost not in EXACT_COSTS:
            raise unknown_name("target", self.target.cost, EXACT_COSTS)
        if self.product is not None:
            check_number("product", self.product, 1e-3, 1e4)
        usual = COST_TOLERANCE if self.product is None else PRODUCT_TOLERANCE
        found = usual if tolerance is None else tolerance
        check_number("tolerance", found, 0, 10)
        return found

    @property
    def wanted(self) -> float | None:
        """The budget in the unit of its cost, or the nominal product; None without a constraint."""
        if self.target is None:
            return self.product
        own = getattr(architecture_cost(self.baseline), self.target.cost) if self.target.relative else 1
        return float(self.target.value * own)

    def constraint(self) -> str:
        """The constraint in words, for "networks with …"."""
        if self.target is not None:
            assert self.wanted is not None
            return f"{count_text(self.wanted)} {_words(self.target.cost)} within {100 * self.tolerance:g} %"
        if self.product is not None:
            return f"d·w²·r² = {self.product:g} within {self.tolerance:g}"
        return "any cost"

    def _constrained(self) -> NDArray[np.float64]:
        """What the constraint is about, of every row."""
        if self.target is not None:
            return self._costs[self.target.cost].astype(float)
        depth, width, side = (np.array(choice.values, dtype=float) for choice in self.decisions)
        factor = np.array([self._factors[int(value)] for value in side.tolist()])
        products = depth[:, None, None] * width[None, :, None] ** 2 * factor[None, None, :] ** 2
        return np.asarray(products.ravel(), dtype=np.float64)

    def _meets(self) -> NDArray[np.bool_]:
        """Whether each row meets the constraint. Raises `MnasError` if none does."""
        wanted = self.wanted
        if wanted is None:
            return np.ones(self.size, dtype=bool)
        found = self._constrained()
        unit = wanted if self.target is not None else 1.0
        meets: NDArray[np.bool_] = np.abs(found - wanted) <= self.tolerance * unit + 1e-9
        if not meets.any():
            raise self._nothing(found, wanted)
        return meets

    def _nothing(self, found: NDArray[np.float64], wanted: float) -> MnasError:
        """The error that no row meets the constraint, with the nearest on both sides."""
        nearest = []
        for side in (found < wanted, found > wanted):
            if side.any():
                place = int(np.where(side, np.abs(found - wanted), np.inf).argmin())
                value = count_text(found[place]) if self.target is not None else f"{found[place]:.3g}"
                row = np.stack(np.unravel_index([place], self.cardinalities.tolist()), axis=1)
                depth, width, pixels = self.genotypes(row)[0].values()
                nearest.append(f"{value} (depth {depth:g}, width {width:g}, {pixels} px)")
        return MnasError(
            f"grid: none of its {self.size:,} rows has {self.constraint()}; the nearest have {' and '.join(nearest)}; "
            "use a finer or wider grid, a larger tolerance, or another target"
        )

    # --- networks -------------------------------------------------------------------------------------------------

    @property
    def num_networks(self) -> int:
        """Number of different networks of the grid, whether they meet the constraint or not."""
        return len(self._first)

    def _places(self, indices: Indices) -> NDArray[np.int64]:
        return np.asarray(np.ravel_multi_index(tuple(indices.T), tuple(self.cardinalities.tolist())), dtype=np.int64)

    def canonical(self, indices: Indices) -> Indices:
        return self._canonical[self._places(indices)]

    def decode_indices(self, indices: Indices) -> list[Architecture]:
        return [self._networks[place] for place in self._places(indices).tolist()]

    def decode(self, genotype: Mapping[str, Value]) -> Architecture:
        return self.decode_indices(self.indices([genotype]))[0]

    def encode(self, network: object) -> Genotype:
        if not isinstance(network, Architecture):
            raise FieldError("network", f"a {type(network).__name__} is not in the space {self.name!r}")
        if network not in self._first:
            raise FieldError("network", f"is not the baseline of the space {self.name!r} with any of its coefficients")
        place = self._first[network]
        row = np.stack(np.unravel_index([place], self.cardinalities.tolist()), axis=1)
        return self.genotypes(row)[0]

    # --- cost -----------------------------------------------------------------------------------------------------

    @property
    def cost_names(self) -> tuple[str, ...]:
        return EXACT_COSTS

    def costs(self, indices: Indices) -> list[NDArray[np.int64]]:
        places = self._places(indices)
        return [self._costs[name][places] for name in EXACT_COSTS]

    def cost_range(self, name: str) -> tuple[float, float]:
        if name not in EXACT_COSTS:
            raise unknown_name("cost", name, EXACT_COSTS)
        return float(self._costs[name].min()), float(self._costs[name].max())


def _check(choices: Mapping[str, Sequence[float]], baseline: Architecture) -> None:
    """Raise `FieldError` if a choice has no values, one twice, or one that the baseline cannot have."""
    for label, values in choices.items():
        if not values or len(set(values)) < len(values):
            raise FieldError(label, f"{shorten(values)}: expected one or more different values")
    rows = math.prod(map(len, choices.values()))
    if rows > MOST_ROWS:
        raise FieldError("grid", f"{rows:,} rows are more than {MOST_ROWS:,}; use fewer values")
    for side in choices["resolution"]:
        check_int("resolution", side, 1, MAX_RESOLUTION)
        if side < baseline.total_stride:
            raise FieldError(
                "resolution",
                f"{side} px is less than the network's total stride of {baseline.total_stride} px; use larger sides",
            )


def count_text(value: float) -> str:
    """A cost for a person: in millions, or exact where that would round away digits that matter."""
    return millions(value) if value >= 1e7 else f"{value:,.0f}"


def _words(cost: str) -> str:
    return "MACs" if cost == "macs" else cost


# --- grids ------------------------------------------------------------------------------------------------------------


def sides_of(baseline: Architecture, factors: Sequence[float]) -> dict[int, float]:
    """Sides in pixels for factors on the baseline's side, each with its factor; the first of those with one side.

    Sides are multiples of 4 px, or of fewer for small images (`scaling.published.side_step`).
    """
    step = side_step(baseline)
    found: dict[int, float] = {}
    for factor in factors:
        check_number("resolution", factor, 0.05, 50)
        side = baseline.resolution if factor == 1 else max(1, round(baseline.resolution * factor / step)) * step
        found.setdefault(side, factor)
    return found


def paper_space(baseline: Architecture, step: float = 0.05, highest: float = 1.4) -> CoefficientSpace:
    """The paper's search for α, β and γ as far as it was published: d·w²·r² ≈ 2, all three of at least 1.

    With the defaults, 75 of 729 rows are within 0.1 of 2, the published (1.2, 1.1, 1.15) among them.
    """
    check_number("step", step, 1e-3, 1)
    check_number("highest", highest, 1, 4)
    factors = [round(1 + step * number, 9) for number in range(math.floor((highest - 1) / step + 1e-9) + 1)]
    return CoefficientSpace(baseline, factors, factors, sides_of(baseline, factors), product=2.0)


def usual_values(baseline: Architecture, growth: float) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """Depths, widths and sides between the baseline and the dimension that alone gives a growth of MACs, or its limit.

    Depths and widths are six each, in equal ratios. Sides are multiples of the lattice's step, about a dozen at most.
    """
    check_number("growth", growth, 1e-3, 1e4)
    ends = Factors(*(min(max(end, LOWEST_FACTOR), HIGHEST_FACTOR) for end in (growth, *2 * [math.sqrt(growth)])))
    depths, widths = (
        tuple(dict.fromkeys(round(end ** (number / _STEPS), 3) for number in range(_STEPS + 1))) for end in ends[:2]
    )
    step, own = side_step(baseline), baseline.resolution
    low, high = sorted((own, own * ends.resolution))
    low = max(low, baseline.total_stride)
    while (high - low) / step > _MOST_SIDES:
        step *= 2
    multiples = range(math.ceil(low / step) * step, math.floor(min(high, MAX_RESOLUTION)) + 1, step)
    return depths, widths, tuple(sorted({own, *multiples}))
