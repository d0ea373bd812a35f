"""A search for coefficients with trainings: which depth, width and resolution of a baseline are best at one budget?

Every candidate is trained with the same recipe and the same seeds; then only those that can still be the best get more
seeds (`scaling.studies.racing`). Decisions depend on the validation part alone; accuracies on the test part are
reported. The search is a run: a study (`nas.studies.engine`) in a folder with a folder for every training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines.arguments import fields_of, made, typed
from baselines.files import new_folder
from baselines.notices import say
from baselines.spec import BaselineSpec
from baselines.subjects import Network
from baselines.text import counted, points
from baselines.training.data.sources import ImageData
from baselines.training.folder import read_training
from baselines.training.settings import enlargement
from nas.executors.base import Execution
from nas.studies.contestants import read_judged
from nas.studies.engine import Job, JobOutcome, Study, run_study
from nas.studies.trainings import (
    add_training,
    divided,
    planned_trainings,
    start_trainings,
    train_and_judge,
    training_job,
)
from scaling.compound import Coefficients
from scaling.studies.baseline import StudyOptions, adapted_baseline, as_they_are
from scaling.studies.candidates import Grid, candidate, candidates_of
from scaling.studies.racing import Race, RacingRule, race
from scaling.studies.search_result import (
    BASELINE_FILE,
    KIND,
    SEARCH,
    CoefficientSearch,
    SearchPlan,
    accuracies_of,
    read_result,
)
from search_spaces.errors import MnasError
from search_spaces.serialization import write_yaml

# --- starting ---------------------------------------------------------------------------------------------------------


def create_search(
    folder: Path,
    network: Network,
    source: str,
    grid: Grid,
    rule: RacingRule,
    options: StudyOptions,
    execution: Mapping[str, Any] | None = None,
) -> ImageData:
    """Create the folder of a search on some images; whatever can be refused is refused first.

    Args:
        folder: folder of the search, new or empty.
        network: baseline to scale.
        source: images, as in `baselines.training.data.sources.load_data`.
        grid: grid of coefficients.
        rule: rule by which candidates get more seeds.
        options: options of all trainings. Resolution, width and activation are those of the baseline; every candidate
            is trained at its own resolution.
        execution: fields of the execution of `run_search`.

    Returns:
        The images.

    Raises:
        MnasError: an option breaks its rule, the grid has fewer than two networks that meet its constraint, the budget
            of trainings is too small, the images have no test part, or the folder cannot be created.
    """
    data = SEARCH.images(folder, source, options, execution)
    parent, about = adapted_baseline(network, data, options)
    space = grid.space(parent.architecture)
    found = candidates_of(parent, space)
    rule.trainings(len(found.candidates))  # raises if the budget is too small
    trainings = planned_trainings(found.specs, data, as_they_are(options), execution)
    for (subject, _), spec in zip(trainings, found.specs, strict=True):
        if not isinstance(subject, BaselineSpec) or subject.architecture != spec.architecture:
            raise MnasError(f"grid: {spec.name} cannot be trained as it is on the grid; use other --sides")
    side = parent.architecture.resolution
    baseline = candidate(parent.name, Coefficients(1.0, 1.0, side), parent.architecture)
    large = [text for one in found.candidates if (text := enlargement(one.name, one.resolution, data.sides))]
    notes = (*about, *found.notes, *_about_enlarged(large))
    plan = SearchPlan(baseline, space.constraint(), space.size, len(space.matching), rule, found.candidates, notes)
    # Batch norm depends on the number of micro-batches, so all trainings use that of the network that needs most.
    finest = max(settings.micro_batches for _, settings in trainings)
    nothing = np.full((len(found.candidates), rule.seeds), np.nan)
    started = {
        plan.key(place, seed): (trainings[place][0], replace(trainings[place][1], seed=seed, micro_batches=finest))
        for place, seed in race(nothing, rule).due
    }
    start_trainings(folder, started, {SEARCH.file: plan, BASELINE_FILE: write_yaml(parent.as_dict())})
    return data


def _about_enlarged(texts: Sequence[str]) -> tuple[str, ...]:
    """A note on candidates that see enlarged images: about all of them in one sentence."""
    if len(texts) < 2:
        return tuple(texts)
    others = len(texts) - 1
    return (f"{texts[0]}; so {'is' if others == 1 else 'are'} {counted(others, 'other candidate')}",)


# --- running ----------------------------------------------------------------------------------------------------------


def run_search(folder: Path, execution: Mapping[str, Any] | None = None) -> CoefficientSearch:
    """Run the trainings that the race asks for and that are not done yet.

    Args:
        folder: folder of the search.
        execution: fields of the execution to change; one training after the other in this process by default. The
            cores of the machine are divided among several workers.

    Raises:
        KeyboardInterrupt: it was stopped; finished trainings are kept.
        MnasError: a training failed.
    """
    plan = SEARCH.read(SearchPlan, folder)
    recipes = {read_training(folder / plan.key(place, 0))[1].recipe for place in range(len(plan.candidates))}
    if len(recipes) > 1:
        raise MnasError(f"resume: {folder} has trainings with different recipes; start a search in a new folder")
    nothing = np.full((len(plan.candidates), plan.rule.seeds), np.nan)
    jobs = _jobs(folder, plan, race(nothing, plan.rule))

    def further(outcomes: Sequence[JobOutcome]) -> Sequence[Job]:
        found = {outcome.job.key: outcome.result for outcome in outcomes}
        state = race(accuracies_of(plan, found), plan.rule)
        if not all((folder / plan.key(*due)).exists() for due in state.due):  # a round that no session has started
            say(_progress(plan, state))
        return _jobs(folder, plan, state)

    study = Study(
        kind=KIND,
        settings=asdict(plan),
        jobs=jobs,
        perform=train_and_judge,
        resume=SEARCH.resume(folder),
        grows=True,
        describe=lambda found: f"val {points(found['val_top1'])}",
        read=read_judged,
        further=further,
    )
    beside = (SEARCH.file, BASELINE_FILE, *(job.key for job in jobs))
    run_study(folder, study, changes=divided(execution or {}), beside=beside, allow_code=True)
    return read_result(folder)


def _jobs(folder: Path, plan: SearchPlan, state: Race) -> list[Job]:
    """The jobs of the trainings that a race asks for; their folders are made where they are missing."""
    jobs = []
    for place, seed in state.due:
        subject, settings = read_training(folder / plan.key(place, 0))
        key = plan.key(place, seed)
        add_training(folder / key, subject, replace(settings, seed=seed))
        jobs.append(training_job(key, plan.candidates[place].name, seed, subject, settings))
    return jobs


def _progress(plan: SearchPlan, state: Race) -> str:
    """How far the race is, as a line between two rounds."""
    most = plan.rule.trainings(len(plan.candidates)) - state.spent
    racing = counted(len(state.racing), "candidate")
    return f"{KIND}  {racing} of {len(plan.candidates)} may still be the best; at most {counted(most, 'training')} left"


# --- the Python front door --------------------------------------------------------------------------------------------


@typed
def search_coefficients(
    network: Network,
    *,
    data: str | Path,
    grid: Grid | Mapping[str, Any] | None = None,
    rule: RacingRule | Mapping[str, Any] | None = None,
    options: StudyOptions | Mapping[str, Any] | None = None,
    execution: Execution | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
) -> CoefficientSearch:
    """Search for the best depth, width and resolution of a baseline at one budget, by training candidates.

    Args:
        network: baseline: name, spec file, folder of a training or a search; or a spec or an architecture.
        data: images to train on.
        grid: grid of coefficients and its budget, or some fields of it; twice the baseline's MACs by default.
        rule: when candidates get more seeds, or some fields of it.
        options: options of all trainings, or some of them, such as ``{"epochs": 10}``.
        execution: where and how trainings run, or some fields of it.
        out: folder of the search, new or empty; a new one in runs/ by default.

    Returns:
        The best candidate and all that cannot be told from it; the folder holds every training.

    Raises:
        MnasError: as in `create_search` and `run_search`.
        KeyboardInterrupt: it was stopped; `scaling.resume` resumes it.
        TypeError: a value has a type that its annotation does not allow.
    """
    folder = Path(out) if out is not None else new_folder("scaling-search")
    where = fields_of(execution)
    create_search(
        folder, network, str(data), made(Grid, grid), made(RacingRule, rule), made(StudyOptions, options), where
    )
    return run_search(folder, where)
