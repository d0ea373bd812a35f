"""Exponents that put the best network at a target, measured at that target.

Along the best networks of a space, log accuracy grows with log MACs at a slope s, which differs from target to target
(0.13 at 200M and 0.04 at 600M in the ``efficientnet`` space). The soft reward, accuracy * (MACs / T)**w with one w, has
its best network where s = -w, whatever T is. With w = -s(T), that optimum is so flat that searches end up to 40 %
away. MnasNet's general form (arXiv 1807.11626, equation 3) has two exponents. With one weaker than -s below the
target and one stronger than -s above, a smaller network gains nothing, a larger one costs more than it gives, and the
target is a corner. For that, the slope need only be known within the factor `MARGIN`.

The slope is measured by two short searches under the hard form, at 0.8 and 1.25 times the target. They are a study in
the run's own folder: the request is on disk before they start, and both can be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baselines.text import millions, points
from nas.evaluators.registry import space_of
from nas.executors.base import Execution
from nas.journal import resume_command
from nas.objective import Objective, make_objective
from nas.record import PILOTS, SEARCH_FILE, check_unused, exists
from nas.search_loop import SearchSettings
from nas.studies.engine import Call, Job, Study, run_study
from nas.studies.journal import StudyJournal
from nas.studies.searches import search_in
from nas.trial import best_trial
from search_spaces import MnasError
from search_spaces.architecture import check_int, check_number
from search_spaces.plugins import refuse_code
from search_spaces.registry import as_stage_space
from search_spaces.serialization import from_dict

PILOT_TRIALS = 60
PILOT_CONTROLLER = "bayesian"
STEP = 1.25
MARGIN = 4.0
# Below this slope, a larger network is hardly better, and only networks above the target are penalised.
MIN_SLOPE = 1e-3
_KIND = "calibration"


@dataclass(frozen=True)
class CalibratedRequest:
    """A search whose exponents have not been measured yet.

    Attributes:
        space, evaluator, controller: names, as in `nas.search_loop.SearchSettings`.
        target: target in MACs.
        trials: number of trials of the search.
        seed: random seed.

    Raises:
        MnasError: a name is unknown, a number breaks its rule, or the target lies outside the space.
    """

    space: str
    evaluator: str
    controller: str
    target: float
    trials: int
    seed: int

    def __post_init__(self) -> None:
        self.settings(make_objective("hard", self.target))  # refuses a target outside the space

    def settings(self, objective: Objective) -> SearchSettings:
        """The settings of the search under an objective."""
        return SearchSettings(self.space, self.evaluator, self.controller, objective, self.trials, self.seed)


def calibrated_request(targets: Mapping[str, float], **fields: Any) -> CalibratedRequest:
    """The request for a search. Raises `MnasError` unless ``targets`` is one target in MACs."""
    if list(targets) != ["macs"]:
        raise MnasError("objective: the calibrated form takes one target, of macs; use hard for other costs")
    return CalibratedRequest(target=float(targets["macs"]), **fields)


def start_calibration(folder: Path, request: CalibratedRequest, execution: Execution) -> None:
    """Create the folder of a search with its request.

    Raises:
        MnasError: the folder already holds a run or anything else, or cannot be created.
    """
    if exists(StudyJournal, folder / PILOTS):
        check_unused(folder, SEARCH_FILE)
    check_unused(folder, SEARCH_FILE, beside=(PILOTS,))
    settings = {"kind": _KIND, **asdict(request)}
    with StudyJournal.create(folder / PILOTS, settings, execution) as journal:
        journal.end("interrupted")


def is_calibrating(folder: Path) -> bool:
    """Whether a folder holds a search without a journal, since its exponents have not been measured yet."""
    return not (folder / SEARCH_FILE).is_file() and exists(StudyJournal, folder / PILOTS)


def read_request(
    folder: Path, *, allow_code: bool, names: Mapping[str, str] | None = None
) -> tuple[CalibratedRequest, Execution]:
    """The request in a search's folder, and where its trials run.

    Raises:
        MnasError: the folder holds no request, or the request names a Python file that may not run.
    """
    with StudyJournal.open(folder / PILOTS, names=names) as journal:
        stored = {name: value for name, value in journal.plain_settings.items() if name != "kind"}
        if not allow_code:
            refuse_code(stored.values(), f"run: {folder}")
        return from_dict(CalibratedRequest, stored, "settings"), journal.execution


def calibrated_objective(
    folder: Path, request: CalibratedRequest, changes: Mapping[str, Any] | None = None
) -> Objective:
    """The calibrated objective of a request; costs up to 2 x `PILOT_TRIALS` evaluations.

    Args:
        folder: folder of the search, made by `start_calibration`.
        request: request in that folder.
        changes: fields of the execution to change.

    Raises:
        KeyboardInterrupt: it was stopped; it can be resumed.
        MnasError: a search around the target fails.
    """
    low, high = as_stage_space(space_of(request.space, request.evaluator)).macs_range
    ends = {"below": max(low, request.target / STEP), "above": min(high, request.target * STEP)}
    study = Study(
        kind=_KIND,
        settings=asdict(request),
        jobs=[Job(name, f"pilot {name} the target", {"macs": macs}) for name, macs in ends.items()],
        perform=run_pilot,
        resume=resume_command(folder, asdict(request)),
        nested=True,
        describe=lambda best: f"accuracy {points(best['accuracy'])} at {millions(best['macs'])} MACs",
        read=lambda best: _Point(**best),
    )
    smaller, larger = (
        outcome.result for outcome in run_study(folder / PILOTS, study, changes=changes, allow_code=True)
    )
    slope = _slope(smaller, larger)
    return make_objective("calibrated", request.target, (-slope / MARGIN, -slope * MARGIN))


def run_pilot(call: Call) -> dict[str, Any]:
    """Search for the best network of at most the payload's MACs."""
    request = from_dict(CalibratedRequest, call.settings, "settings")
    objective = make_objective("hard", call.payload["macs"])
    settings = SearchSettings(request.space, request.evaluator, PILOT_CONTROLLER, objective, PILOT_TRIALS, request.seed)
    best = best_trial(search_in(call.folder, settings, call.execution, call.stop, call.report), objective)
    if best is None or best.metrics is None:
        raise MnasError(
            f"objective: no trial of {request.evaluator} around the target succeeded; use another target or objective"
        )
    return asdict(_Point(best.cost.macs, best.metrics.accuracy))


@dataclass(frozen=True)
class _Point:
    """The best network of a pilot."""

    macs: int
    accuracy: float

    def __post_init__(self) -> None:
        check_int("macs", self.macs, 1, 10**18)
        check_number("accuracy", self.accuracy, 0, 1)


def _slope(smaller: _Point, larger: _Point) -> float:
    """Growth of log accuracy with log MACs between two networks."""
    if larger.macs <= smaller.macs or not smaller.accuracy or not larger.accuracy:
        return MIN_SLOPE
    gain = math.log(larger.accuracy / smaller.accuracy)
    return max(MIN_SLOPE, gain / math.log(larger.macs / smaller.macs))
