"""A training's folder: what is trained and how, its state, and in the end its weights.

spec.yaml            the network as it is trained
training.json        data with its fingerprint, recipe, seed
checkpoint.pt        where it is; removed at its end
history.csv          a line an epoch
tensorboard/         the same and more, to watch
weights.safetensors  of the network that is evaluated: the moving average where there is one
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.files import write_new_text
from baselines.owner import lock
from baselines.scalars import Scalars
from baselines.spec import BaselineSpec, Provenance, read_spec, write_spec
from baselines.training.data import ImageData, load_data
from baselines.training.recipe import Recipe
from search_spaces.adaptation import adapted
from search_spaces.errors import MnasError
from search_spaces.serialization import from_dict

if TYPE_CHECKING:
    from baselines.training.train import Progress, Trained
    from search_spaces.network import Network

SETTINGS, SPEC, WEIGHTS, HISTORY = "training.json", "spec.yaml", "weights.safetensors", "history.csv"


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides a training but the network.

    Attributes:
        data: as `baselines.training.data.load_data` takes it.
        fingerprint: of the data; other images are refused.
        classes: names, in the order of the labels.
        recipe: in full.
        seed: of everything random.
        precision, micro_batch, compiled: as `baselines.training.train.train` takes them.
        weights: file of the weights to begin with; empty for none.
    """

    data: str
    fingerprint: str
    classes: tuple[str, ...]
    recipe: Recipe
    seed: int = 0
    precision: str = "auto"
    micro_batch: int | None = None
    compiled: int = 0
    weights: str = ""


def check_installed() -> None:
    """Raise `MnasError` where what trains is not installed: before anything is written."""
    if importlib.util.find_spec("lightning_fabric") is None:
        raise MnasError("train: lightning-fabric is not installed; pip install 'mnas[train]'")


def begin(folder: Path, spec: BaselineSpec, settings: TrainingSettings) -> None:
    """Make the folder of a training.

    Raises:
        MnasError: the folder is there and not empty, or cannot be made.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            what = "holds a training already" if (folder / SETTINGS).exists() else "is there already and is not empty"
            raise MnasError(f"out: {folder} {what}; choose another folder, or go on with --resume")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be made ({error.strerror}); choose another folder") from None
    write_spec(spec, folder / SPEC)
    write_new_text(folder / SETTINGS, json.dumps(asdict(settings), indent=2) + "\n")


def opened(folder: Path) -> tuple[BaselineSpec, TrainingSettings]:
    """What a folder trains, and how.

    Raises:
        MnasError: it holds no training, or its files were damaged.
    """
    file = folder / SETTINGS
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise MnasError(f"resume: {folder} holds no training ({SETTINGS} cannot be read); give its folder") from None
    return read_spec(folder / SPEC), from_dict(TrainingSettings, data, "training")


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keep other processes from training in the folder. Raises `MnasError` where one does."""
    try:
        descriptor = lock(folder)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be locked ({error.strerror}); choose another place") from None
    if descriptor is None:
        raise MnasError(f"resume: another process trains in {folder}; wait for it, or stop it first")
    try:
        yield
    finally:
        os.close(descriptor)


def trained_spec(spec: BaselineSpec, data: ImageData, resolution: int | None, width: float) -> BaselineSpec:
    """The spec of a network as it is trained on data: at its side, with its classes (`search_spaces.adaptation`)."""
    side = resolution or data.side or spec.architecture.resolution
    architecture = adapted(spec.architecture, side, len(data.classes), width)
    if architecture == spec.architecture:
        return spec
    return BaselineSpec(spec.name, architecture, Provenance(f"{spec.name}, adapted to its images by mnas train"))


def run_training(
    folder: Path, watch: Callable[[Progress], None], stop: Callable[[], bool] = lambda: False
) -> tuple[Trained, ImageData]:
    """Train in a folder, from where it is to its end, or until it is to stop.

    Raises:
        KeyboardInterrupt: it was to stop.
        MnasError: as `baselines.training.train.train`, the data is not what it was, or another process trains there.
    """
    from baselines.training.train import CHECKPOINT, train
    from baselines.weights import load_weights, save_weights
    from search_spaces.network import build_network

    spec, settings = opened(folder)
    with owned(folder), Scalars(folder / "tensorboard") as scalars:
        data = load_data(settings.data, settings.seed)
        if data.fingerprint != settings.fingerprint:
            raise MnasError(
                f"data: {settings.data} is not what it was (fingerprint {data.fingerprint}, then "
                f"{settings.fingerprint}); bring the old images back, or begin a new training"
            )
        initial = None
        if settings.weights:
            network = build_network(spec.architecture)
            load_weights(network, Path(settings.weights), keep_classifier=True)
            initial = network.state_dict()

        def watched(progress: Progress) -> None:
            scalars.write(progress.step, _scalars(progress))
            if progress.accuracy is not None:
                _append(folder / HISTORY, progress)
            watch(progress)

        trained = train(
            spec.architecture,
            data,
            settings.recipe,
            seed=settings.seed,
            folder=folder,
            initial=initial,
            precision=settings.precision,
            micro_batch=settings.micro_batch,
            compiled=bool(settings.compiled),
            watch=watched,
            validate_every=1,
            stop=stop,
        )
        if not (folder / WEIGHTS).exists():
            save_weights(trained.averaged, folder / WEIGHTS)  # type: ignore[arg-type]
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return trained, data


def _scalars(progress: Progress) -> Mapping[str, float]:
    values = {"train/loss": progress.loss, "train/learning_rate": progress.rate}
    values["train/images_per_second"] = progress.images_per_second
    return values if progress.accuracy is None else {**values, "val/accuracy": progress.accuracy}


def _append(file: Path, progress: Progress) -> None:
    """Add an epoch's line; one that is there already, of before a kill, is not written twice."""
    try:
        lines = list(csv.reader(file.read_text().splitlines())) if file.exists() else []
        with file.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if not lines:
                writer.writerow(["epoch", "step", "loss", "learning_rate", "val_accuracy"])
            if all(line[0] != str(progress.epoch) for line in lines):
                writer.writerow([progress.epoch, progress.step, progress.loss, progress.rate, progress.accuracy])
    except OSError as error:
        raise MnasError(f"{file}: cannot be written ({error.strerror}); make room, then go on with --resume") from None


def trained_network(folder: Path) -> tuple[BaselineSpec, TrainingSettings, Network]:
    """What a folder has trained: spec, settings, and the network with its weights.

    Raises:
        MnasError: it holds no training, or one that is not at its end.
    """
    from baselines.weights import load_weights
    from search_spaces.network import build_network

    spec, settings = opened(folder)
    if not (folder / WEIGHTS).is_file():
        raise MnasError(f"training: {folder} is not at its end; mnas train --resume goes on with it")
    network = build_network(spec.architecture)
    load_weights(network, folder / WEIGHTS)
    return spec, settings, network
