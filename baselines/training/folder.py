"""The folder of a training: network, settings, state, and the weights at the end.

spec.yaml            network that is trained
training.json        data with its fingerprint, recipe, seed
checkpoint.pt        state of the training, with the best epoch's weights if they are kept; removed at the end
history.csv          one line per epoch
tensorboard/         the same and more, for TensorBoard
weights.safetensors  weights to evaluate: the moving average if there is one, and those of the best epoch if it is kept
raw.safetensors      weights of the last step, if those are others
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.comparators import PREFIX, Comparator, Subject, load_comparator
from baselines.files import replace_file, write_new_text
from baselines.memory import give_back_maps
from baselines.owner import lock
from baselines.spec import BaselineSpec, read_spec, write_spec
from baselines.text import command
from baselines.training.data.sources import ImageData, load_data, load_for_evaluation, located_data
from baselines.training.settings import TrainingSettings, network_of
from search_spaces.architecture import Architecture
from search_spaces.errors import MnasError, shorten
from search_spaces.serialization import from_dict, read_text

if TYPE_CHECKING:
    from torch import Tensor, nn

    from baselines.training.loop import Progress

SETTINGS, SPEC, HISTORY = "training.json", "spec.yaml", "history.csv"
WEIGHTS, RAW_WEIGHTS = "weights.safetensors", "raw.safetensors"


def is_training(folder: Path) -> bool:
    """Whether a folder holds a training."""
    return (folder / SETTINGS).is_file()


def check_empty(folder: Path) -> None:
    """Raise `MnasError` if a folder already exists and is not empty. Called before any work is done."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if is_training(folder):
            resume = command("train", "--resume", folder)
            raise MnasError(
                f"out: {folder} already holds a training; choose another folder, or resume it with: {resume}"
            )
        raise MnasError(f"out: {folder} already exists and is not empty; choose another folder")


def make_empty(folder: Path) -> None:
    """Create a folder. Raises `MnasError` if it already exists and is not empty, or cannot be created."""
    try:
        check_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be created ({error.strerror}); choose another folder") from None


def create_training(folder: Path, subject: Subject, settings: TrainingSettings) -> None:
    """Create the folder of a training.

    Raises:
        MnasError: the folder already exists and is not empty, or cannot be created.
    """
    make_empty(folder)
    if isinstance(subject, BaselineSpec):
        write_spec(subject, folder / SPEC)
    write_new_text(folder / SETTINGS, json.dumps(asdict(settings), indent=2) + "\n")


def change_learning_rate(folder: Path, learning_rate: float) -> None:
    """Change the learning rate of a training that has not ended, before it is resumed.

    Raises:
        FieldError: the learning rate breaks its rule.
        MnasError: the folder holds no training, or one that has ended.
    """
    _, settings = read_training(folder)
    if (folder / WEIGHTS).exists():
        raise MnasError(f"learning_rate: the training in {folder} has ended; start a new one")
    _write_settings(folder, replace(settings, recipe=settings.recipe.with_values(learning_rate=learning_rate)))


def change_place(folder: Path, source: str) -> None:
    """Say where the images of a training are now.

    Raises:
        MnasError: the folder holds no training, or these are other images.
    """
    _, settings = read_training(folder)
    settings = replace(settings, data=located_data(source))
    load_training_data(settings)
    _write_settings(folder, settings)


def _write_settings(folder: Path, settings: TrainingSettings) -> None:
    with locked(folder):
        try:
            text = json.dumps(asdict(settings), indent=2) + "\n"
            replace_file(folder / SETTINGS, lambda stream: stream.write(text.encode()))
        except OSError as error:
            raise MnasError(
                f"{folder}: {SETTINGS} cannot be written ({error.strerror}); free some space and use --resume"
            ) from None


