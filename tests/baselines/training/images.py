"""Small synthetic data sets, in which each class has a colour that networks learn in a few steps; a trained network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from baselines.exchange.weights import save_weights
from baselines.registry import load
from baselines.spec import BaselineSpec, Provenance
from baselines.training.folder import WEIGHTS, create_training
from baselines.training.recipe import load_recipe
from baselines.training.settings import TrainingSettings
from search_spaces import Architecture, ConvLayer, MBConv, Stage
from search_spaces.adaptation import adapted
from search_spaces.network import build_network

# A network that is trained in a second.
TINY = Architecture(
    resolution=16,
    num_classes=3,
    stem=ConvLayer(8, 3, 1),
    stages=(Stage(MBConv(3, 2, 0.25), 8, 2, 2),),
    head=ConvLayer(16, 1, 1),
    activation="swish",
    dropout=0.1,
    drop_connect=0.2,
)

COLOURS = {"blue": (40, 60, 200), "green": (50, 190, 60), "red": (210, 50, 40)}


def pixels(label: str, count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noisy images of a class's colour: uint8 of shape (count, side, side, 3)."""
    rng = np.random.default_rng((seed, len(label)))
    noise = rng.normal(0, 30, (count, side, side, 3))
    return (np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8)


def write_folders(root: Path, count: int = 20, side: int = 16, seed: int = 0) -> Path:
    """Write a folder of PNG files for each class."""
    for label in COLOURS:
        (root / label).mkdir(parents=True)
        for number, image in enumerate(pixels(label, count, side, seed)):
            Image.fromarray(image).save(root / label / f"{number:03}.png")
    return root


def small(architecture: Architecture) -> Architecture:
    """The network with its first three stages only, which is soon exported."""
    return replace(architecture, stages=architecture.stages[:3])


def write_training(
    folder: Path, side: int = 32, fit: str = "crop", classes: tuple[str, ...] = tuple(COLOURS), channels: int = 3
) -> Path:
    """Write the folder of a training of a small network that has ended, whose random weights tell images apart."""
    torch.manual_seed(0)
    architecture = adapted(small(load("mnasnet_small").architecture), side, len(classes), 0.5)
    architecture = replace(architecture, in_channels=channels)
    network = build_network(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics are the mean over batches, as if it had learned them
    with torch.no_grad():
        network.train()(torch.randn(32, channels, side, side))
        assert isinstance(network.classifier, torch.nn.Linear)
        network.classifier.weight.normal_(0, 1)
    settings = TrainingSettings("images", load_recipe("proxy"), classes=classes, fit=fit, channels=channels)
    create_training(folder, BaselineSpec("tiny", architecture, Provenance("a test")), settings)
    save_weights(network, folder / WEIGHTS)
    return folder
