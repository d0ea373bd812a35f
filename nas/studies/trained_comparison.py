"""Networks trained side by side, with the same recipe and data and in pairs of one seed, and their differences."""

from __future__ import annotations

import base64
import json
import math
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines.comparators import Subject, counts_of
from baselines.files import file_name, write_new_text
from baselines.memory import device_here, free_bytes
from baselines.statistics import half_of_student
from baselines.text import Count, command, points
from baselines.training.data.sources import ImageData, load_data
from baselines.training.folder import check_empty, create_training, read_training, trained_network
from baselines.training.launch import planned, run_training
from baselines.training.recipe import Recipe
from baselines.training.settings import TrainingOptions, TrainingSettings, check_installed, network_of
from nas.executors.base import execution_of
from nas.record import COMPARISON_FILE
from nas.studies.engine import Call, Job, Study, run_study
from search_spaces.architecture import check_int, check_name
from search_spaces.errors import MnasError
from search_spaces.serialization import from_dict

if TYPE_CHECKING:
    from baselines.training.loop import Progress

EQUAL = ("epochs", "macs")


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
class Contestant:
    """A network with its trainings.

    Attributes:
        name: name of the spec, or ``torchvision:NAME``.
        macs, params: counts of the network as it is trained.
        epochs: number of epochs of each training.
        hits: whether each image of the test part was recognised, of shape (seeds, images).
    """

    name: str
    macs: int
    params: int
    epochs: int
    hits: NDArray[np.bool_]

    @property
    def accuracies(self) -> list[float]:
        """Top-1 on the test part, one per seed."""
        return [float(value) for value in self.hits.mean(1)]

    @property
    def mean(self) -> float:
        """Mean of the accuracies."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float | None:
        """Standard deviation of the accuracies between trainings; None for a single training."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