def read_training(folder: Path) -> tuple[Subject, TrainingSettings]:
    """The network and the settings of the training in a folder.

    Raises:
        MnasError: the folder holds no training, or its files are damaged.
    """
    file = folder / SETTINGS
    try:
        data = json.loads(read_text(file, kind="training"))
    except (MnasError, ValueError, RecursionError):
        raise MnasError(
            f"folder: {folder} holds no training ({SETTINGS} cannot be read); use the folder of a training"
        ) from None
    settings = from_dict(TrainingSettings, data, "training")
    if not settings.network:
        return read_spec(folder / SPEC), settings
    if not settings.network.startswith(PREFIX):
        raise MnasError(f"{file}: network: {shorten(settings.network)}: expected {PREFIX}NAME; start a new training")
    subject = load_comparator(settings.network)
    return subject.adapted(settings.resolution, len(settings.classes)), settings


@dataclass(frozen=True)
class Course:
    """How long a training took, and which of its weights are evaluated.

    Attributes:
        epochs: epochs that were completed.
        best: the first epoch with the highest accuracy on the validation part; 0 before the first.
        kept: epoch whose weights are evaluated.
        early: whether the training has ended before all its epochs.
    """

    epochs: int
    best: int
    kept: int
    early: bool


def course_of(folder: Path, settings: TrainingSettings) -> Course:
    """The course of a training that has ended. Raises `MnasError` if its history is damaged."""
    curve = validation_curve(folder)
    epochs = curve[-1][0] if curve else 0
    best = max(curve, key=lambda point: point[1])[0] if curve else 0
    recipe = settings.recipe
    return Course(epochs, best, best if recipe.keep == "best" else epochs, 0 < epochs < recipe.epochs)


