"""Small synthetic data sets: each class has a colour, so a network learns them in a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
