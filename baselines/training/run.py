"""A training's folder: what is trained and how, its state, and in the end its weights.

spec.yaml            the network as it is trained
training.json        data with its fingerprint, recipe, seed
checkpoint.pt        where it is; removed at its end
history.csv          a line an epoch
tensorboard/         the same and more, to watch
weights.safetensors  of the network that is evaluated: the moving average where there is one
raw.safetensors      as the last step left them, where there is an average
"""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.comparators import Comparator, load_any
from baselines.files import write_new_text
from baselines.memory import give_back_maps
from baselines.owner import lock
from baselines.scalars import Scalars
from baselines.spec import BaselineSpec, Provenance, read_spec, write_spec
from baselines.training.data import ImageData, load_data
from baselines.training.recipe import PRECISIONS, Recipe
from search_spaces.adaptation import adapted
from search_spaces.architecture import Architecture, check_int, check_name
from search_spaces.errors import FieldError, MnasError
from search_spaces.serialization import from_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

    from baselines.training.memory_plan import MemoryPlan
    from baselines.training.train import Progress

SETTINGS, SPEC, HISTORY = "training.json", "spec.yaml", "history.csv"
HISTORY_COLUMNS = ("epoch", "step", "loss", "learning_rate", "val_accuracy")
WEIGHTS, RAW_WEIGHTS = "weights.safetensors", "raw.safetensors"
# A baseline, or a network of torchvision.
Subject = BaselineSpec | Comparator


@dataclass(frozen=True)
class TrainingSettings:
    """All that decides a training but the network.

    Attributes:
        data: as `baselines.training.data.load_data` takes it.
        recipe: in full.
        seed: of everything random.
        fingerprint: of the data; other images are refused.
        classes: names, in the order of the labels.
        network: ``torchvision:NAME`` of a network that has no spec; empty where `SPEC` has it.
        resolution: of such a network, in pixels.
        precision, micro_batches, recompute, compiled, devices: as `baselines.training.train.train` takes them.
        weights: file of the weights to begin with; empty for none.
    """

    data: str
    recipe: Recipe
    seed: int = 0
    fingerprint: str = ""
    classes: tuple[str, ...] = ()
    network: str = ""
    resolution: int | None = None
    precision: str = "auto"
    micro_batches: int = 1
    recompute: int = 0
    compiled: int = 0
    devices: int = 1
    weights: str = ""

    def __post_init__(self) -> None:
        check_name("precision", self.precision, PRECISIONS)
        check_int("devices", self.devices, 0, 1024)
        check_int("micro_batches", self.micro_batches, 1, self.recipe.batch)
        if self.devices and self.recipe.batch % self.devices:
            raise FieldError("devices", f"{self.devices} do not divide a batch of {self.recipe.batch}; change --batch")

    @property
    def at_once(self) -> int:
        """How many images a device takes at once, at most."""
        return math.ceil(self.recipe.batch / max(1, self.devices) / self.micro_batches)


def check_installed() -> None:
    """Raise `MnasError` where what trains is not installed: before anything is written."""
    if importlib.util.find_spec("lightning_fabric") is None:
        raise MnasError("train: lightning-fabric is not installed; pip install 'mnas[train]'")