def validation_curve(folder: Path) -> list[tuple[int, float]]:
    """Epochs that a training has completed so far, from 1, with the accuracy on its validation part.

    Raises:
        MnasError: the history is damaged.
    """
    history = folder / HISTORY
    try:
        lines = read_text(history, kind="history").splitlines() if history.exists() else []
        rows = list(csv.DictReader(lines))
        curve = [(int(row["epoch"]), float(row["val_accuracy"])) for row in rows]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise MnasError(f"{history}: not a usable history; remove the folder, or start the training again") from None
    if not all(math.isfinite(accuracy) for _, accuracy in curve):
        raise MnasError(f"{history}: an accuracy is not a number; start the training again")
    return curve


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in the folder. Raises `MnasError` if one already does."""
    try:
        descriptor = lock(folder)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be locked ({error.strerror}); choose another folder") from None
    if descriptor is None:
        raise MnasError(f"resume: another process is training in {folder}; wait for it to end, or stop it")
    try:
        yield
    finally:
        os.close(descriptor)


def initial_weights(
    subject: Subject, settings: TrainingSettings, tell: Callable[[str], None] = lambda line: None
) -> Mapping[str, Tensor] | None:
    """Weights to start from; None for fresh ones. Raises `MnasError` if they do not fit or cannot be read.

    Args:
        subject: network of the training.
        settings: settings of the training.
        tell: function that is called with a line about the weights that were taken; says nothing by default.
    """
    import torch

    from baselines.exchange.weights import load_smaller, load_weights
    from baselines.training.batches import step_seed
    from baselines.training.loop import FIRST_WEIGHTS
    from search_spaces.network import build_network

    if not settings.weights or isinstance(subject, Comparator):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed(settings.seed, FIRST_WEIGHTS))  # for the classifier, as without weights
        network = build_network(subject.architecture)
    file, which = Path(settings.weights), settings.weights_of or None
    if settings.from_smaller:
        smaller, classes = _network_of_weights(file)
        other = classes != settings.classes
        load_smaller(
            network, file, smaller=smaller, keep_classifier=other, weights_of=which, seed=settings.seed, tell=tell
        )
    else:
        load_weights(network, file, keep_classifier=True, weights_of=which, tell=tell)
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


def weights_file(place: Path) -> Path:
    """The file of weights at a place, which may be the folder of a training that has ended.

    Raises:
        MnasError: that training has not ended.
    """
    if not is_training(place):
        return place
    if not (place / WEIGHTS).is_file():
        raise _not_complete(place)
    return place / WEIGHTS


def _not_complete(folder: Path) -> MnasError:
    return MnasError(f"training: {folder} is not complete; resume it with: {command('train', '--resume', folder)}")


def _network_of_weights(file: Path) -> tuple[Architecture | None, tuple[str, ...]]:
    """Architecture and classes of the training that wrote a file of weights; None and no classes if none did."""
    if not is_training(file.parent) or file.name not in (WEIGHTS, RAW_WEIGHTS):
        return None, ()
    subject, settings = read_training(file.parent)
    network = network_of(subject)
    return (None if isinstance(network, Comparator) else network), settings.classes


def load_other_data(source: str, settings: TrainingSettings, part: str = "test") -> ImageData:
    """Load other images for the network of a training, read as its own are; see `load_for_evaluation`."""
    about = settings.classes, settings.fingerprint, settings.seed
    return load_for_evaluation(source, *about, part, settings.fit, settings.channels)


def load_training_data(settings: TrainingSettings) -> ImageData:
    """Load the images of a training. Raises `MnasError` if they have changed."""
    data = load_data(settings.data, settings.seed, fit=settings.fit, channels=settings.channels)
    if not data.has(settings.fingerprint):
        raise MnasError(
            f"data: {settings.data} has changed (fingerprint {data.fingerprint}, before {settings.fingerprint}); "
            "restore the images, start a new training, or evaluate on other images with mnas evaluate --data"
        )
    return data


def train_in(folder: Path, data: ImageData | None, watch: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
    """Train as one of the devices, in a folder that is already locked, and write the weights at the end."""
    from baselines.exchange.weights import save_weights
    from baselines.training.checkpoint import CHECKPOINT
    from baselines.training.loop import train

    subject, settings = read_training(folder)
    give_back_maps(at_once=bool(settings.recompute))
    trained = train(
        network_of(subject),
        data or load_training_data(settings),
        settings.recipe,
        seed=settings.seed,
        folder=folder,
        initial=None if (folder / CHECKPOINT).exists() else initial_weights(subject, settings),
        precision=settings.precision,
        micro_batches=settings.micro_batches,
        recompute=bool(settings.recompute),
        compiled=bool(settings.compiled),
        devices=settings.devices,
        threads=settings.threads,
        watch=watch,
        validate_every=1,
        stop=stop,
    )
    if trained.first_rank:
        if trained.averaged is not trained.network and not (folder / RAW_WEIGHTS).exists():
            save_weights(trained.network, folder / RAW_WEIGHTS)
        save_weights(trained.averaged, folder / WEIGHTS)  # last, because this file marks the end of the training
        (folder / CHECKPOINT).unlink(missing_ok=True)


def trained_network(folder: Path, *, raw: bool = False) -> tuple[Subject, TrainingSettings, nn.Module]:
    """The subject, the settings, and the trained network of a training that has ended.

    Args:
        folder: folder of the training.
        raw: whether to use the weights of the last step instead of their moving average or the best epoch's.

    Raises:
        MnasError: the folder holds no training, or one that has not ended.
    """
    from baselines.exchange.weights import load_weights
    from baselines.training.augment import keep_normalisation
    from search_spaces.network import build_network

    subject, settings = read_training(folder)
    if not (folder / WEIGHTS).is_file():
        raise _not_complete(folder)
    network = subject.build() if isinstance(subject, Comparator) else build_network(subject.architecture)
    recipe = settings.recipe
    # Otherwise, WEIGHTS holds the weights of the last step.
    last_differ = bool(recipe.ema) or recipe.keep == "best"
    load_weights(network, folder / (RAW_WEIGHTS if raw and last_differ else WEIGHTS))
    keep_normalisation(network, recipe)
    return subject, settings, network
