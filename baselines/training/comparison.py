"""Networks trained side by side: the same recipe and data, pairs of one seed, and what their difference is worth."""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from baselines.comparators import counts_of
from baselines.files import file_name, write_new_text
from baselines.intervals import half_of_student
from baselines.memory import device_here
from baselines.training.recipe import Recipe
from baselines.training.run import (
    Subject,
    TrainingSettings,
    begin,
    check_empty,
    network_of,
    opened,
    run_training,
    trained_network,
)
from search_spaces.architecture import check_int, check_name
from search_spaces.errors import MnasError
from search_spaces.serialization import from_dict

if TYPE_CHECKING:
    from baselines.training.train import Progress

COMPARISON = "comparison.json"
EQUAL = ("epochs", "macs")
Watch = Callable[["Progress"], None]


@dataclass(frozen=True)
class Plan:
    """What is trained in a comparison's folder; each training has its own folder in it.

    Attributes:
        networks: names; the last one is the reference.
        seeds: how many trainings each has, with seeds from 0.
        equal: ``epochs``, or ``macs``: as many whole epochs as come nearest to the reference's MACs in all.
    """

    networks: tuple[str, ...]
    seeds: int
    equal: str

    def __post_init__(self) -> None:
        check_int("seeds", self.seeds, 1, 1000)
        check_name("equal", self.equal, EQUAL)
        if len(self.networks) < 2:
            raise MnasError("compare: one SPEC is no comparison; give two or more (see mnas compare --help)")
        for name in self.networks:
            if self.networks.count(name) > 1:
                raise MnasError(f"compare: {name} stands twice; give each network once, under a name of its own")

    def folders(self, folder: Path) -> Iterator[tuple[str, int, Path]]:
        """Name, seed and folder of every training; all networks of a seed follow each other."""
        for seed in range(self.seeds):
            for name in self.networks:
                yield name, seed, folder / f"{file_name(name)}-seed{seed}"


@dataclass(frozen=True)
class Contestant:
    """A network with its trainings.

    Attributes:
        name: of the spec, or ``torchvision:NAME``.
        macs, params: as it is trained.
        epochs: of each training.
        hits: whether an image of the test part was recognised, of shape (seeds, images).
    """

    name: str
    macs: int
    params: int
    epochs: int
    hits: NDArray[np.bool_]

    @property
    def accuracies(self) -> list[float]:
        """Top-1 on the test part, a seed each."""
        return [float(value) for value in self.hits.mean(1)]

    @property
    def mean(self) -> float:
        """Of the accuracies."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float | None:
        """Of the accuracies, from one training to the next; None of one alone."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None


@dataclass(frozen=True)
class PairedDifference:
    """How far a network is above the reference, over pairs of trainings with the same seed.

    Attributes:
        name, reference: of the two.
        mean: of the differences in top-1, a fraction.
        interval: 95 %, for other seeds and other images of the same kind; None of one pair.
    """

    name: str
    reference: str
    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``tie``; ``unknown`` of one pair."""
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "tie"


def paired_difference(contestant: Contestant, reference: Contestant) -> PairedDifference:
    """Compare two networks that were trained with the same seeds and judged on the same images.

    Half of the interval is the root of two squares: Student's t over the pairs, for the luck of training, and 1.96
    standard errors over the images, for the luck of their choice. Without the second, two pairs that happen to differ
    by the same would be certain.
    """
    each = contestant.hits.astype(float) - reference.hits
    pairs = each.mean(1)
    mean = float(pairs.mean())
    if len(pairs) == 1:
        return PairedDifference(contestant.name, reference.name, mean, None)
    half = math.hypot(half_of_student(pairs), 1.96 * float(each.mean(0).std(ddof=1)) / math.sqrt(each.shape[1]))
    return PairedDifference(contestant.name, reference.name, mean, (mean - half, mean + half))


def begin_comparison(folder: Path, plan: Plan, trainings: Sequence[tuple[Subject, TrainingSettings]]) -> None:
    """Make the folder of a comparison, with a folder for every training.

    Args:
        trainings: of every network, in the plan's order, ready to begin; seed and epochs are set here, and batches are
            divided as finely for all as the memory asks for one, since batch norm sees the parts.

    Raises:
        MnasError: the folder is there and not empty, or cannot be made.
    """
    check_empty(folder)
    reference, settings = trainings[-1]
    spent = counts_of(network_of(reference))[0] * settings.recipe.epochs
    finest = max(settings.micro_batches for _, settings in trainings)
    by_name = dict(zip(plan.networks, trainings, strict=True))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Made whole beside its place, so that no kill leaves half of it there.
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".mnas-") as making:
            for name, seed, own in plan.folders(Path(making) / "whole"):
                subject, settings = by_name[name]
                recipe = settings.recipe
                if plan.equal == "macs":
                    recipe = recipe.shortened(max(1, round(spent / counts_of(network_of(subject))[0])))
                begin(own, subject, replace(settings, seed=seed, recipe=recipe, micro_batches=finest))
            write_new_text(Path(making) / "whole" / COMPARISON, json.dumps(asdict(plan), indent=2) + "\n")
            os.replace(Path(making) / "whole", folder)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be made ({error.strerror}); choose another folder") from None


def opened_comparison(folder: Path) -> Plan:
    """What a folder compares. Raises `MnasError` where it holds no comparison."""
    try:
        data = json.loads((folder / COMPARISON).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise MnasError(
            f"resume: {folder} holds no comparison ({COMPARISON} cannot be read); give its folder"
        ) from None
    return from_dict(Plan, data, "comparison")


def _lasting(settings: TrainingSettings) -> Recipe:
    """The recipe but for its length, which equal MACs decide."""
    return replace(settings.recipe, epochs=1, warmup_epochs=0.0)


def run_comparison(
    folder: Path, progress: Callable[[str, int], AbstractContextManager[Watch]], stop: Callable[[], bool]
) -> tuple[list[Contestant], TrainingSettings]:
    """Train all that is not trained yet, and judge every network on the test part.

    Returns:
        The networks with their trainings, and the settings of the reference's.

    Args:
        progress: is given what is trained and its epochs, and gives what is to be told how it goes.
        stop: whether to end after the step that is under way.

    Raises:
        KeyboardInterrupt: it was to stop; what was trained is kept.
        MnasError: as `baselines.training.run.run_training`.
    """
    from baselines.training.train import hits_of

    plan = opened_comparison(folder)
    begun = {own: opened(own) for _, _, own in plan.folders(folder)}
    recipes = {own: _lasting(settings) for own, (_, settings) in begun.items()}
    ((usual, _),) = Counter(recipes.values()).most_common(1)
    for own, recipe in recipes.items():
        if recipe != usual:
            raise MnasError(f"compare: {own} has a recipe of its own by now; compare anew, in another folder")
    device = device_here()
    hits: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in plan.networks}
    trained: dict[str, tuple[Subject, TrainingSettings]] = {}
    for number, (name, seed, own) in enumerate(plan.folders(folder), 1):
        subject, settings = trained[name] = begun[own]
        what = f"{number}/{len(plan.networks) * plan.seeds} {name}, seed {seed}"
        with progress(what, settings.recipe.epochs) as watch:
            data, _ = run_training(own, watch, stop)
        network = trained_network(own)[2].to(device)
        side = network_of(subject).resolution
        hits[name].append(hits_of(network, data.test, side, device, settings.at_once))
    found = [
        Contestant(name, *counts_of(network_of(subject)), settings.recipe.epochs, np.array(hits[name]))
        for name, (subject, settings) in trained.items()
    ]
    return found, trained[plan.networks[-1]][1]
