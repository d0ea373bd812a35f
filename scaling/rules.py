"""Named scaling rules: how a rule shares growth among depth, width and resolution.

A network that is scaled by depth d, width w and resolution r has about s = d·w²·r² times the MACs. A rule says which
share of log s goes to depth, to width (as w²) and to resolution (as r²): `Rule.factors` gives d, w and r for any s.

- Rules with constant shares are straight lines through the baseline: the paper's rule, and those of pycls.
- Rules of published points (`scaling.published`) go through the points. Between two of them, log d, log w and log r are
  interpolated in log MACs, counted on the network that is scaled. Beyond the last point, and on the other side of the
  baseline, where nothing was published, they continue with the shares of the last point.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from scaling.compound import EFFICIENTNET, HIGHEST_FACTOR, LOWEST_FACTOR, PYCLS, TINYNET, Coefficients, Rounding
from scaling.compound import compound_scale as _scaled
from scaling.published import PRESETS, TINYNET_KEEPS, in_proportion
from search_spaces import Architecture, MnasError, architecture_cost
from search_spaces.architecture import MAX_RESOLUTION, check_number
from search_spaces.errors import FieldError, shorten, unknown_name

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
DEFAULT_RULE = "efficientnet"
# How far alpha·beta²·gamma² may be from 2: the paper's own product is 1.92.
CONSTRAINT_TOLERANCE = 0.1
LOWEST_PHI, HIGHEST_PHI = -4, 12
LOWEST_SCALE, HIGHEST_SCALE = 1e-3, 1e4


class Factors(NamedTuple):
    """Factors on layers, channels and side, before rounding."""

    depth: float
    width: float
    resolution: float

    @property
    def product(self) -> float:
        """The nominal growth of MACs: d·w²·r²."""
        return self.depth * self.width**2 * self.resolution**2

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """Shares of log d·w²·r² that go to depth, width² and resolution²; None if the product is 1."""
        whole = math.log(self.product)
        if abs(whole) < 1e-9:
            return None
        return (
            math.log(self.depth) / whole,
            2 * math.log(self.width) / whole,
            2 * math.log(self.resolution) / whole,
        )


@dataclass(frozen=True)
class Rule:
    """A way to share growth among depth, width and resolution.

    Attributes:
        name: name of the rule.
        meaning: a few words about it.
        source: paper or file that published it.
        shares: shares of log d·w²·r² for depth, width² and resolution²; None for a rule of published points.
        points: names of presets that the rule goes through, from the smallest; empty for constant shares.
        growth: nominal growth d·w²·r² for phi = 1; None for a rule that has no phi.
        rounding: how layers and channels are rounded.
        step: resolutions are multiples of this many pixels; 0 for the network's total stride.
        keep: parts that are not scaled.
    """

    name: str
    meaning: str
    source: str
    shares: tuple[float, float, float] | None = None
    points: tuple[str, ...] = ()
    growth: float | None = None
    rounding: Rounding = EFFICIENTNET
    step: int = 0
    keep: tuple[str, ...] = ()

    def factors(self, scale: float, base: Architecture) -> Factors:
        """Return the factors, before rounding, for a growth of MACs.

        Args:
            scale: growth: the nominal d·w²·r², or for a rule of points the growth of the network's real MACs.
            base: network that is scaled.
        """
        if self.shares is not None:
            depth, width, resolution = self.shares
            return Factors(scale**depth, scale ** (width / 2), scale ** (resolution / 2))
        return _through_points(_points(self, base), scale)

    def coefficients(
        self, base: Architecture, *, phi: float | None = None, factor: float | None = None
    ) -> Coefficients:
        """Return the rounded coefficients for a baseline.

        Args:
            base: network to scale.
            phi: exponent of the rule, from -4 to 12.
            factor: growth of MACs instead, from 0.001 to 10,000: nominal, or for a rule of points real MACs.

        Raises:
            FieldError: a value is out of range, or scales a dimension out of range.
            MnasError: the rule has no phi, or not exactly one of the two is given.
        """
        return self.rounded(self.factors(self.growth_for(phi=phi, factor=factor), base), base)

    def growth_for(self, *, phi: float | None = None, factor: float | None = None) -> float:
        """Return the growth of MACs for a phi or a factor. Raises as `coefficients`."""
        if (phi is None) == (factor is None):
            raise MnasError("scale: expected one of phi and factor with a rule")
        if phi is not None:
            check_number("phi", phi, LOWEST_PHI, HIGHEST_PHI)
            if self.growth is None:
                raise MnasError(f"phi: the rule {self.name} has none; use --factor with the growth of MACs instead")
            factor = self.growth**phi
        assert factor is not None
        check_number("factor", factor, LOWEST_SCALE, HIGHEST_SCALE)
        return factor

    def rounded(self, factors: Factors, base: Architecture) -> Coefficients:
        """Return factors as coefficients, with a rounded resolution.

        Where the step is the network's total stride, the resolution never shrinks for a factor of 1 or more, and never
        grows for one of at most 1. Other resolutions give odd feature maps, which cost more than they are worth: B0
        with width 1.1 and depth 1.2 has 0.860G MACs at 256 px and 0.993G at 257 to 260 px.

        Raises:
            FieldError: a factor is out of range.
        """
        check_number("width", factors.width, LOWEST_FACTOR, HIGHEST_FACTOR)
        check_number("depth", factors.depth, LOWEST_FACTOR, HIGHEST_FACTOR)
        step = self.step or base.total_stride
        side = max(1, round(base.resolution * factors.resolution / step)) * step
        if not self.step and factors.resolution >= 1:
            side = max(side, base.resolution)
        if not self.step and factors.resolution <= 1:
            side = min(side, base.resolution)
        if factors.resolution == 1:
            side = base.resolution
        if side > MAX_RESOLUTION:
            raise FieldError("resolution", f"{side} px is more than {MAX_RESOLUTION}; use a smaller factor")
        return Coefficients(factors.width, factors.depth, side, keep=self.keep, rounding=self.rounding)


def powers(alpha: float, beta: float, gamma: float, name: str = "", meaning: str = "", source: str = "") -> Rule:
    """Return the rule with depth alpha**phi, width beta**phi and resolution gamma**phi, rounded as EfficientNet.

    Args:
        alpha: factor on layers for phi = 1.
        beta: factor on channels for phi = 1.
        gamma: factor on the side of the image for phi = 1.
        name: name of the rule; the three numbers by default.
        meaning: a few words about it.
        source: where it was published.

    Raises:
        FieldError: a factor is not a number from 0.5 to 4.
        MnasError: the product alpha·beta²·gamma² is not above 1, so that the rule would not grow with phi.
    """
    for label, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        check_number(label, value, 0.5, 4)
    growth = Factors(alpha, beta, gamma)
    if growth.product <= 1 + 1e-9 or growth.shares is None:
        product = f"alpha * beta^2 * gamma^2 = {growth.product:.4g}"
        raise MnasError(f"alpha: {product} must be above 1, so that networks grow with phi; use larger factors")
    return Rule(
        name or f"a{alpha:g} b{beta:g} g{gamma:g}",
        meaning or f"depth {alpha:g}^phi, width {beta:g}^phi, resolution {gamma:g}^phi",
        source or "given by the user",
        growth.shares,
        growth=growth.product,
    )


def _pycls(name: str, depth: float, width: float, resolution: float) -> Rule:
    """A rule of pycls from its shares, which may be given in any unit."""
    whole = depth + width + resolution
    names = {"d": "depth", "w": "width", "r": "resolution"}
    parts = [names[letter] for letter in name] if name != "fast" else []
    equal = "alone" if len(parts) == 1 else "in equal shares of log MACs"
    meaning = f"{', '.join(parts)} {equal}" if parts else "mostly width, which costs the fewest activations"
    return Rule(
        name,
        meaning,
        "arXiv 2103.06877; facebookresearch/pycls scaler.py",
        (depth / whole, width / whole, resolution / whole),
        rounding=PYCLS,
        step=4,
    )


_PAPER = "the paper's rule: depth 1.2^phi, width 1.1^phi, resolution 1.15^phi"
_X_SOURCE = "arXiv 2102.05610; tensorflow/tpu efficientnet_x_builder.py"
RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        powers(ALPHA, BETA, GAMMA, "efficientnet", _PAPER, "arXiv 1905.11946 §3.3"),
        _pycls("d", 1, 0, 0),
        _pycls("w", 0, 1, 0),
        _pycls("r", 0, 0, 1),
        _pycls("dw", 1, 1, 0),
        _pycls("dr", 1, 0, 1),
        _pycls("wr", 0, 1, 1),
        _pycls("dwr", 1, 1, 1),
        _pycls("fast", 1, 8, 1),
        Rule(
            "lacs-gpu",
            "through the points of EfficientNet-X for GPUs",
            _X_SOURCE,
            points=tuple(f"x_gpu_b{number}" for number in range(1, 8)),
            step=1,
        ),
        Rule(
            "lacs-tpu",
            "through the points of EfficientNet-X for TPUs",
            _X_SOURCE,
            points=tuple(f"x_tpu_b{number}" for number in range(1, 8)),
            step=1,
        ),
        Rule(
            "tinynet",
            "through the points of TinyNet, below the baseline",
            "arXiv 2010.14819; huawei-noah/CV-Backbones tinynet_pytorch",
            points=tuple(f"tinynet_{letter}" for letter in "edcba"),
            rounding=TINYNET,
            step=1,
            keep=TINYNET_KEEPS,
        ),
    )
}
# The paper of `fast` spells it dWr; rules are found in any case, so this spelling would be that of equal shares.
_SPELLINGS = {"dWr": "fast"}


def rule_named(name: str) -> Rule:
    """Return a rule by name, in any case; "dWr" is `fast`, as in its paper.

    Raises:
        MnasError: the name is not one of `RULES`.
    """
    known = _SPELLINGS.get(name, name.lower())
    if known not in RULES:
        raise unknown_name("rule", name, (*RULES, *_SPELLINGS))
    return RULES[known]


def constraint(rule: Rule) -> str | None:
    """Say that a rule of powers misses the paper's constraint, alpha·beta²·gamma² of about 2; None if it does not.

    The paper's own factors have a product of 1.92 (arXiv 1905.11946 §3.3).
    """
    if rule.growth is None or abs(rule.growth - 2) <= CONSTRAINT_TOLERANCE:
        return None
    return (
        f"alpha * beta^2 * gamma^2 = {rule.growth:.4g}, not about 2: phi = 1 multiplies MACs by about {rule.growth:.4g}"
    )


# --- published points ---------------------------------------------------------------------------------------------


class _Point(NamedTuple):
    """A published point on a baseline: growth of its real MACs, factors, and name."""

    growth: float
    factors: Factors
    name: str


def _points(rule: Rule, base: Architecture) -> tuple[_Point, ...]:
    return _points_of(rule.points, base)


@lru_cache(maxsize=64)
def _points_of(names: tuple[str, ...], base: Architecture) -> tuple[_Point, ...]:
    """The points of some presets and the baseline itself, from the smallest growth."""
    macs = architecture_cost(base).macs
    found = [_Point(1.0, Factors(1.0, 1.0, 1.0), "the baseline")]
    for name in names:
        # For a small baseline, the preset keeps at least the total stride, and so does the rule.
        point = in_proportion(base, PRESETS[name])
        growth = architecture_cost(_scaled(base, replace(point, dropout=None))).macs / macs
        found.append(_Point(growth, Factors(point.depth, point.width, point.resolution / base.resolution), name))
    return tuple(sorted(found))


def published_range(rule: Rule, base: Architecture) -> tuple[float, float] | None:
    """Smallest and largest growth of real MACs of a rule's points and the baseline; None for constant shares."""
    if not rule.points:
        return None
    points = _points(rule, base)
    return points[0].growth, points[-1].growth