def check_empty(folder: Path) -> None:
    """Raise `MnasError` where a folder is there and not empty: before there is any work."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds a training already" if (folder / SETTINGS).exists() else "is there already and is not empty"
        raise MnasError(f"out: {folder} {what}; choose another folder, or go on with --resume")


def make_empty(folder: Path) -> None:
    """Make a folder. Raises `MnasError` where it is there and not empty, or cannot be made."""
    try:
        check_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MnasError(f"out: {folder} cannot be made ({error.strerror}); choose another folder") from None


def begin(folder: Path, subject: Subject, settings: TrainingSettings) -> None:
    """Make the folder of a training.

    Raises:
        MnasError: the folder is there and not empty, or cannot be made.
    """
    make_empty(folder)
    if isinstance(subject, BaselineSpec):
        write_spec(subject, folder / SPEC)
    write_new_text(folder / SETTINGS, json.dumps(asdict(settings), indent=2) + "\n")


def relearn(folder: Path, learning_rate: float) -> None:
    """Give a training that has not come to its end another learning rate, to go on with.

    Raises:
        FieldError: the rate breaks its rule.
        MnasError: the folder holds no such training.
    """
    _, settings = opened(folder)
    if (folder / WEIGHTS).exists():
        raise MnasError(f"learning_rate: the training in {folder} is at its end; begin a new one")
    settings = replace(settings, recipe=settings.recipe.with_values(learning_rate=learning_rate))
    with owned(folder):
        try:
            (folder / f"{SETTINGS}.new").write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
            os.replace(folder / f"{SETTINGS}.new", folder / SETTINGS)
        except OSError as error:
            raise MnasError(f"{folder}: {SETTINGS} cannot be written ({error.strerror}); make room") from None


def opened(folder: Path) -> tuple[Subject, TrainingSettings]:
    """What a folder trains, and how.

    Raises:
        MnasError: it holds no training, or its files were damaged.
    """
    file = folder / SETTINGS
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise MnasError(f"folder: {folder} holds no training ({SETTINGS} cannot be read); give its folder") from None
    settings = from_dict(TrainingSettings, data, "training")
    if not settings.network:
        return read_spec(folder / SPEC), settings
    subject = load_any(settings.network)
    if isinstance(subject, BaselineSpec):
        raise MnasError(f"{file}: network: {settings.network!r} is none of torchvision's; begin a new training")
    return subject.adapted(settings.resolution, len(settings.classes)), settings


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


def network_of(subject: Subject) -> Architecture | Comparator:
    """What `baselines.training.train.train` takes."""
    return subject.architecture if isinstance(subject, BaselineSpec) else subject


def trained_subject(subject: Subject, data: ImageData, resolution: int | None, width: float) -> Subject:
    """A network as it is trained on data: at its side, with its classes (`search_spaces.adaptation`).

    Raises:
        FieldError: resolution or width breaks its rule.
        MnasError: a network of torchvision is asked for another width.
    """
    side = resolution or data.side or network_of(subject).resolution
    if isinstance(subject, Comparator):
        if width != 1:
            raise MnasError(f"width: {subject.name} has one width only; leave --width out")
        return subject.adapted(side, len(data.classes))
    spec = subject
    architecture = adapted(spec.architecture, side, len(data.classes), width)
    if architecture == spec.architecture:
        return spec
    return BaselineSpec(spec.name, architecture, Provenance(f"{spec.name}, adapted to its images by mnas train"))


def planned(
    subject: Subject,
    data: ImageData,
    settings: TrainingSettings,
    *,
    resolution: int | None = None,
    width: float = 1.0,
    memory: float | None = None,
    micro_batch: int | None = None,
) -> tuple[Subject, TrainingSettings, MemoryPlan]:
    """A training, ready to begin: the network as it is trained, all settings, and the memory plan among them.

    Args:
        subject: a baseline or a comparator.
        settings: what a person chose; ``devices`` 0 for all GPUs, or one process; a batch of more images than there are
            becomes one of all.
        resolution, width: as `baselines.training.run.trained_subject` takes them.
        memory, micro_batch: as `plan_memory` takes limit and micro-batch.

    Raises:
        FieldError, MnasError: something breaks its rule or does not fit.
    """
    import torch

    from baselines.training.memory_plan import plan_memory

    if isinstance(subject, Comparator) and settings.weights:
        raise MnasError(f"weights: {subject.name} begins with fresh ones; leave --weights out")
    subject = trained_subject(subject, data, resolution, width)
    gpus = torch.cuda.device_count()
    check_devices(settings.devices, gpus)
    batch, count = settings.recipe.batch, len(data.train)
    devices = settings.devices or next(some for some in range(max(1, gpus), 0, -1) if batch % some == 0)
    if devices > count:
        raise MnasError(f"devices: {devices} are more than the {count} images to train on; give fewer")
    settings = replace(
        settings,
        data=_absolute(settings.data),
        weights=settings.weights and _absolute(settings.weights),
        recipe=settings.recipe.with_values(batch=min(batch, count) // devices * devices),
        fingerprint=data.fingerprint,
        classes=data.classes,
        network=subject.name if isinstance(subject, Comparator) else "",
        resolution=subject.resolution if isinstance(subject, Comparator) else None,
        devices=devices,
    )
    _initial(subject, settings)  # which says now what is wrong with the weights, before there is a folder
    plan = plan_memory(
        network_of(subject),
        data,
        settings.recipe,
        limit=None if memory is None else int(memory),
        micro_batch=micro_batch,
        precision=settings.precision,
        devices=settings.devices,
        compiled=bool(settings.compiled),
    )
    return subject, replace(settings, micro_batches=plan.micro_batches, recompute=int(plan.recompute)), plan


def check_devices(devices: int, gpus: int) -> None:
    """Raise `MnasError` where a training wants more GPUs than there are; without any it is processes on the CPU."""
    if gpus and devices > gpus:
        raise MnasError(f"devices: {devices} are more than the {gpus} GPUs here; train where there are as many")


def _absolute(source: str) -> str:
    """A path that is there, so that it is found from every folder; a data set's name as it is."""
    prefix = "hf:" if source.startswith("hf:") else ""  # whose sets may be folders too
    path = Path(source.removeprefix(prefix))
    return f"{prefix}{path.absolute()}" if path.exists() else source


def _initial(subject: Subject, settings: TrainingSettings) -> Mapping[str, Tensor] | None:
    """Weights to begin with; None for fresh ones. Raises `MnasError` where they do not fit or cannot be read."""
    from baselines.weights import load_weights
    from search_spaces.network import build_network

    if not settings.weights or isinstance(subject, Comparator):
        return None
    network = build_network(subject.architecture)
    load_weights(network, Path(settings.weights), keep_classifier=True)
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


