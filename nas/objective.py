"""The objective of a search: one number from accuracy and costs, to be maximised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.spec import Target
from nas.costs.metrics import CostMetric, named_metric
from search_spaces.architecture import check_number
from search_spaces.errors import FieldError, MnasError, shorten, unknown_name

# Published exponents of each form, at or below its target and above it, with their source.
FORMS = {
    # MnasNet (arXiv 1807.11626) section 3, EfficientNet (arXiv 1905.11946) section 4.
    "soft": (-0.07, -0.07),
    # MnasNet section 7.1: no reward for being smaller than the target, a steep price for being larger.
    "hard": (0.0, -1.0),
    # TuNAS (arXiv 2008.06120); the default of its code, tunas/search_space_utils.py.
    "absolute": (-0.10, -0.10),
    # MnasNet's general form (its equation 3) with exponents measured at the target: see `nas.studies.calibration`.
    "calibrated": None,
}
# Description of a search without targets.
NO_TARGET = "most accurate, whatever it costs"


@dataclass(frozen=True)
class Objective:
    """A reward for accuracy at targets of one or several costs.

    With r = cost / target (target / cost where more is better, as for throughput) and exponent w, the first of
    ``exponents`` for r <= 1 and the second above:

    - ``soft``: accuracy * r**w, one w on both sides of the target. The target only rescales this reward: its best
      network is the same for every target, and the exponent alone decides its size.
    - ``hard``: accuracy up to the target, accuracy * r**w above it. Its best network lies at or below the target.
    - ``calibrated``: accuracy * r**w with exponents that place its best network at the target.
    - ``absolute``: accuracy + w * abs(r - 1). Its best network lies near the target, on either side.

    Several costs multiply (``absolute``: add) their terms. Without a target, the reward is the accuracy: the most
    accurate network, whatever it costs; the form is then ``hard``.

    Attributes:
        form: a key of `FORMS`.
        targets: targets, each for a different cost; none for the most accurate network.
        exponents: w below and above the target; negative or 0, so that larger networks are penalised.

    Raises:
        MnasError: the form is unknown or needs a target, a cost is given twice, or a number breaks its rule. Whether
            the space has a cost is checked by `nas.costs.metrics.check_target`.
    """

    form: str
    targets: tuple[Target, ...]
    exponents: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown_name("objective", self.form, FORMS)
        if not self.targets and self.form != "hard":
            raise FieldError("targets", f"missing; the {self.form} objective has one or more")
        names = [target.cost for target in self.targets]
        for name in names:
            named_metric(name)
            if names.count(name) > 1:
                raise FieldError("targets", f"{name} is given twice; remove one")
        if len(self.exponents) != 2:
            raise FieldError("exponents", f"{shorten(self.exponents)}: expected two numbers")
        for exponent in self.exponents:
            check_number("exponent", exponent, -100, 0)
        if not any(self.exponents):
            raise FieldError("exponent", "0.0 is not a number from -100 to below 0")

    def reward(self, accuracy: Any, costs: Sequence[Any]) -> Any:
        """The reward for an accuracy in [0, 1].

        Args:
            accuracy: number or array.
            costs: number, or array of the same shape, for each target, in their order.
        """
        result = np.asarray(accuracy, dtype=float)
        below, above = self.exponents
        for ratio in self.ratios(costs):
            exponent = np.where(ratio <= 1, below, above)
            result = result + exponent * np.abs(ratio - 1) if self.form == "absolute" else result * ratio**exponent
        return float(result) if result.ndim == 0 else result

    def merit(self, reward: Any, costs: Sequence[Any]) -> Any:
        """The order of found networks: by reward, but under the hard form those over a target come last.

        The hard form's penalty for a network 0.01 % above the target is smaller than differences in accuracy, and who
        asks for at most 400M must not get 400.04M. Controllers that learn from one number (``ppo``, NNI's) learn
        from the reward; ``bayesian``, which has a model of its own, maximises this. Numbers, or arrays of one shape.
        """
        if self.form != "hard" or not self.targets:
            return reward
        merit = reward - ~self.meets(costs)
        return float(merit) if np.ndim(merit) == 0 else merit

    def meets(self, costs: Sequence[Any]) -> Any:
        """Whether no cost is over its target: a numpy boolean, or an array of them."""
        return np.logical_and.reduce([ratio <= 1 for ratio in self.ratios(costs)])

    def ratios(self, costs: Sequence[Any]) -> list[Any]:
        """The ratio of each cost to its target; above 1 misses the target."""
        pairs = zip(self.targets, costs, strict=True)
        return [
            named_metric(target.cost).ratio(np.asarray(values, dtype=float), target.value) for target, values in pairs
        ]

    def text(self) -> str:
        """The form and its targets, for a person."""
        if not self.targets:
            return NO_TARGET
        return f"{self.form} objective at {', '.join(target.text() for target in self.targets)}"


def make_objective(
    form: str, targets: Mapping[str, float] | float | None, exponent: float | Sequence[float] | None = None
) -> Objective:
    """An objective with the published exponents of its form unless others are given.

    Args:
        form: key of `FORMS`; ``hard`` if there is no target.
        targets: values by name of the cost; a number is a target of MACs; ``{}`` or None for no target.
        exponent: exponent on both sides of the target (above it for the hard form), or one for each side.
    """
    if form not in FORMS:
        raise unknown_name("objective", form, FORMS)
    wanted = targets if isinstance(targets, Mapping) else {} if targets is None else {"macs": targets}
    if not wanted and form != "hard":
        raise MnasError(f"objective: {form} cannot be combined with no target; use hard, or give a target")
    if not wanted and exponent is not None:
        raise MnasError("exponent: cannot be combined with no target; give a target, or remove the exponent")
    exponents = FORMS[form] if exponent is None else exponent
    if exponents is None:
        raise FieldError("exponent", "missing; the calibrated form has no default, it is measured for each target")
    if isinstance(exponents, int | float):
        check_number("exponent", exponents, -100, 0, below_high=True)
        exponents = (0.0 if form == "hard" else exponents, exponents)
    return Objective(form, tuple(Target(name, value) for name, value in wanted.items()), tuple(exponents))


def cost_text(metric: CostMetric, target: Target, value: float) -> str:
    """A cost beside its target, for a person; a predicted cost is marked and has its σ."""
    share = f"{100 * value / target.value:.1f} % of the target"
    if metric.std is not None:
        return f"predicted {value:,.4g} ± {metric.std * value:.2g} {metric.unit}, {share}"
    number = f"{value:,.0f}" if value == int(value) else f"{value:,.5g}"
    return f"{number} {metric.unit}, {share}"
