"""Networks with their weights, written for other runtimes: from a spec, or from a training's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from baselines.comparators import PREFIX
from baselines.exchange.precision import OnnxOptions
from baselines.exchange.runtimes import FP32, RUNTIMES, export_onnx, export_program
from baselines.exchange.signature import Signature
from baselines.exchange.weights import load_weights
from baselines.files import check_new, file_name
from baselines.registry import load
from baselines.training.augment import inputs_of, keep_normalisation, resized
from baselines.training.batches import batches_of
from baselines.training.classify import signature_of
from baselines.training.data.sources import ImageData, Part, load_data, stratified
from baselines.training.folder import is_training, load_other_data, load_training_data, read_training, trained_network
from baselines.training.predict import logits_of
from baselines.training.settings import TrainingSettings, network_of
from search_spaces.errors import MnasError
from search_spaces.layers import SqueezeExcite
from search_spaces.network import build_network
from search_spaces.serialization import to_dict

# Images to calibrate int8 with, and at most so many to measure the accuracy with; each class has its share.
CALIBRATION, JUDGED = 256, 10_000
_UNBOUNDED = (SqueezeExcite, nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish, nn.ReLU)


@dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
        name: name of the network.
        network: network with its weights.
        side: side of its input in pixels.
        classes: number of its outputs.
        weights: what its weights are, for a person.
        settings: those of its training; None without one.
    """

    name: str
    network: nn.Module
    side: int
    classes: int
    weights: str
    settings: TrainingSettings | None = None

    @property
    def bounded(self) -> bool:
        """Whether it has neither squeeze-excite nor activations without an upper bound, which suit eight bits badly."""
        return not any(isinstance(module, _UNBOUNDED) for module in self.network.modules())

    @property
    def signature(self) -> Signature | None:
        """What its use needs; None if its classes are unknown."""
        return None if self.settings is None else signature_of(self.name, self.side, self.settings)


@dataclass(frozen=True)
class Measured:
    """What another precision has changed, on images that it was not calibrated with.

    Attributes:
        source: where the images come from.
        part: their part.
        images: number of images.
        agreement: share of images in which both see the same class.
        before, after: share of images in which the network, and the file, are right; None without known classes.
    """

    source: str
    part: str
    images: int
    agreement: float
    before: float | None = None
    after: float | None = None

    @property
    def loss(self) -> float | None:
        """What the accuracy has lost; None if it is unknown."""
        return None if self.before is None or self.after is None else self.before - self.after


@dataclass(frozen=True)
class Exported:
    """A network that was exported.

    Attributes:
        source: what was exported.
        file: the file.
        difference: largest difference between the file's logits and the network's, relative to the largest logit.
        options: how it was written as ONNX.
        signature: what the file says about its use; None for nothing.
        measured: what another precision has changed; None if that is unknown.
        notes: what was assumed or left out, for a person.
    """

    source: Source
    file: Path
    difference: float
    options: OnnxOptions = FP32
    signature: Signature | None = None
    measured: Measured | None = None
    notes: tuple[str, ...] = ()


def export_network(
    spec: str,
    runtime: str,
    file: Path | None = None,
    *,
    weights: Path | None = None,
    weights_of: str | None = None,
    keep_classifier: bool = False,
    options: OnnxOptions = FP32,
    calibrate: str | None = None,
) -> Exported:
    """Write a network for another runtime, checked against the network.

    Args:
        spec: name of a baseline, path of a spec file, or folder of a training or a search.
        runtime: one of `RUNTIMES`.
        file: file to write; by default the network's name in the current folder.
        weights: file of weights; by default those of the training, else fresh ones.
        weights_of, keep_classifier: as for `baselines.exchange.weights.load_weights`.
        options: how a network is written as ONNX.
        calibrate: images for --precision int8, as for --data (default: those of the training).

    Raises:
        MnasError: the network is not found, its training has not ended, the weights do not fit, there are no images to
            calibrate with, or the file cannot be written or differs from the network; nothing is left then.
    """
    if runtime != "onnx" and (options != FP32 or calibrate):
        raise MnasError(f"format: {runtime} has neither sizes, opsets nor precisions to choose from; use --format onnx")
    if calibrate and options.precision != "int8":
        raise MnasError(f"calibrate: {options.precision} needs no images; add --precision int8, or remove --calibrate")
    source = _source(spec, weights, weights_of, keep_classifier=keep_classifier)
    file = file or Path(f"{file_name(source.name)}.{RUNTIMES[runtime]}")
    check_new(file)
    if runtime != "onnx":
        return Exported(source, file, export_program(source.network, source.side, file))
    sample, notes = _sample(source, calibrate, options.precision)
    measured: list[Measured] = []

    def measure(run: Callable[[Tensor], Tensor]) -> dict[str, str]:
        if sample is None:
            return {}
        measured.append(sample.measure(source, run))
        return {"accuracy": json.dumps(to_dict(measured[0]))}

    images = sample.inputs(source) if sample and options.precision == "int8" else None
    difference = export_onnx(source.network, source.side, file, source.signature, options, images, measure)
    return Exported(source, file, difference, options, source.signature, next(iter(measured), None), notes)


