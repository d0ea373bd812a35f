"""What a search maximises: one number from accuracy and multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.architecture import check_int, check_number
from search_spaces.errors import unknown_name

# The exponent that each form is published with, and what it is called there.
FORMS = {
    # MnasNet (arXiv 1807.11626) section 3, EfficientNet (arXiv 1905.11946) section 4.
    "soft": -0.07,
    # MnasNet section 7.1: no reward for being smaller than the target, a steep price for being larger.
    "hard": -1.0,
    # TuNAS (arXiv 2008.06120); the default of its code, tunas/search_space_utils.py.
    "absolute": -0.10,
}


@dataclass(frozen=True)
class Objective:
    """A reward for accuracy at a target of multiply-adds.

    With r = macs / target_macs and exponent w:

    - ``soft``: accuracy * r**w on both sides of the target. The target only rescales this reward: its best network is
      the same for every target, and the exponent alone decides how large that is.
    - ``hard``: accuracy up to the target, accuracy * r**w above it. Its best network lies at or below the target.
    - ``absolute``: accuracy + w * abs(r - 1). Its best network lies near the target, on either side.

    Attributes:
        form: a key of `FORMS`.
        target_macs: multiply-adds aimed at.
        exponent: w; negative, since larger networks are to pay.

    Raises:
        MnasError: the form is unknown, or a number breaks its rule.
    """

    form: str
    target_macs: int
    exponent: float

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise unknown_name("objective", self.form, FORMS)
        check_int("target-macs", self.target_macs, 1, 10**18)
        check_number("exponent", self.exponent, -100, 0, below_high=True)

    def reward(self, accuracy: Any, macs: Any) -> Any:
        """The reward of an accuracy in [0, 1] and multiply-adds; numbers, or arrays of one shape."""
        ratio = np.asarray(macs, dtype=float) / self.target_macs
        if self.form == "absolute":
            reward = accuracy + self.exponent * np.abs(ratio - 1)
        elif self.form == "hard":
            reward = accuracy * np.maximum(ratio, 1) ** self.exponent
        else:
            reward = accuracy * ratio**self.exponent
        return float(reward) if reward.ndim == 0 else reward

    def merit(self, reward: Any, macs: Any) -> Any:
        """What found networks are ordered by: the reward, but under the hard form none above the target comes first.

        The hard form's price for a network 0.01 % above the target is smaller than differences in accuracy, and who
        asks for at most 400M must not be given 400.04M. Controllers that learn from one number (``ppo``, NNI's) learn
        from the reward; ``bayesian``, which has a model of its own, aims at this. Numbers, or arrays of one shape.
        """
        if self.form != "hard":
            return reward
        merit = reward - (np.asarray(macs) > self.target_macs)
        return float(merit) if merit.ndim == 0 else merit


def make_objective(form: str, target_macs: int, exponent: float | None = None) -> Objective:
    """An objective with the published exponent of its form unless another is given."""
    return Objective(form, target_macs, FORMS.get(form, -1.0) if exponent is None else exponent)
