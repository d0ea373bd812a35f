"""Classes of images without labels, by a trained network: that of a training's folder, or of an exported ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baselines.exchange.onnx_files import SUFFIX, open_onnx
from baselines.exchange.signature import Signature
from baselines.memory import device_here
from baselines.text import counted
from baselines.training.augment import channel_constants, normalised
from baselines.training.batches import READERS
from baselines.training.data.decoding import Pixels, decode
from baselines.training.data.fit import drawn, evaluation_view
from baselines.training.data.folders import images_below, seen
from baselines.training.folder import trained_network
from baselines.training.settings import TrainingSettings, network_of
from baselines.values import ByValue
from search_spaces.errors import MnasError

# Images that are computed at once.
BATCH = 64


@dataclass(frozen=True)
class Classifier:
    """A trained network with what its use needs.

    Attributes:
        signature: what it expects of images, and what its outputs mean.
        logits: function from inputs of shape (N, channels, side, side) to logits of shape (N, classes).
        at_once: most images to compute at once.
    """

    signature: Signature
    logits: Callable[[Tensor], Tensor]
    at_once: int = BATCH


@dataclass(frozen=True, eq=False)
class Predictions(ByValue):
    """What a network sees in images.

    Attributes:
        network: name of the network.
        classes: names of the classes.
        files: images that could be read, in the order in which they were given; those of a folder by name.
        probabilities: probability of each class for each of `files`, of shape (N, classes); rows add up to 1.
        unreadable: the other images, each with the reason.
        aside: what was left aside in folders and why, for a person.
    """

    network: str
    classes: tuple[str, ...]
    files: tuple[str, ...]
    probabilities: NDArray[np.float32]
    unreadable: tuple[tuple[str, str], ...] = ()
    aside: tuple[str, ...] = ()

    @property
    def labels(self) -> NDArray[np.int64]:
        """Index of the most probable class of each image."""
        found: NDArray[np.int64] = self.probabilities.argmax(1)
        return found

    def __repr__(self) -> str:
        unread = f", {len(self.unreadable)} not read" if self.unreadable else ""
        return f"Predictions({self.network}, {counted(len(self.files), 'image')}{unread})"

    def _repr_html_(self) -> str:
        from baselines.views.predictions import text
        from baselines.views.terminal import as_html

        return as_html(*text(self))


def predict(
    network: str | Path | Classifier,
    images: str | Path | Iterable[str | Path],
    watch: Callable[[int, int], None] = lambda count, total: None,
) -> Predictions:
    """Classify images as an evaluation does: by one view of each, as it was in the training.

    Args:
        network: folder of a training, an ONNX file that was exported from one, or what `open_classifier` returns.
        images: one or several image files and folders; in folders, images are found at any depth.
        watch: function that is called after each batch, with the number of its images and of all images.

    Raises:
        MnasError: the network cannot be read, an image or a folder is not found, or there are no images. Images that
            cannot be decoded are `Predictions.unreadable`.
    """
    classifier = network if isinstance(network, Classifier) else open_classifier(Path(network))
    files, aside = image_files(images)
    signature = classifier.signature
    found, unreadable, rows = [], [], []
    for names, pixels in _read(files, signature, classifier.at_once):
        good = [each for each in pixels if not isinstance(each, str)]
        found += [name for name, each in zip(names, pixels, strict=True) if not isinstance(each, str)]
        unreadable += [(name, each) for name, each in zip(names, pixels, strict=True) if isinstance(each, str)]
        if good:
            rows.append(probabilities_of(classifier, np.stack(good)))
        watch(len(names), len(files))
    probabilities = np.concatenate(rows) if rows else np.empty((0, len(signature.classes)), dtype=np.float32)
    return Predictions(signature.network, signature.classes, tuple(found), probabilities, tuple(unreadable), aside)


def open_classifier(path: Path) -> Classifier:
    """The classifier of a training's folder, or of an ONNX file that was exported from one.

    Raises:
        MnasError: there is no such folder or file, or it cannot be used.
    """
    if path.suffix.lower() == SUFFIX and not path.is_dir():
        return Classifier(*open_onnx(path))
    if not path.is_dir():
        what = "is not a folder, nor does its name end in .onnx" if path.exists() else "not found"
        raise MnasError(f"network: {path} {what}; use the folder of a training, or an ONNX file exported from one")
    subject, settings, network = trained_network(path)
    device = device_here()
    network = network.to(device).eval()

    @torch.inference_mode()
    def logits(inputs: Tensor) -> Tensor:
        found: Tensor = network(inputs.to(device)).float().cpu()
        return found

    signature = signature_of(subject.name, network_of(subject).resolution, settings)
    return Classifier(signature, logits, min(BATCH, settings.at_once))


def signature_of(network: str, side: int, settings: TrainingSettings) -> Signature:
    """The signature of a trained network.

    Args:
        network: name of the network.
        side: side of its input in pixels.
        settings: settings of the training.
    """
    mean, std = channel_constants(settings.channels, settings.recipe.mean, settings.recipe.std)
    return Signature(settings.classes, side, settings.fit, mean, std, network)


def probabilities_of(classifier: Classifier, pixels: Pixels) -> NDArray[np.float32]:
    """Probability of each class for images, of shape (N, classes).

    Args:
        classifier: the network.
        pixels: uint8 of shape (N, side, side, channels).

    Raises:
        MnasError: they are not numbers.
    """
    signature = classifier.signature
    inputs = normalised(torch.from_numpy(pixels), mean=signature.mean, std=signature.std)
    found: NDArray[np.float32] = classifier.logits(inputs).softmax(1).numpy()
    if not np.isfinite(found).all():
        raise MnasError(
            "network: its outputs are not finite numbers; train it again, or export it with --precision fp32"
        )
    return found


def image_files(images: str | Path | Iterable[str | Path]) -> tuple[list[str], tuple[str, ...]]:
    """The files of `predict`, and what was left aside and why. Raises `MnasError` if there are none."""
    files: list[str] = []
    aside: list[str] = []
    places = list(map(str, [images] if isinstance(images, str | Path) else images))
    for place in places:
        if os.path.isdir(place):
            below, beside = images_below(Path(place))
            files += [os.path.join(place, file) for file in below]
            aside += [f"{line} of {place}" for line in beside]
        elif os.path.isfile(place):
            files.append(place)
        else:
            what = "is not a file or a folder" if os.path.lexists(place) else "not found"
            raise MnasError(f"images: {place} {what}; use image files, or folders of them")
    if not files:
        kinds = " and ".join(f"{place}{seen(Path(place))}" for place in places[:3]) or "nothing"
        raise MnasError(f"images: there are none in {kinds}; use image files, or folders of them")
    return files, tuple(aside)


def _read(
    files: Sequence[str], signature: Signature, at_once: int
) -> Iterator[tuple[Sequence[str], list[Pixels | str]]]:
    """Names of images by the batch, with the square input of each, or the reason why it cannot be read.

    The next batch is read while one is used.
    """

    def read(file: str) -> Pixels | str:
        try:
            pixels = decode(Path(file), channels=signature.channels)
        except (OSError, MnasError) as error:
            return str(error)
        view = evaluation_view(pixels.shape[:2], signature.fit, signature.side)
        return drawn(pixels, view, signature.side)

    batches = [files[start : start + at_once] for start in range(0, len(files), at_once)]
    with ThreadPoolExecutor(READERS) as pool:
        coming: list[list[Future[Pixels | str]]] = []
        try:
            for place, names in enumerate(batches):
                while len(coming) < 2 and (ahead := place + len(coming)) < len(batches):
                    coming.append([pool.submit(read, file) for file in batches[ahead]])
                yield names, [one.result() for one in coming.pop(0)]
        finally:
            pool.shutdown(cancel_futures=True)
