"""Networks trained side by side, with the same recipe and data and in pairs of one seed, and their differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines.comparators import Subject, counts_of
from baselines.files import file_name
from baselines.text import OWN, Count, Side, points
from baselines.training.data.sources import ImageData
from baselines.training.folder import (
    read_training,
    validation_curve,
)
from baselines.training.recipe import Recipe
from baselines.training.settings import (
    TrainingOptions,
    TrainingSettings,
    network_of,
    trained_subject,
)
from nas.record import COMPARISON_FILE, KNOWN, STUDY_FILE
from nas.studies.comparability import check_distinct, comparison_notes
from nas.studies.contestants import Contestant, Judged, PairedDifference, paired_difference, read_judged
from nas.studies.engine import Study, run_study
from nas.studies.trainings import (
    StudyKind,
    divided,
    judged_in,
    planned_trainings,
    start_trainings,
    train_and_judge,
    training_job,
)
from search_spaces.architecture import check_int, check_name
from search_spaces.errors import MnasError

EQUAL = ("epochs", "macs")
# Trainings of equal MACs whose whole epochs differ by more than this share are named.
MACS_TOLERANCE = 0.1
COMPARISON = StudyKind("comparison", COMPARISON_FILE, ("compare",))


@dataclass(frozen=True)
class Plan:
    """The trainings of a comparison; each has its own folder in the comparison's folder.

    Attributes:
        networks: names; the last one is the reference.
        seeds: number of trainings of each network, with seeds from 0.
        equal: what all trainings have in common: epochs, or macs (the number of whole epochs that comes closest to the
            reference's total MACs).
    """

    networks: tuple[str, ...]
    seeds: Count = 3
    equal: str = "epochs"

    def __post_init__(self) -> None:
        check_int("seeds", self.seeds, 1, 1000)
        check_name("equal", self.equal, EQUAL)
        if len(self.networks) < 2:
            raise MnasError("compare: expected two or more SPEC (see mnas compare --help)")
        for name in self.networks:
            if self.networks.count(name) > 1:
                raise MnasError(f"compare: {name} is given twice; remove one, or give it another name")

    def folders(self, folder: Path) -> Iterator[tuple[str, int, Path]]:
        """Name, seed and folder of every training; all networks of a seed follow each other."""
        for seed in range(self.seeds):
            for name in self.networks:
                yield name, seed, folder / f"{file_name(name)}-seed{seed}"


@dataclass(frozen=True)
class ComparisonOptions(TrainingOptions):
    """Options of all trainings of a comparison.

    Attributes:
        resolution: side of the images in pixels for all networks; own for that of each, none for that of the images.
    """

    resolution: Side | None = OWN


@dataclass(frozen=True)
class TrainedComparison:
    """A complete comparison.

    Attributes:
        folder: folder of the trainings.
        plan: plan of the trainings.
        settings: settings of the reference's training.
        contestants: networks with their trainings, the reference last.
        differences: differences of the other networks from the reference, on the test part.
        notes: sentences on what makes the networks hard to compare, such as enlarged images.
        curves: accuracy on the validation part after each epoch, by network: (epoch, top-1) for each seed.
    """

    folder: Path
    plan: Plan
    settings: TrainingSettings
    contestants: tuple[Contestant, ...]
    differences: tuple[PairedDifference, ...]
    notes: tuple[str, ...]
    curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]] = field(hash=False)


def create_comparison(
    folder: Path,
    plan: Plan,
    subjects: Sequence[Subject],
    data: ImageData,
    options: ComparisonOptions,
    execution: Mapping[str, Any] | None = None,
    *,
    kind: StudyKind = COMPARISON,
    stored: object = None,
) -> None:
    """Create the folder of a comparison on some images; whatever can be refused is refused first.

    Args:
        folder: folder of the comparison, new or empty.
        plan: plan of the trainings.
        subjects: networks, in the plan's order.
        data: images, from `StudyKind.images`.
        options: options of all trainings. Without a memory limit, trainings that run at once share the free memory.
        execution: fields of the execution of `run_comparison`.
        kind: kind of study that the comparison is part of.
        stored: for another kind than a comparison, a dataclass: content of its file, which exists as soon as the
            folder does.

    Raises:
        MnasError: two networks become the same (`check_distinct`), or the folder cannot be created.
    """
    if plan.equal == "macs" and options.chosen_recipe().patience:
        raise MnasError("patience: cannot be combined with --equal macs, which fixes the epochs of each network")
    check_distinct(subjects, [trained_subject(subject, data, options) for subject in subjects], options)
    start_comparison(folder, plan, planned_trainings(subjects, data, options, execution), kind, stored)


def start_comparison(
    folder: Path,
    plan: Plan,
    trainings: Sequence[tuple[Subject, TrainingSettings]],
    kind: StudyKind = COMPARISON,
    stored: object = None,
) -> None:
    """Create the folder of a comparison, with a folder for every training.

    Args:
        folder, plan, kind, stored: as in `create_comparison`.
        trainings: networks and their settings, in the plan's order. Seed and epochs are set here. All use the number of
            micro-batches of the network that needs most, since batch norm depends on them.

    Raises:
        MnasError: the folder already exists and is not empty, or cannot be created.
    """
    kind.check_new(folder)
    reference, settings = trainings[-1]
    spent = counts_of(network_of(reference))[0] * settings.recipe.epochs
    finest = max(settings.micro_batches for _, settings in trainings)
    by_name = dict(zip(plan.networks, trainings, strict=True))
    started = {}
    for name, seed, own in plan.folders(folder):
        subject, settings = by_name[name]
        recipe = settings.recipe
        if plan.equal == "macs":
            recipe = recipe.shortened(max(1, round(spent / counts_of(network_of(subject))[0])))
        started[own.name] = subject, replace(settings, seed=seed, recipe=recipe, micro_batches=finest)
    start_trainings(folder, started, {COMPARISON_FILE: plan} | ({} if stored is None else {kind.file: stored}))


def read_comparison(folder: Path) -> Plan:
    """The plan in a folder. Raises `MnasError` if it holds no comparison."""
    return COMPARISON.read(Plan, folder)


def _lasting(settings: TrainingSettings) -> Recipe:
    """The recipe without its length, which differs with equal MACs."""
    return replace(settings.recipe, epochs=1, warmup_epochs=0.0)


def run_comparison(
    folder: Path,
    execution: Mapping[str, Any] | None = None,
    kind: StudyKind = COMPARISON,
) -> TrainedComparison:
    """Run the trainings that are not done yet, and judge every network on the validation and the test part.

    Args:
        folder: folder of the comparison.
        execution: fields of the execution to change; one training after the other in this process by default. The
            cores of the machine are divided among several workers.
        kind: kind of study that the comparison is part of.

    Raises:
        KeyboardInterrupt: it was stopped; finished trainings are kept.
        MnasError: a training failed, its recipe was changed, or the folder belongs to another command.
    """
    plan = read_comparison(folder)
    for file, (other, commands) in KNOWN.items():
        if file not in (COMPARISON_FILE, STUDY_FILE, kind.file) and (folder / file).is_file():
            raise MnasError(f"resume: {folder} holds a study of the kind {other}; use {commands} with it")
    started = {own: read_training(own) for _, _, own in plan.folders(folder)}
    recipes = {own: _lasting(settings) for own, (_, settings) in started.items()}
    ((usual, _),) = Counter(recipes.values()).most_common(1)
    for own, recipe in recipes.items():
        if recipe != usual:
            raise MnasError(f"compare: {own} has another recipe than the others; start a comparison in a new folder")
    jobs = [training_job(own.name, name, seed, *started[own]) for name, seed, own in plan.folders(folder)]
    study = Study(
        kind=COMPARISON.name,
        label=kind.name,
        settings=asdict(plan),
        jobs=jobs,
        perform=train_and_judge,
        resume=kind.resume(folder),
        describe=lambda found: f"top-1 {points(found['top1'])}",
        read=read_judged,
    )
    known = (COMPARISON_FILE, kind.file, *(job.key for job in jobs))
    outcomes = run_study(folder, study, changes=divided(execution or {}), beside=known, allow_code=True)
    judged = {outcome.job.key: outcome.result for outcome in outcomes}
    return _complete(folder, plan, {own: (*started[own], judged[own.name]) for own in started})


def read_result(folder: Path, kind: StudyKind = COMPARISON) -> TrainedComparison:
    """The result of a complete comparison; nothing is trained.

    Args:
        folder: folder of the comparison.
        kind: kind of study that the comparison is part of.

    Raises:
        MnasError: the folder holds no comparison, or trainings are missing.
    """
    plan, found = read_comparison(folder), judged_in(folder, COMPARISON.name)
    folders = [own for *_, own in plan.folders(folder)]
    done = sum(own.name in found for own in folders)
    if done < len(folders):
        raise MnasError(f"{folder}: {done} of {len(folders)} trainings are done; finish it with: {kind.resume(folder)}")
    return _complete(folder, plan, {own: (*read_training(own), found[own.name]) for own in folders})


def _complete(
    folder: Path, plan: Plan, trainings: Mapping[Path, tuple[Subject, TrainingSettings, Judged]]
) -> TrainedComparison:
    """The comparison of trainings that are all done, by their folders."""
    for part, sizes in (
        ("test", {len(judged.test) for *_, judged in trainings.values()}),
        ("validation", {len(judged.val) for *_, judged in trainings.values() if judged.val is not None}),
    ):
        if len(sizes) > 1:
            raise MnasError(f"compare: {folder} has results on different {part} images; start a new comparison")
    found, subjects = [], []
    for name in plan.networks:
        own = [trainings[path] for other, _, path in plan.folders(folder) if other == name]
        subject, settings, _ = own[0]
        val = [judged.val for *_, judged in own if judged.val is not None]
        subjects.append(subject)
        found.append(
            Contestant(
                name,
                *counts_of(network_of(subject)),
                epochs=settings.recipe.epochs,
                hits=np.array([judged.test for *_, judged in own]),
                resolution=network_of(subject).resolution,
                val_hits=np.array(val) if len(val) == len(own) else None,
            )
        )
    differences = [paired_difference(one, found[-1]) for one in found[:-1]]
    notes = [*comparison_notes(plan.networks, subjects, settings)]
    if plan.equal == "macs":
        notes += _unequal(found)
    return TrainedComparison(
        folder, plan, settings, tuple(found), tuple(differences), tuple(notes), _curves(folder, plan)
    )


def _unequal(found: Sequence[Contestant]) -> Iterator[str]:
    """Which trainings do not have the MACs of the reference's, the last, since epochs are whole."""
    spent = found[-1].macs * found[-1].epochs
    for one in found[:-1]:
        ratio = one.macs * one.epochs / spent
        if abs(ratio - 1) > MACS_TOLERANCE:
            epochs = "one epoch alone has" if one.epochs == 1 else f"its {one.epochs} epochs have"
            yield f"{one.name} is not trained with equal MACs: {epochs} {ratio:.3g} times those of {found[-1].name}"


def _curves(folder: Path, plan: Plan) -> dict[str, list[list[tuple[int, float]]]]:
    """Learning curves by network. Raises `MnasError` if a history is damaged."""
    curves: dict[str, list[list[tuple[int, float]]]] = {name: [] for name in plan.networks}
    for name, _, own in plan.folders(folder):
        curves[name].append(validation_curve(own))
    return curves
