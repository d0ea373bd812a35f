"""`Recipe`: how a network is trained; the published one, and ones for small images, proxies and fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from search_spaces.architecture import Architecture, check_int, check_name, check_number
from search_spaces.errors import FieldError, unknown_name

OPTIMIZERS = ("rmsprop-tf", "sgd")
SCHEDULES = ("exponential", "cosine")
AUGMENTATIONS = ("none", "autoaugment", "randaugment")
CROPS = ("none", "pad", "resize")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
OF_THE_ARCHITECTURE = ("bn_momentum", "dropout", "drop_connect")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training part.
        batch: images a step of the optimizer, over all devices.
        optimizer: ``rmsprop-tf`` (TensorFlow's, `baselines.training.optimizer`) or ``sgd`` with Nesterov momentum.
        learning_rate: at its peak, for 256 images a step; it is scaled with ``batch`` / 256.
        momentum: of the optimizer.
        warmup_epochs: in which the learning rate grows from 0.
        schedule: ``exponential``, times ``decay`` every ``decay_epochs`` in steps, counted from step 0; or ``cosine``
            to 0 at the end.
        weight_decay: L2, on all weights and biases but those of batch norm.
        label_smoothing: share of the label that goes to all classes.
        ema: decay of the moving average of weights and batch-norm statistics at step t is min(ema, (1+t)/(10+t));
            0 leaves it out.
        crop: ``resize``, a random 8 to 100 % of the area at 3/4 to 4/3; ``pad``, shifts by up to an eighth; ``none``.
        flip: half of the images left to right.
        augmentation: one of `AUGMENTATIONS`.
        clip_norm: of all gradients together; 0 leaves it out.
        bn_momentum, dropout, drop_connect: of the architecture; None leaves its own. The published momentum of batch
            norm, 0.01, needs thousands of steps until its statistics are those of the images.

    Raises:
        FieldError: a value breaks its rule.
    """

    epochs: int
    batch: int
    optimizer: str
    learning_rate: float
    momentum: float = 0.9
    warmup_epochs: float = 0.0
    schedule: str = "cosine"
    decay: float = 0.97
    decay_epochs: float = 2.4
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    crop: str = "pad"
    flip: bool = True
    augmentation: str = "none"
    clip_norm: float = 0.0
    bn_momentum: float | None = None
    dropout: float | None = None
    drop_connect: float | None = None

    def __post_init__(self) -> None:
        check_int("epochs", self.epochs, 1, 100_000)
        check_int("batch", self.batch, 2, 1_000_000)  # batch norm needs two
        check_name("optimizer", self.optimizer, OPTIMIZERS)
        check_name("schedule", self.schedule, SCHEDULES)
        check_name("crop", self.crop, CROPS)
        check_name("augmentation", self.augmentation, AUGMENTATIONS)
        check_number("learning_rate", self.learning_rate, 0, 100)
        check_number("warmup_epochs", self.warmup_epochs, 0, self.epochs)
        check_number("decay_epochs", self.decay_epochs, 1e-3, 1e6)
        check_number("clip_norm", self.clip_norm, 0, 1e6)
        for name in ("momentum", "decay", "weight_decay", "label_smoothing", "ema"):
            check_number(name, getattr(self, name), 0, 1)
        for name in OF_THE_ARCHITECTURE:
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0, 1)
        if not isinstance(self.flip, bool):
            raise FieldError("flip", f"{self.flip!r} is neither true nor false")

    def applied(self, architecture: Architecture) -> Architecture:
        """The architecture as the recipe trains it."""
        values = {name: getattr(self, name) for name in OF_THE_ARCHITECTURE if getattr(self, name) is not None}
        return replace(architecture, **values)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from 0.

        Source of ``exponential``: tensorflow/tpu utils.py build_learning_rate (staircase, counted from step 0, warm-up
        instead of the decayed rate while it lasts).
        """
        peak = self.learning_rate * self.batch / 256
        warm = round(self.warmup_epochs * steps_per_epoch)
        if step < warm:
            return peak * step / warm
        if self.schedule == "exponential":
            return float(peak * self.decay ** (step // max(1, round(self.decay_epochs * steps_per_epoch))))
        left = max(1, self.epochs * steps_per_epoch - warm)
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / left)))

    def average_decay(self, step: int) -> float:
        """Decay of the moving average after a step, counted from 0 (TensorFlow's with num_updates)."""
        return min(self.ema, (1 + step) / (10 + step))

    def shortened(self, epochs: int | None) -> Recipe:
        """The recipe for other epochs, without warm-up where it would take all of them; None for its own."""
        if epochs is None:
            return self
        return replace(self, epochs=epochs, warmup_epochs=self.warmup_epochs if epochs > self.warmup_epochs else 0.0)

    def with_values(self, **values: Any) -> Recipe:
        """The recipe with the values that are not None.

        Raises:
            FieldError: one breaks its rule.
        """
        return replace(self, **{name: value for name, value in values.items() if value is not None})


RECIPES = {
    # EfficientNet as released: arXiv 1905.11946 section 5.2 and tensorflow/tpu (main.py, utils.py, preprocessing.py).
    "paper": Recipe(
        epochs=350,
        batch=4096,
        optimizer="rmsprop-tf",
        learning_rate=0.016,
        warmup_epochs=5,
        schedule="exponential",
        weight_decay=1e-5,
        label_smoothing=0.1,
        ema=0.9999,
        crop="resize",
        augmentation="autoaugment",
    ),
    # Small images from scratch: our choice, as usual for CIFAR with residual networks.
    "cifar": Recipe(
        epochs=100,
        batch=128,
        optimizer="sgd",
        learning_rate=0.2,
        warmup_epochs=2,
        weight_decay=5e-4,
        label_smoothing=0.1,
        ema=0.999,
        clip_norm=5.0,
        bn_momentum=0.1,
    ),
    # Minutes for a trial: our choice; ranks networks rather than bringing each to its best.
    "proxy": Recipe(
        epochs=4,
        batch=128,
        optimizer="sgd",
        learning_rate=0.2,
        warmup_epochs=0.5,
        weight_decay=1e-4,
        crop="pad",
        clip_norm=5.0,
        bn_momentum=0.1,
        dropout=0.0,
        drop_connect=0.0,
    ),
    # From weights that were trained before: our choice.
    "finetune": Recipe(
        epochs=20,
        batch=64,
        optimizer="sgd",
        learning_rate=0.02,
        warmup_epochs=1,
        weight_decay=1e-4,
        label_smoothing=0.1,
        ema=0.999,
        crop="resize",
    ),
}


def load_recipe(name: str) -> Recipe:
    """A recipe by name. Raises `MnasError` for an unknown one."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


RECIPE_VALUES = tuple(item.name for item in fields(Recipe))
