"""Networks trained side by side, with the same recipe and data and in pairs of one seed, and their differences."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.comparators import Subject, counts_of
from baselines.files import file_name, write_new_text
from baselines.memory import device_here, free_bytes
from baselines.text import OWN, Count, Side, command, points
from baselines.training.data.sources import ImageData, load_data
from baselines.training.folder import (
    check_empty,
    create_training,
    read_training,
    trained_network,
    validation_curve,
)
from baselines.training.launch import planned, run_training
from baselines.training.recipe import Recipe
from baselines.training.settings import (
    TrainingOptions,
    TrainingSettings,
    check_installed,
    network_of,
    trained_subject,
)
from nas.executors.base import execution_of
from nas.record import COMPARISON_FILE, KNOWN, STUDY_FILE, exists
from nas.studies.comparability import check_distinct, comparison_notes
from nas.studies.contestants import Contestant, Judged, PairedDifference, paired_difference, read_judged
from nas.studies.engine import Call, Job, Study, run_study
from nas.studies.journal import StudyJournal, check_kind
from search_spaces.architecture import check_int, check_name
from search_spaces.errors import MnasError
from search_spaces.serialization import from_dict

if TYPE_CHECKING:
    from baselines.training.loop import Progress

EQUAL = ("epochs", "macs")
KIND = "comparison"


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
    """

    folder: Path
    plan: Plan
    settings: TrainingSettings
    contestants: tuple[Contestant, ...]
    differences: tuple[PairedDifference, ...]
    notes: tuple[str, ...] = ()


def create_comparison(
    folder: Path,
    plan: Plan,
    subjects: Sequence[Subject],
    source: str,
    options: ComparisonOptions,
    execution: Mapping[str, Any] | None = None,
    *,
    resume: str | None = None,
    files: Mapping[str, str] | None = None,
) -> ImageData:
    """Create the folder of a comparison on some images; whatever can be refused is refused first.

    Args:
        folder: folder of the comparison, new or empty.
        plan: plan of the trainings.
        subjects: networks, in the plan's order.
        source: images, as in `baselines.training.data.sources.load_data`.
        options: options of all trainings. Without a memory limit, trainings that run at once share the free memory.
        execution: fields of the execution of `run_comparison`.
        resume: command that resumes it, for messages; `resume_command` by default.
        files: texts of further files of the folder by name, which exist as soon as the folder does. Their names are
            given to `run_comparison` as ``beside``.

    Returns:
        The images.

    Raises:
        MnasError: an option breaks its rule, two networks become the same (`check_distinct`), the images have
            no test part, or the folder cannot be created.
    """
    options.chosen_recipe()
    execution_of(divided(execution or {}))  # raises if it breaks a rule
    check_installed()
    _check_new(folder, resume)
    data = images_to_compare_on(source)
    check_distinct(subjects, [trained_subject(subject, data, options) for subject in subjects], options)
    start_comparison(folder, plan, planned_trainings(subjects, data, options, execution), resume, files)
    return data


def images_to_compare_on(source: str) -> ImageData:
    """The images of a source. Raises `MnasError` if it cannot be read or has no test part."""
    data = load_data(source)
    if not len(data.test):
        raise MnasError(f"data: {source} has no test images; add a folder test, or use one folder to split")
    return data


def planned_trainings(
    subjects: Sequence[Subject],
    data: ImageData,
    options: TrainingOptions,
    execution: Mapping[str, Any] | None = None,
) -> list[tuple[Subject, TrainingSettings]]:
    """Each network as it is trained, and its settings. Without a memory limit, workers share the free memory."""
    from baselines.training.memory_plan import SHARE

    workers = execution_of(divided(execution or {})).workers
    if options.memory is None and workers > 1:
        options = replace(options, memory=int(SHARE * free_bytes(device_here()) / workers))
    return [planned(subject, data, options)[:2] for subject in subjects]