@dataclass(frozen=True)
class PairedDifference:
    """Difference of a network from the reference, over pairs of trainings with the same seed.

    Attributes:
        name, reference: names of the two.
        mean: mean of the differences in top-1, a fraction.
        interval: 95 % interval for other seeds and other images of the same kind; None for a single pair.
    """

    name: str
    reference: str
    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``tie``; ``unknown`` for a single pair."""
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "tie"


def paired_difference(contestant: Contestant, reference: Contestant) -> PairedDifference:
    """Compare two networks that were trained with the same seeds and judged on the same images.

    Half of the interval is the root of a sum of two squares: Student's t over the pairs, for the randomness of
    training, and 1.96 standard errors over the images, for the choice of images. Without the second, two pairs that
    happen to have the same difference would be certain.
    """
    each = contestant.hits.astype(float) - reference.hits
    pairs = each.mean(1)
    mean = float(pairs.mean())
    if len(pairs) == 1:
        return PairedDifference(contestant.name, reference.name, mean, None)
    half = math.hypot(half_of_student(pairs), 1.96 * float(each.mean(0).std(ddof=1)) / math.sqrt(each.shape[1]))
    return PairedDifference(contestant.name, reference.name, mean, (mean - half, mean + half))


@dataclass(frozen=True)
class TrainedComparison:
    """A complete comparison.

    Attributes:
        folder: folder of the trainings.
        plan: plan of the trainings.
        settings: settings of the reference's training.
        contestants: networks with their trainings, the reference last.
        differences: differences of the other networks from the reference.
    """

    folder: Path
    plan: Plan
    settings: TrainingSettings
    contestants: tuple[Contestant, ...]
    differences: tuple[PairedDifference, ...]


def create_comparison(
    folder: Path,
    plan: Plan,
    subjects: Sequence[Subject],
    source: str,
    options: TrainingOptions,
    execution: Mapping[str, Any] | None = None,
) -> ImageData:
    """Create the folder of a comparison on some images; whatever can be refused is refused first.

    Args:
        folder: folder of the comparison, new or empty.
        plan: plan of the trainings.
        subjects: networks, in the plan's order.
        source: images, as in `baselines.training.data.sources.load_data`.
        options: options of all trainings. Without a memory limit, trainings that run at once share the free memory.
        execution: fields of the execution of `run_comparison`.

    Returns:
        The images.

    Raises:
        MnasError: an option breaks its rule, the images have no test part, or the folder cannot be created.
    """
    from baselines.training.memory_plan import SHARE

    options.chosen_recipe()
    workers = execution_of(divided(execution or {})).workers
    check_installed()
    _check_new(folder)
    data = load_data(source)
    if not len(data.test):
        raise MnasError(f"data: {source} has no test images; add a folder test, or use one folder to split")
    if options.memory is None and workers > 1:
        options = replace(options, memory=int(SHARE * free_bytes(device_here()) / workers))
    start_comparison(folder, plan, [planned(subject, data, options)[:2] for subject in subjects])
    return data


def divided(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an execution; the machine's cores are divided among the workers unless they are given."""
    workers = execution.get("workers", 1)
    return {"cores": max(1, (os.cpu_count() or 1) // workers), **execution} if workers > 1 else {**execution}


def _check_new(folder: Path) -> None:
    """Raise `MnasError` if a folder already exists and is not empty."""
    if (folder / COMPARISON_FILE).is_file():
        next_step = f"choose another folder, or resume it with: {resume_command(folder)}"
        raise MnasError(f"out: {folder} already holds a comparison; {next_step}")
    check_empty(folder)


def start_comparison(folder: Path, plan: Plan, trainings: Sequence[tuple[Subject, TrainingSettings]]) -> None:
    """Create the folder of a comparison, with a folder for every training.

    Args:
        trainings: networks and their settings, in the plan's order. Seed and epochs are set here. All use the number of
            micro-batches of the network that needs most, since batch norm depends on them.

    Raises:
        MnasError: the folder already exists and is not empty, or cannot be created.
    """
    _check_new(folder)
    reference, settings = trainings[-1]
    spent = counts_of(network_of(reference))[0] * settings.recipe.epochs
    finest = max(settings.micro_batches for _, settings in trainings)
    by_name = dict(zip(plan.networks, trainings, strict=True))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Created under another name and then moved, so that a kill leaves no partial folder.
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".mnas-") as making:
            for name, seed, own in plan.folders(Path(making) / "whole"):
                subject, settings = by_name[name]
                recipe = settings.recipe
                if plan.equal == "macs":
                    recipe = recipe.shortened(max(1, round(spent / counts_of(network_of(subject))[0])))
                create_training(own, subject, replace(settings, seed=seed, recipe=recipe, micro_batches=finest))
            write_new_text(Path(making) / "whole" / COMPARISON_FILE, json.dumps(asdict(plan), indent=2) + "\n")
            os.replace(Path(making) / "whole", folder)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be created ({error.strerror}); choose another folder") from None


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


def run_comparison(folder: Path, execution: Mapping[str, Any] | None = None) -> TrainedComparison:
    """Run the trainings that are not done yet, and judge every network on the test part.

    Args:
        folder: folder of the comparison.
        execution: fields of the execution to change; one training after the other in this process by default. The
            cores of the machine are divided among several workers.

    Raises:
        KeyboardInterrupt: it was stopped; finished trainings are kept.
        MnasError: a training failed, or its recipe was changed.
    """
    plan = read_comparison(folder)
    started = {own: read_training(own) for _, _, own in plan.folders(folder)}
    recipes = {own: _lasting(settings) for own, (_, settings) in started.items()}
    ((usual, _),) = Counter(recipes.values()).most_common(1)
    for own, recipe in recipes.items():
        if recipe != usual:
            raise MnasError(f"compare: {own} has another recipe than the others; start a comparison in a new folder")
    jobs = []
    for name, seed, own in plan.folders(folder):
        subject, settings = started[own]
        weight = float(counts_of(network_of(subject))[0] * settings.recipe.epochs)
        jobs.append(Job(own.name, f"{name}, seed {seed}", {"network": name, "seed": seed}, weight))
    study = Study(
        kind="comparison",
        settings=asdict(plan),
        jobs=jobs,
        perform=train_and_judge,
        resume=resume_command(folder),
        describe=lambda found: f"top-1 {points(found['top1'])}",
        read=_unpacked,
    )
    beside = (COMPARISON_FILE, *(job.key for job in jobs))
    outcomes = run_study(folder, study, changes=divided(execution or {}), beside=beside, allow_code=True)
    if len({len(outcome.result) for outcome in outcomes}) > 1:
        raise MnasError(f"compare: {folder} has results on different test images; start a new comparison")
    found = []
    for name in plan.networks:
        results = [outcome.result for outcome in outcomes if outcome.job.payload["network"] == name]
        subject, settings = started[next(path for other, _, path in plan.folders(folder) if other == name)]
        hits = np.array(results)
        found.append(Contestant(name, *counts_of(network_of(subject)), settings.recipe.epochs, hits))
    differences = [paired_difference(one, found[-1]) for one in found[:-1]]
    return TrainedComparison(folder, plan, settings, tuple(found), tuple(differences))


def train_and_judge(call: Call) -> dict[str, Any]:
    """Train one network with one seed in its folder. Returns which images of the test part it recognises."""
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
    hits = hits_of(network.to(device), data.test, network_of(subject).resolution, device, settings.at_once)
    packed = base64.b64encode(np.packbits(hits).tobytes()).decode()
    return {"images": len(hits), "hits": packed, "top1": float(hits.mean())}


def _unpacked(result: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Whether each image was recognised, of shape (images,)."""
    packed = np.frombuffer(base64.b64decode(result["hits"]), dtype=np.uint8)
    images = int(result["images"])
    if len(packed) != math.ceil(images / 8):
        raise ValueError(f"it has {len(packed)} bytes of hits for {images} images")
    return np.unpackbits(packed, count=images).astype(bool)