def run_training(
    folder: Path,
    watch: Callable[[Progress], None],
    stop: Callable[[], bool] = lambda: False,
    data: ImageData | None = None,
) -> tuple[ImageData, int]:
    """Train in a folder, from where it is to its end, or until it is to stop.

    Args:
        data: that the training was begun with, where it is at hand; None to read it.

    Returns:
        The data, and how many steps it was trained for.

    Raises:
        KeyboardInterrupt: it was to stop.
        MnasError: as `baselines.training.train.train`, the data is not what it was, or another process trains there.
    """
    _, settings = opened(folder)
    with owned(folder), Scalars(folder / "tensorboard") as scalars:
        data = data or data_of(settings)
        if (folder / WEIGHTS).exists():
            from baselines.training.train import CHECKPOINT

            (folder / CHECKPOINT).unlink(missing_ok=True)  # of a training that was killed in its last moment
            return data, _last_step(folder)

        def watched(progress: Progress) -> None:
            scalars.write(progress.step, _scalars(progress))
            if progress.accuracy is not None:
                _append(folder / HISTORY, progress)
            watch(progress)

        if settings.devices == 1:
            train_in(folder, data, watched, stop)
        else:
            from baselines.training.ranks import train_in_ranks

            train_in_ranks(folder, settings.devices, watched, stop)
    return data, _last_step(folder)


def data_of(settings: TrainingSettings) -> ImageData:
    """The images of a training. Raises `MnasError` where they are not what they were."""
    data = load_data(settings.data, settings.seed)
    if data.fingerprint != settings.fingerprint:
        raise MnasError(
            f"data: {settings.data} is not what it was (fingerprint {data.fingerprint}, then "
            f"{settings.fingerprint}); bring the old images back, begin a new training, or have others judged "
            "(mnas evaluate --data)"
        )
    return data


def train_in(folder: Path, data: ImageData | None, watch: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
    """Train in a folder that is owned, as one of its devices, and write the weights in the end."""
    from baselines.training.train import CHECKPOINT, train
    from baselines.weights import save_weights

    subject, settings = opened(folder)
    give_back_maps(at_once=bool(settings.recompute))
    trained = train(
        network_of(subject),
        data or data_of(settings),
        settings.recipe,
        seed=settings.seed,
        folder=folder,
        initial=None if (folder / CHECKPOINT).exists() else _initial(subject, settings),
        precision=settings.precision,
        micro_batches=settings.micro_batches,
        recompute=bool(settings.recompute),
        compiled=bool(settings.compiled),
        devices=settings.devices,
        watch=watch,
        validate_every=1,
        stop=stop,
    )
    if trained.first_rank:
        if trained.averaged is not trained.network and not (folder / RAW_WEIGHTS).exists():
            save_weights(trained.network, folder / RAW_WEIGHTS)
        save_weights(trained.averaged, folder / WEIGHTS)  # last: where it is, the training is at its end
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _scalars(progress: Progress) -> Mapping[str, float]:
    values = {"train/loss": progress.loss, "train/learning_rate": progress.rate}
    values["train/images_per_second"] = progress.images_per_second
    return values if progress.accuracy is None else {**values, "val/accuracy": progress.accuracy}


def _append(file: Path, progress: Progress) -> None:
    """Add an epoch's line, in the place of its own and later ones of before a kill, which another rate may have had."""
    try:
        lines = list(csv.reader(file.read_text().splitlines()))[1:] if file.exists() else []
        lines = [line for line in lines if line and line[0].isdigit() and int(line[0]) < progress.epoch]
        values = [progress.epoch, progress.step, progress.loss, progress.rate, progress.accuracy]
        making = file.with_suffix(".new")
        with making.open("w", newline="") as stream:
            csv.writer(stream).writerows([HISTORY_COLUMNS, *lines, values])
        os.replace(making, file)
    except OSError as error:
        raise MnasError(f"{file}: cannot be written ({error.strerror}); make room, then go on with --resume") from None


def _last_step(folder: Path) -> int:
    """The step of the last line of the history."""
    try:
        return int(list(csv.reader((folder / HISTORY).read_text().splitlines()))[-1][1])
    except (OSError, ValueError, IndexError):
        return 0


def trained_network(folder: Path, *, raw: bool = False) -> tuple[Subject, TrainingSettings, nn.Module]:
    """What a folder has trained: network with its weights, and the settings.

    Args:
        raw: the weights as the last step left them, not their moving average.

    Raises:
        MnasError: it holds no training, or one that is not at its end.
    """
    from baselines.weights import load_weights
    from search_spaces.network import build_network

    subject, settings = opened(folder)
    if not (folder / WEIGHTS).is_file():
        raise MnasError(f"training: {folder} is not at its end; mnas train --resume goes on with it")
    network = subject.build() if isinstance(subject, Comparator) else build_network(subject.architecture)
    # Without an average, the weights are the last ones themselves.
    load_weights(network, folder / (RAW_WEIGHTS if raw and settings.recipe.ema else WEIGHTS))
    return subject, settings, network
