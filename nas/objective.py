"""What a search maximises: one number from accuracy and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.spec import Target
from nas.costs.metrics import COSTS, cost_metric
from search_spaces.architecture import check_number
from search_spaces.errors import FieldError, shorten, unknown_name

# The exponents that each form is published with, below (or at) its target and above it, and where.
FORMS = {
    # MnasNet (arXiv 1807.11626) section 3, EfficientNet (arXiv 1905.11946) section 4.
    "soft": (-0.07, -0.07),
    # MnasNet section 7.1: no reward for being smaller than the target, a steep price for being larger.
    "hard": (0.0, -1.0),
    # TuNAS (arXiv 2008.06120); the default of its code, tunas/search_space_utils.py.
    "absolute": (-0.10, -0.10),
    # MnasNet's general form (its equation 3) with exponents measured at the target: see `nas.calibration`.
    "calibrated": None,
}


@dataclass(frozen=True)
class Objective:
    """A reward for accuracy at targets of one or several costs.

    With r = cost / target (target / cost where more is better, as of throughput), and exponent w, which is the first of
    ``exponents`` where r <= 1 and the second above:

    - ``soft``: accuracy * r**w, one w on both sides of the target. The target only rescales this reward: its best
      network is the same for every target, and the exponent alone decides how large that is.
    - ``hard``: accuracy up to the target, accuracy * r**w above it. Its best network lies at or below the target.
    - ``calibrated``: accuracy * r**w with exponents that make the target the best place to be.
    - ``absolute``: accuracy + w * abs(r - 1). Its best network lies near the target, on either side.

    Several costs multiply (``absolute``: add) their terms.

    Attributes:
        form: a key of `FORMS`.
        targets: what is aimed at; one or more, each cost once.
        exponents: w below and above the target; negative or 0, since larger networks are to pay.

    Raises:
        MnasError: the form or a cost is unknown, or a number breaks its rule.
    """

    form: str
    targets: tuple[Target, ...]
    exponents: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown_name("objective", self.form, FORMS)
        if not self.targets:
            raise FieldError("targets", "() is not one or more targets")
        names = [target.cost for target in self.targets]
        for name in names:
            cost_metric(name)
            if names.count(name) > 1:
                raise FieldError("targets", f"{name} stands twice; keep one")
        if len(self.exponents) != 2:
            raise FieldError("exponents", f"{shorten(self.exponents)} is not two numbers")
        for exponent in self.exponents:
            check_number("exponent", exponent, -100, 0)
        if not any(self.exponents):
            raise FieldError("exponent", "0.0 is not a number from -100 to below 0")

    def reward(self, accuracy: Any, costs: Sequence[Any]) -> Any:
        """The reward of an accuracy in [0, 1].

        Args:
            accuracy: a number, or an array.
            costs: one number, or array of the same shape, for each target, in their order.
        """
        result = np.asarray(accuracy, dtype=float)
        below, above = self.exponents
        for ratio in self._ratios(costs):
            exponent = np.where(ratio <= 1, below, above)
            result = result + exponent * np.abs(ratio - 1) if self.form == "absolute" else result * ratio**exponent
        return float(result) if result.ndim == 0 else result

    def merit(self, reward: Any, costs: Sequence[Any]) -> Any:
        """What found networks are ordered by: the reward, but under the hard form none over a target comes first.

        The hard form's price for a network 0.01 % above the target is smaller than differences in accuracy, and who
        asks for at most 400M must not be given 400.04M. Controllers that learn from one number (``ppo``, NNI's) learn
        from the reward; ``bayesian``, which has a model of its own, aims at this. Numbers, or arrays of one shape.
        """
        if self.form != "hard":
            return reward
        merit = reward - ~self.meets(costs)
        return float(merit) if np.ndim(merit) == 0 else merit

    def meets(self, costs: Sequence[Any]) -> Any:
        """Whether no cost is over its target: a boolean of numpy, or an array of them."""
        return np.logical_and.reduce([ratio <= 1 for ratio in self._ratios(costs)])

    def _ratios(self, costs: Sequence[Any]) -> list[Any]:
        pairs = zip(self.targets, costs, strict=True)
        return [COSTS[target.cost].ratio(np.asarray(values, dtype=float), target.value) for target, values in pairs]

    def text(self) -> str:
        """The form and its targets as a person writes them."""
        return f"{self.form} objective at {', '.join(target.text() for target in self.targets)}"


def make_objective(
    form: str, targets: Mapping[str, float] | float, exponent: float | Sequence[float] | None = None
) -> Objective:
    """An objective with the published exponents of its form unless others are given.

    Args:
        form: a key of `FORMS`.
        targets: by name of the cost; one number is a target of MACs.
        exponent: on both sides of the target (of the hard form: above it), or one for each side.
    """
    if form not in FORMS:
        raise unknown_name("objective", form, FORMS)
    wanted = targets if isinstance(targets, Mapping) else {"macs": targets}
    exponents = FORMS[form] if exponent is None else exponent
    if exponents is None:
        raise FieldError("exponent", "missing; the calibrated form has none of its own, it is measured for each target")
    if isinstance(exponents, int | float):
        check_number("exponent", exponents, -100, 0, below_high=True)
        exponents = (0.0 if form == "hard" else exponents, exponents)
    return Objective(form, tuple(Target(name, value) for name, value in wanted.items()), tuple(exponents))


def cost_text(target: Target, value: float) -> str:
    """A cost beside its target, for a person; a predicted one says so and carries its σ."""
    metric = COSTS[target.cost]
    share = f"{100 * value / target.value:.1f} % of the target"
    if metric.std is None:
        return f"{value:,.0f} {metric.unit}, {share}"
    return f"predicted {value:,.4g} ± {metric.std * value:.2g} {metric.unit}, {share}"
