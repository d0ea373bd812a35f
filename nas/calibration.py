"""Exponents that make a target the best place to be, measured at that target.

On the best networks of a space, log accuracy grows with log MACs at some slope s, which differs from target to target
(0.13 at 200M and 0.04 at 600M in the ``efficientnet`` space). The soft reward, accuracy * (MACs / T)**w with one w, has
its best network where s = -w, whatever T is; and with w = -s(T) that optimum is so flat that searches end as much as
40 % away. MnasNet's general form (arXiv 1807.11626, equation 3) has two exponents. With one weaker than -s below the
target and one stronger than -s above, being smaller does not pay, being larger pays less than it costs, and the target
itself is a corner. The slope need only be known within the factor `MARGIN` for that.

The slope is measured by two short searches under the hard form, at four fifths of the target and at five quarters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from nas.objective import Objective, make_objective
from nas.search import SearchSettings, run_search
from nas.trial import Trial, best_trial
from search_spaces import MnasError, load_space

PILOT_TRIALS = 60
PILOT_CONTROLLER = "bayesian"
STEP = 1.25
MARGIN = 4.0
# Where the slope is smaller than this, a larger network is hardly better, and the target is kept from above alone.
MIN_SLOPE = 1e-3


def calibrated_objective(space: str, evaluator: str, targets: Mapping[str, float], seed: int) -> Objective:
    """The objective for one target of MACs; costs up to 2 x `PILOT_TRIALS` evaluations.

    Raises:
        MnasError: another cost or several are aimed at, or a search around the target fails.
    """
    if list(targets) != ["macs"]:
        raise MnasError("objective: the calibrated form takes one target, of macs; choose hard for other costs")
    low, high = load_space(space).macs_range
    target = targets["macs"]
    # A target outside the space is refused here, before anything runs.
    SearchSettings(space, evaluator, PILOT_CONTROLLER, make_objective("hard", target), PILOT_TRIALS, seed)
    ends = (max(low, target / STEP), min(high, target * STEP))
    smaller, larger = (_best_below(space, evaluator, end, seed) for end in ends)
    slope = _slope(smaller, larger)
    return make_objective("calibrated", target, (-slope / MARGIN, -slope * MARGIN))


def _best_below(space: str, evaluator: str, macs: float, seed: int) -> Trial:
    objective = make_objective("hard", macs)
    settings = SearchSettings(space, evaluator, PILOT_CONTROLLER, objective, PILOT_TRIALS, seed)
    best = best_trial(run_search(settings), objective)
    if best is None:
        raise MnasError(f"objective: no trial around the target succeeded, so nothing can be calibrated ({evaluator})")
    return best


def _slope(smaller: Trial, larger: Trial) -> float:
    """Growth of log accuracy with log MACs between two trials."""
    assert smaller.metrics is not None
    assert larger.metrics is not None
    if larger.cost.macs <= smaller.cost.macs or not smaller.metrics.accuracy:
        return MIN_SLOPE
    gain = math.log(larger.metrics.accuracy / smaller.metrics.accuracy)
    return max(MIN_SLOPE, gain / math.log(larger.cost.macs / smaller.cost.macs))