class _Run(nn.Module):
    """A file as a module."""

    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._run = run

    def forward(self, inputs: Tensor) -> Tensor:
        return self._run(inputs)


@dataclass(frozen=True)
class _Sample:
    """Images to calibrate with, and others to measure the accuracy with."""

    source: str
    calibration: Part
    judged: Part
    part: str
    labelled: bool

    def inputs(self, source: Source) -> Tensor:
        """The images to calibrate with as a network's input, by the view of an evaluation."""
        chosen = self.calibration.take(stratified(self.calibration.labels, CALIBRATION))
        batches = batches_of(chosen, source.side, torch.device("cpu"), None).read([np.arange(len(chosen))], 0)
        views = [inputs_of(source.network, resized(images, source.side)) for images, _ in batches]
        return torch.cat(views).contiguous()

    def measure(self, source: Source, run: Callable[[Tensor], Tensor]) -> Measured:
        """Compare a file with its network."""
        judged = self.judged.take(stratified(self.judged.labels, JUDGED))
        file = _Run(run)
        if source.settings is not None:
            keep_normalisation(file, source.settings.recipe)
        before, after = (
            logits_of(each, judged, source.side, torch.device("cpu"), CALIBRATION).argmax(1).numpy()
            for each in (source.network, file)
        )
        right = [float((found == judged.labels).mean()) for found in (before, after)] if self.labelled else [None, None]
        return Measured(self.source, self.part, len(judged), float((before == after).mean()), *right)


def _sample(source: Source, calibrate: str | None, precision: str) -> tuple[_Sample | None, tuple[str, ...]]:
    """The images for another precision, and what to know about them; None if there are none, and none are needed."""
    if precision == "fp32":
        return None, ()
    try:
        data = _data(source, calibrate)
    except MnasError as error:
        if precision == "int8":
            raise MnasError(f"{error}; or name other images with --calibrate") from None
        return None, (f"The accuracy was not measured ({error}).",)
    classes = len(data.classes)
    notes = () if source.settings else (f"Assumed: the outputs are the classes of {data.source}, sorted by name.",)
    if classes != source.classes:
        notes = (f"The accuracy is unknown: {data.source} has {classes} classes, the network {source.classes}.",)
    if len(data.train):
        part = "test" if len(data.test) else "val"
        calibration, judged = data.train, getattr(data, part)
    else:
        part = "test"
        chosen = stratified(data.test.labels, min(CALIBRATION, len(data.test) // 2))
        rest = np.setdiff1d(np.arange(len(data.test)), chosen)
        calibration, judged = data.test.take(chosen), data.test.take(rest)
    return _Sample(data.source, calibration, judged, part, classes == source.classes), notes


def _data(source: Source, calibrate: str | None) -> ImageData:
    """The images of the training, or others."""
    settings = source.settings
    if settings is None:
        if calibrate is None:
            raise MnasError("calibrate: a spec has no images; use the folder of a training")
        return load_data(calibrate)
    if calibrate is None:
        return load_training_data(settings)
    return load_other_data(calibrate, settings)


def _source(spec: str, weights: Path | None, weights_of: str | None, *, keep_classifier: bool) -> Source:
    if spec.startswith(PREFIX):
        raise MnasError(f"{spec}: networks of torchvision have no spec; train it, and export the training's folder")
    folder = Path(spec)
    if weights is None:
        for name, value in (("weights_of", weights_of), ("keep_classifier", keep_classifier)):
            if value:
                raise MnasError(f"{name}: there are no weights to choose from; use --weights FILE")
        if is_training(folder):
            subject, settings, network = trained_network(folder)
            given = network_of(subject)
            about = f"the weights of {spec}"
            return Source(subject.name, network, given.resolution, given.num_classes, about, settings)
    loaded = load(spec)
    torch.manual_seed(0)  # for fresh weights
    network = build_network(loaded.architecture)
    side, classes = loaded.architecture.resolution, loaded.architecture.num_classes
    if weights is None:
        return Source(loaded.name, network, side, classes, "fresh weights (use --weights for others)")
    load_weights(network, weights, keep_classifier=keep_classifier, weights_of=weights_of)
    # With a fresh classifier, the outputs are not the classes of the training.
    settings_of = read_training(folder)[1] if is_training(folder) and not keep_classifier else None
    return Source(loaded.name, network, side, classes, f"the weights in {weights}", settings_of)