def divided(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an execution; the machine's cores are divided among the workers unless they are given."""
    workers = execution.get("workers", 1)
    return {"cores": max(1, (os.cpu_count() or 1) // workers), **execution} if workers > 1 else {**execution}


def _check_new(folder: Path, resume: str | None) -> None:
    """Raise `MnasError` if a folder already exists and is not empty."""
    if (folder / COMPARISON_FILE).is_file():
        next_step = f"choose another folder, or resume it with: {resume or resume_command(folder)}"
        raise MnasError(f"out: {folder} already holds a comparison; {next_step}")
    check_empty(folder)


def start_comparison(
    folder: Path,
    plan: Plan,
    trainings: Sequence[tuple[Subject, TrainingSettings]],
    resume: str | None = None,
    files: Mapping[str, str] | None = None,
) -> None:
    """Create the folder of a comparison, with a folder for every training.

    Args:
        folder, plan, resume, files: as in `create_comparison`.
        trainings: networks and their settings, in the plan's order. Seed and epochs are set here. All use the number of
            micro-batches of the network that needs most, since batch norm depends on them.

    Raises:
        MnasError: the folder already exists and is not empty, or cannot be created.
    """
    _check_new(folder, resume)
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
    start_trainings(folder, started, {**(files or {}), COMPARISON_FILE: json.dumps(asdict(plan), indent=2) + "\n"})


def start_trainings(
    folder: Path, trainings: Mapping[str, tuple[Subject, TrainingSettings]], files: Mapping[str, str]
) -> None:
    """Create a folder with folders for trainings and some files, all at once, so that a kill leaves no part of it.

    Args:
        folder: the folder, new or empty.
        trainings: networks and their settings by the name of the training's folder.
        files: texts of further files by name.

    Raises:
        MnasError: it cannot be created.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".mnas-") as making:
            whole = Path(making) / "whole"
            for name, (subject, settings) in trainings.items():
                create_training(whole / name, subject, settings)
            for file, text in files.items():
                write_new_text(whole / file, text)
            os.replace(whole, folder)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be created ({error.strerror}); choose another folder") from None


def add_training(folder: Path, subject: Subject, settings: TrainingSettings) -> None:
    """Create the folder of one more training, at once, unless it already exists. Raises `MnasError` if it cannot be."""
    if folder.exists():
        return
    study = folder.absolute().parent
    try:
        # Outside the study's folder, where a kill may leave it.
        with tempfile.TemporaryDirectory(dir=study.parent, prefix=".mnas-") as making:
            create_training(Path(making) / folder.name, subject, settings)
            os.replace(Path(making) / folder.name, folder)
    except OSError as error:
        raise MnasError(f"{folder}: cannot be created ({error.strerror}); free some space and use --resume") from None


def read_comparison(folder: Path) -> Plan:
    """The plan in a folder. Raises `MnasError` if it holds no comparison."""
    try:
        data = json.loads((folder / COMPARISON_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise MnasError(
            f"resume: {folder} holds no comparison ({COMPARISON_FILE} cannot be read); use the folder of one"
        ) from None
    return from_dict(Plan, data, "comparison")


def resume_command(folder: Path) -> str:
    """The command that resumes a comparison."""
    return command("compare", "--train", "--resume", folder)


def _lasting(settings: TrainingSettings) -> Recipe:
    """The recipe without its length, which differs with equal MACs."""
    return replace(settings.recipe, epochs=1, warmup_epochs=0.0)


def run_comparison(
    folder: Path,
    execution: Mapping[str, Any] | None = None,
    *,
    resume: str | None = None,
    beside: Sequence[str] = (),
) -> TrainedComparison:
    """Run the trainings that are not done yet, and judge every network on the validation and the test part.

    Args:
        folder: folder of the comparison.
        execution: fields of the execution to change; one training after the other in this process by default. The
            cores of the machine are divided among several workers.
        resume: command that resumes it, for messages; `resume_command` by default.
        beside: names of further files that the folder may hold (``files`` of `create_comparison`).

    Raises:
        KeyboardInterrupt: it was stopped; finished trainings are kept.
        MnasError: a training failed, its recipe was changed, or the folder belongs to another command.
    """
    plan = read_comparison(folder)
    for file, (kind, commands) in KNOWN.items():
        # A trained comparison whose networks another command makes.
        if file in (COMPARISON_FILE, STUDY_FILE, *beside):
            continue
        if (folder / file).is_file():
            raise MnasError(f"resume: {folder} holds a study of the kind {kind}; use {commands} with it")
    started = {own: read_training(own) for _, _, own in plan.folders(folder)}
    recipes = {own: _lasting(settings) for own, (_, settings) in started.items()}
    ((usual, _),) = Counter(recipes.values()).most_common(1)
    for own, recipe in recipes.items():
        if recipe != usual:
            raise MnasError(f"compare: {own} has another recipe than the others; start a comparison in a new folder")
    jobs = [training_job(own.name, name, seed, *started[own]) for name, seed, own in plan.folders(folder)]
    study = Study(
        kind=KIND,
        settings=asdict(plan),
        jobs=jobs,
        perform=train_and_judge,
        resume=resume or resume_command(folder),
        describe=lambda found: f"top-1 {points(found['top1'])}",
        read=read_judged,
    )
    known = (COMPARISON_FILE, *beside, *(job.key for job in jobs))
    outcomes = run_study(folder, study, changes=divided(execution or {}), beside=known, allow_code=True)
    judged = {outcome.job.key: outcome.result for outcome in outcomes}
    return _complete(folder, plan, {own: (*started[own], judged[own.name]) for own in started})


def read_trained(folder: Path, resume: str | None = None) -> TrainedComparison:
    """The result of a complete comparison; nothing is trained.

    Args:
        folder: folder of the comparison.
        resume: command that resumes it, for messages; `resume_command` by default.

    Raises:
        MnasError: the folder holds no comparison, or trainings are missing.
    """
    plan, found = read_comparison(folder), judged_in(folder, KIND)
    folders = [own for *_, own in plan.folders(folder)]
    done = sum(own.name in found for own in folders)
    if done < len(folders):
        raise MnasError(
            f"{folder}: {done} of {len(folders)} trainings are done; finish it with: {resume or resume_command(folder)}"
        )
    return _complete(folder, plan, {own: (*read_training(own), found[own.name]) for own in folders})


def judged_in(folder: Path, kind: str) -> dict[str, Judged]:
    """What is known of the trainings of a study that are done, by the names of their folders.

    Args:
        folder: folder of the study.
        kind: kind of the study.

    Raises:
        MnasError: the folder holds another kind of study, or its journal is damaged.
    """
    if not exists(StudyJournal, folder):
        return {}
    with StudyJournal.open(folder, allow_code=True) as journal:
        check_kind(journal, kind)
        keys = {job.number: job.key for job in journal.jobs()}
        return {keys[number]: stored.result for number, stored in journal.results(read_judged).items()}


def training_job(key: str, name: str, seed: int, subject: Subject, settings: TrainingSettings) -> Job:
    """The job of `train_and_judge` for one training.

    Args:
        key: name of the training's folder.
        name: name of the network.
        seed: seed of the training.
        subject, settings: network as it is trained, and settings.
    """
    weight = float(counts_of(network_of(subject))[0] * settings.recipe.epochs)
    return Job(key, f"{name}, seed {seed}", {"network": name, "seed": seed}, weight)


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
    notes = tuple(comparison_notes(plan.networks, subjects, settings))
    return TrainedComparison(folder, plan, settings, tuple(found), tuple(differences), notes)


def learning_curves(folder: Path) -> dict[str, list[list[tuple[int, float]]]]:
    """Accuracies on the validation part after each epoch, so far, by network: a list of (epoch, top-1) for each seed.

    Raises:
        MnasError: the folder holds no comparison, or a history is damaged.
    """
    plan = read_comparison(folder)
    curves: dict[str, list[list[tuple[int, float]]]] = {name: [] for name in plan.networks}
    for name, _, own in plan.folders(folder):
        curves[name].append(validation_curve(own))
    return curves


def train_and_judge(call: Call) -> dict[str, Any]:
    """Train one network with one seed in its folder. Returns which images it recognises, as `read_judged` reads it."""
    from baselines.training.loop import DivergenceError
    from baselines.training.predict import hits_of

    _, settings = read_training(call.folder)

    def watch(progress: Progress) -> None:
        text = f"epoch {progress.epoch}/{settings.recipe.epochs}, {progress.images_per_second:,.0f} images/s"
        if progress.accuracy is not None:
            text += f", val {points(progress.accuracy)}"
        call.report(progress.step / progress.steps, text)

    try:
        data, _ = run_training(call.folder, watch, call.stop)
    except DivergenceError as error:
        raise MnasError(f"{error}; start a new comparison with a lower --learning-rate for all networks") from None
    device = device_here()
    subject, _, network = trained_network(call.folder)
    network, side = network.to(device), network_of(subject).resolution
    test, val = (hits_of(network, part, side, device, settings.at_once) for part in (data.test, data.val))
    return Judged(test, val).as_dict()
