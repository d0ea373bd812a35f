"""Options and settings of a training, and the network adapted to its data."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.arguments import freeze_lists
from baselines.comparators import Comparator, Subject
from baselines.spec import BaselineSpec, Provenance
from baselines.text import OWN, Count, Quantity, Side, counted
from baselines.training.data.decoding import check_channels
from baselines.training.data.fit import CROP, FITS
from baselines.training.data.sources import ImageData
from baselines.training.recipe import PRECISIONS, Recipe
from baselines.training.recipe_files import DEFAULT, chosen_recipe
from search_spaces.adaptation import adapted
from search_spaces.architecture import MAX_RESOLUTION, RGB, Architecture, check_int, check_name
from search_spaces.errors import FieldError, MnasError, not_installed, shorten

# More than any machine has.
MAX_THREADS = 2**16


@dataclass(frozen=True)
class ShortTraining:
    """Options of every training, including the short one of a proxy.

    Attributes:
        recipe: name of the recipe, or a TOML file with one (mnas recipes).
        set: KEY=VALUE, a value that replaces that of the recipe; can be given more than once.
        epochs: passes over the images (default: those of the recipe).
        resolution: side of the images in pixels; own for that of each network (default: the images' own).
        width: factor on all channels.
        no_flip: do not flip images left to right, as recipes do (IDX files of digits and letters never are).
        fit: how images that are not square become square (default: by their shapes).
        channels: channels to read images with, and of the network: 1 for grey, 3 for RGB, 4 for RGBA (default: 3).
        balance: how classes with few images count (default: as the recipe says).
    """

    recipe: str = DEFAULT
    set: tuple[str, ...] = ()
    epochs: Count | None = None
    resolution: Side | None = None
    width: float = 1.0
    no_flip: bool = False
    fit: str | None = None
    channels: int | None = None
    balance: str | None = None

    def __post_init__(self) -> None:
        freeze_lists(self)

    @property
    def image_channels(self) -> int:
        """Channels to read images with where the network does not say."""
        return RGB if self.channels is None else self.channels

    def chosen_recipe(self) -> Recipe:
        """The recipe with the chosen values. Raises `MnasError` if a value breaks its rule, or one is given twice."""
        return chosen_recipe(self.recipe, self.set, self._values())

    def _values(self) -> dict[str, Any]:
        """Values of the recipe's fields that have options of their own; None for those that are not given."""
        return {"epochs": self.epochs, "flip": False if self.no_flip else None, "balance": self.balance}


@dataclass(frozen=True)
class TrainingOptions(ShortTraining):
    """Options of a training.

    Attributes:
        batch: images in a step (default: those of the recipe).
        learning_rate: peak learning rate for 256 images in a step (default: that of the recipe).
        keep: epoch whose weights are evaluated, by accuracy on the validation part (default: that of the recipe).
        patience: epochs without a higher accuracy on the validation part after which a training ends early; 0 for none
            (default: those of the recipe).
        freeze_epochs: first epochs, in which only the classifier learns, with --weights (default: those of the recipe).
        memory: memory limit in bytes, such as 6G (default: nine tenths of the free memory).
        seed: random seed.
        weights: file of weights, or folder of a training, to start from; the classifier starts fresh.
        from_smaller: let --weights be those of a smaller network of the same stages: its channels are copied, and added
            blocks start as identity (the classifier is kept for the same classes).
        weights_of: weights to take where a file holds both averaged and raw ones (default: the averaged).
        precision: number format of the computation.
        devices: number of GPUs to divide a batch among (default: all; one process on a CPU).
        micro_batch: most images to compute at once (default: as many as fit into memory).
        compile: compile the network, which pays off in long runs on a GPU.
        activation: activation to use instead of the network's own.
    """

    batch: Count | None = None
    learning_rate: float | None = None
    keep: str | None = None
    patience: int | None = None
    freeze_epochs: int | None = None
    memory: Quantity | None = None
    seed: int = 0
    weights: Path | None = None
    from_smaller: bool = False
    weights_of: str | None = None
    precision: str = "auto"
    devices: Count | None = None
    micro_batch: Count | None = None
    compile: bool = False
    activation: str | None = None

    def _values(self) -> dict[str, Any]:
        names = ("batch", "learning_rate", "keep", "patience", "freeze_epochs")
        return {**super()._values(), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that determines a training, except the network.

    Attributes:
        data: source for `baselines.training.data.sources.load_data`.
        recipe: recipe with all its values.
        seed: random seed.
        fingerprint: fingerprint of the data; other images are refused.
        classes: names of the classes, in the order of the labels.
        network: ``torchvision:NAME`` for a network without a spec; empty if the folder holds the spec.
        resolution: side of the images in pixels, for such a network.
        precision, micro_batches, recompute, compiled, devices: arguments of `baselines.training.loop.train`.
        weights: file of the weights to start from; empty for fresh ones.
        from_smaller: whether those are of a smaller network.
        weights_of: ``ema`` or ``raw`` where that file holds both; empty for the default.
        sides: the images' smallest, median and largest side in pixels (`ImageData.sides`); empty if unknown.
        fit: how images that are not square become square, one of `baselines.training.data.fit.FITS`.
        threads: as for `baselines.training.loop.train`; 0 on a GPU, and in trainings of earlier versions.
        channels: channels that the images are read with.
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
    from_smaller: int = 0
    weights_of: str = ""
    sides: tuple[int, ...] = ()
    fit: str = CROP
    threads: int = 0
    channels: int = RGB

    def __post_init__(self) -> None:
        check_name("precision", self.precision, PRECISIONS)
        check_name("fit", self.fit, FITS)
        check_int("threads", self.threads, 0, MAX_THREADS)
        check_channels(self.channels)
        check_int("devices", self.devices, 0, 1024)
        check_int("micro_batches", self.micro_batches, 1, self.recipe.batch)
        if len(self.sides) not in (0, 3):
            raise FieldError("sides", f"{shorten(self.sides)} is not three sides in pixels")
        if self.devices and self.recipe.batch % self.devices:
            raise FieldError(
                "devices", f"{self.devices} must divide the batch of {self.recipe.batch}; change --batch or --devices"
            )

    @property
    def at_once(self) -> int:
        """The largest number of images that a device computes at once."""
        return math.ceil(self.recipe.batch / max(1, self.devices) / self.micro_batches)


def check_installed() -> None:
    """Raise `MnasError` if the libraries for training are not installed. Called before anything is written."""
    for module, library in (("lightning_fabric", "lightning-fabric"), ("PIL", "pillow"), ("psutil", "psutil")):
        if importlib.util.find_spec(module) is None:
            raise not_installed("train", library, "train")


def network_of(subject: Subject) -> Architecture | Comparator:
    """The network for `baselines.training.loop.train`."""
    return subject.architecture if isinstance(subject, BaselineSpec) else subject


def side_of(resolution: Side | None, own: int, images: int) -> int:
    """The side at which a network is trained, in pixels.

    Args:
        resolution: side that was asked for; `OWN` for the network's, None for that of the images.
        own: side of the network.
        images: side of the images.

    Raises:
        FieldError: the resolution is neither a side nor `OWN`.
    """
    if resolution is None:
        return images
    if isinstance(resolution, str) and resolution == OWN:
        return own
    if isinstance(resolution, str):
        raise FieldError("resolution", f"{shorten(resolution)} is not {OWN} or a number of pixels")
    check_int("resolution", resolution, 1, MAX_RESOLUTION)
    return resolution


def trained_subject(subject: Subject, data: ImageData, options: TrainingOptions) -> Subject:
    """The network as it is trained: its side, channels, classes, width and activation (`search_spaces.adaptation`).

    Args:
        subject: baseline or comparator.
        data: images to train on. If their sides differ, their side is that of the network.
        options: resolution, width and activation.

    Raises:
        FieldError: an option breaks its rule.
        MnasError: a width, an activation or other images than RGB are given for a network of torchvision.
    """
    own = network_of(subject).resolution
    side = side_of(options.resolution, own, data.side or own)
    if isinstance(subject, Comparator):
        for name, chosen in (("width", options.width != 1), ("activation", options.activation is not None)):
            if chosen:
                raise MnasError(f"{name}: {subject.name} has only one {name}; remove --{name}")
        if data.channels != RGB:
            raise MnasError(f"channels: {subject.name} takes RGB images alone; remove --channels")
        return subject.adapted(side, len(data.classes))
    given = None if options.resolution == OWN else side
    architecture = adapted(
        subject.architecture, given, len(data.classes), options.width, options.activation, data.channels
    )
    if architecture == subject.architecture:
        return subject
    source = f"{subject.name}, adapted to its images by mnas train{_strides_text(subject.architecture, architecture)}"
    return BaselineSpec(subject.name, architecture, Provenance(source))


def _strides_text(given: Architecture, adapted: Architecture) -> str:
    """What became of the strides of stages; empty if nothing did."""
    pairs = zip(given.stages, adapted.stages, strict=True)
    changed = [f"stages.{index}" for index, (old, new) in enumerate(pairs) if old.stride != new.stride]
    why = f"since {adapted.resolution} px cannot be halved as often"
    return f"; stride 1 in {' and '.join(changed)}, {why}" if changed else ""


def enlargement(name: str, resolution: int, sides: tuple[int, ...]) -> str | None:
    """What to know about a network whose side is larger than that of most of its images; None if it is not.

    Args:
        name: name of the network.
        resolution: side of the network in pixels.
        sides: smallest, median and largest side of the images (`ImageData.sides`); empty if unknown.
    """
    if not sides or resolution <= sides[1]:
        return None
    low, median, high = sides
    images = f"{low} px" if low == high else f"{low} to {high} px (median {median})"
    return f"{name} is trained at {resolution} px on images of {images}: enlarged images carry no new information"


def check_devices(devices: int, gpus: int) -> None:
    """Raise `MnasError` if a training asks for more GPUs than exist. Without GPUs, devices are processes on the CPU."""
    if gpus and devices > gpus:
        raise MnasError(f"devices: {devices} devices, but this machine has {counted(gpus, 'GPU')}; use fewer")
