"""Networks with their weights, written for other runtimes: from a spec, or from a training's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.comparators import PREFIX
from baselines.exchange.runtimes import RUNTIMES, export_onnx, export_program
from baselines.exchange.signature import Signature
from baselines.exchange.weights import load_weights
from baselines.files import file_name
from baselines.registry import load
from baselines.training.classify import signature_of
from baselines.training.folder import is_training, read_training, trained_network
from baselines.training.settings import TrainingSettings, network_of
from search_spaces.errors import MnasError
from search_spaces.network import build_network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
        name: name of the network.
        network: network with its weights.
        side: side of its input in pixels.
        weights: what its weights are, for a person.
        settings: those of its training; None without one.
    """

    name: str
    network: nn.Module
    side: int
    weights: str
    settings: TrainingSettings | None = None

    @property
    def signature(self) -> Signature | None:
        """What its use needs; None if its classes are unknown."""
        return None if self.settings is None else signature_of(self.name, self.side, self.settings)


@dataclass(frozen=True)
class Exported:
    """A network that was exported.

    Attributes:
        source: what was exported.
        file: the file.
        difference: largest difference between the file's logits and the network's, relative to the largest logit.
        signature: what the file says about its use; None for nothing.
    """

    source: Source
    file: Path
    difference: float
    signature: Signature | None = None


def export_network(
    spec: str,
    runtime: str,
    file: Path | None = None,
    *,
    weights: Path | None = None,
    weights_of: str | None = None,
    keep_classifier: bool = False,
) -> Exported:
    """Write a network for another runtime, checked against the network.

    Args:
        spec: name of a baseline, path of a spec file, or folder of a training or a search.
        runtime: one of `RUNTIMES`.
        file: file to write; by default the network's name in the current folder.
        weights: file of weights; by default those of the training, else fresh ones.
        weights_of, keep_classifier: as for `baselines.exchange.weights.load_weights`.

    Raises:
        MnasError: the network is not found, its training has not ended, the weights do not fit, or the file cannot be
            written or differs from the network; nothing is left then.
    """
    source = _source(spec, weights, weights_of, keep_classifier=keep_classifier)
    file = file or Path(f"{file_name(source.name)}.{RUNTIMES[runtime]}")
    if runtime != "onnx":
        return Exported(source, file, export_program(source.network, source.side, file))
    difference = export_onnx(source.network, source.side, file, source.signature)
    return Exported(source, file, difference, source.signature)


def _source(spec: str, weights: Path | None, weights_of: str | None, *, keep_classifier: bool) -> Source:
    import torch

    if spec.startswith(PREFIX):
        raise MnasError(f"{spec}: networks of torchvision have no spec; train it, and export the training's folder")
    folder = Path(spec)
    if weights is None:
        for name, value in (("weights_of", weights_of), ("keep_classifier", keep_classifier)):
            if value:
                raise MnasError(f"{name}: there are no weights to choose from; use --weights FILE")
        if is_training(folder):
            subject, settings, network = trained_network(folder)
            return Source(subject.name, network, network_of(subject).resolution, f"the weights of {spec}", settings)
    loaded = load(spec)
    torch.manual_seed(0)  # for fresh weights
    network = build_network(loaded.architecture)
    side = loaded.architecture.resolution
    if weights is None:
        return Source(loaded.name, network, side, "fresh weights (use --weights for others)")
    load_weights(network, weights, keep_classifier=keep_classifier, weights_of=weights_of)
    # With a fresh classifier, the outputs are not the classes of the training.
    settings_of = read_training(folder)[1] if is_training(folder) and not keep_classifier else None
    return Source(loaded.name, network, side, f"the weights in {weights}", settings_of)