def position(rule: Rule, base: Architecture, scale: float) -> str | None:
    """Say where a growth of real MACs lies among the points of a rule; None for a rule of constant shares."""
    if not rule.points:
        return None
    points = _points(rule, base)
    growths = [point.growth for point in points]
    exact = next((point for point in points if abs(math.log(scale / point.growth)) < 1e-9), None)
    if exact is not None:
        return f"exactly {exact.name}"
    if growths[0] < scale < growths[-1]:
        place = bisect_left(growths, scale)
        return f"interpolated in log MACs between {points[place - 1].name} and {points[place].name}"
    return f"beyond the published points: continued with the shares of {_farthest(points).name}"


def _farthest(points: Sequence[_Point]) -> _Point:
    """The point that is farthest from the baseline."""
    return max(points, key=lambda point: abs(math.log(point.growth)))


def _through_points(points: Sequence[_Point], scale: float) -> Factors:
    """Interpolate in log MACs; outside, continue with the shares of the point that is farthest from the baseline."""
    growths = [point.growth for point in points]
    if growths[0] <= scale <= growths[-1]:
        place = min(max(1, bisect_left(growths, scale)), len(points) - 1)
        before, after = points[place - 1], points[place]
        part = math.log(scale / before.growth) / math.log(after.growth / before.growth)
        return Factors(*(a ** (1 - part) * b**part for a, b in zip(before.factors, after.factors, strict=True)))
    farthest = _farthest(points)
    end = points[0] if scale < growths[0] else points[-1]
    # From the end of the points on, log d, log w and log r grow with log MACs as on the way to the farthest point.
    way = math.log(scale / end.growth) / math.log(farthest.growth)
    return Factors(*(value * far**way for value, far in zip(end.factors, farthest.factors, strict=True)))


def rule_of(
    rule: str | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    keep: Sequence[str] = (),
) -> Rule:
    """Return a named rule, or the one of three factors, with more parts to keep; the paper's rule by default.

    Args:
        rule, alpha, beta, gamma, keep: arguments of `scale`.

    Raises:
        MnasError: the name is unknown, only some of the three factors are given, or both a name and factors.
    """
    missing = [part for part, value in {"alpha": alpha, "beta": beta, "gamma": gamma}.items() if value is None]
    if alpha is None or beta is None or gamma is None:
        if len(missing) < 3:
            raise MnasError(f"alpha, beta, gamma: must be given together; add {' and '.join(missing)}")
        found = rule_named(DEFAULT_RULE if rule is None else rule)
    elif rule is not None:
        raise MnasError(f"rule: {shorten(rule)} cannot be combined with alpha, beta and gamma; remove one")
    else:
        found = powers(alpha, beta, gamma)
    return replace(found, keep=tuple(dict.fromkeys((*found.keep, *keep))))
