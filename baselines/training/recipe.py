"""`Recipe`: how a network is trained. The published recipe, and recipes for small images, proxies and fine-tuning."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.architecture import RGB, Architecture, check_int, check_name, check_number
from search_spaces.errors import FieldError, shorten, unknown_name

OPTIMIZERS = ("rmsprop-tf", "sgd", "adamw")
SCHEDULES = ("exponential", "cosine")
AUGMENTATIONS = ("none", "autoaugment", "randaugment")
CROPS = ("none", "pad", "resize")
KEPT = ("last", "best")
BALANCES = ("none", "weights", "sampler")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
NOTHING_TO_FREEZE = "freeze_epochs: there are no trained weights to keep; use --weights FILE, or 0"
ARCHITECTURE_FIELDS = ("bn_momentum", "dropout", "drop_connect")
# Mean and standard deviation of ImageNet, as fractions of 255 (tensorflow/tpu preprocessing.py).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training part.
        batch: images in a step of the optimizer, over all devices.
        optimizer: ``rmsprop-tf`` (TensorFlow's, `baselines.training.optimizer`), ``sgd`` with Nesterov momentum, or
            ``adamw``.
        learning_rate: peak learning rate for 256 images in a step; scaled by ``batch`` / 256.
        momentum: momentum of the optimizer; the first beta of ``adamw``, whose second is 0.999.
        warmup_epochs: epochs in which the learning rate grows from 0.
        schedule: ``exponential``, a staircase that multiplies the rate by ``decay`` every ``decay_epochs``, counted
            from step 0; or ``cosine``, down to 0 at the end.
        decay, decay_epochs: factor and period of the exponential schedule.
        weight_decay: L2 penalty on all weights and biases except those of batch norm; ``adamw`` takes this share of
            them, times the learning rate, at each step.
        label_smoothing: share of the label that is spread over all classes.
        ema: highest decay of the moving average of weights and batch-norm statistics; at step t the decay is
            min(ema, (1+t)/(10+t)). 0 disables the average.
        crop: ``resize``, a random area of each image; ``pad``, random shifts with black borders; or ``none``.
        crop_scale, crop_ratio: least and largest share of the image, and width divided by height, of a random area.
        crop_shift: largest random shift, as a share of the side.
        flip: whether half of the images are mirrored left to right.
        augmentation: ``autoaugment``, ``randaugment`` or ``none``.
        random_erasing: share of the images of which a random rectangle is erased (arXiv 1708.04896).
        mixup, cutmix: both parameters of the beta distribution from which the share of a second image is drawn, which
            is blended in (arXiv 1710.09412) or pasted as a rectangle (arXiv 1905.04899); 0 for neither. With both,
            each image gets one of the two.
        balance: ``weights``, which count all classes alike in the loss; ``sampler``, which shows all classes equally
            often; or ``none``.
        mean, std: mean and standard deviation of red, green and blue as fractions of 255, which are subtracted from
            the input and divide it; evaluation does the same.
        clip_norm: largest norm of all gradients together; 0 disables clipping.
        bn_momentum, dropout, drop_connect: values that replace the network's; None (``own`` in a file) keeps them. The
            published momentum of batch norm, 0.01, takes thousands of steps to reach the statistics of the images.
        freeze_epochs: first epochs, in which only the classifier of given weights learns: stem, stages and head stay in
            evaluation mode, so the statistics of their batch norms stand still.
        patience: epochs without a higher accuracy on the validation part after which a training ends early, counted
            from the frozen epochs on; 0 for none.
        keep: epoch whose weights are evaluated: ``last``, or ``best``, the first of those with the highest accuracy on
            the validation part.

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
    crop_scale: tuple[float, ...] = (0.08, 1.0)
    crop_ratio: tuple[float, ...] = (3 / 4, 4 / 3)
    crop_shift: float = 0.125
    flip: bool = True
    augmentation: str = "none"
    random_erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    balance: str = "none"
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    clip_norm: float = 0.0
    bn_momentum: float | None = None
    dropout: float | None = None
    drop_connect: float | None = None
    freeze_epochs: int = 0
    patience: int = 0
    keep: str = "last"

    def __post_init__(self) -> None:
        check_int("epochs", self.epochs, 1, 100_000)
        check_int("batch", self.batch, 2, 1_000_000)  # batch norm needs two
        check_name("optimizer", self.optimizer, OPTIMIZERS)
        check_name("schedule", self.schedule, SCHEDULES)
        check_name("crop", self.crop, CROPS)
        check_name("balance", self.balance, BALANCES)
        check_name("augmentation", self.augmentation, AUGMENTATIONS)
        check_number("learning_rate", self.learning_rate, 0, 100)
        check_number("warmup_epochs", self.warmup_epochs, 0, self.epochs)
        check_number("decay_epochs", self.decay_epochs, 1e-3, 1e6)
        check_number("clip_norm", self.clip_norm, 0, 1e6)
        check_number("momentum", self.momentum, 0, 1, below_high=self.optimizer == "adamw")
        check_number("crop_shift", self.crop_shift, 0, 0.5)
        for name in ("decay", "weight_decay", "label_smoothing", "ema", "random_erasing"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("mixup", "cutmix"):
            check_number(name, getattr(self, name), 0, 100)
        for name, (low, high) in {"crop_scale": (1e-3, 1), "crop_ratio": (0.01, 100)}.items():
            self._check_numbers(name, 2, low, high)
            if getattr(self, name)[0] > getattr(self, name)[1]:
                raise FieldError(name, f"{shorten(getattr(self, name))}: the first must not be larger than the second")
        self._check_numbers("mean", 3, 0, 1)
        self._check_numbers("std", 3, 1e-3, 10)
        for name in ARCHITECTURE_FIELDS:
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 0, 1)
        check_int("freeze_epochs", self.freeze_epochs, 0, self.epochs)
        check_int("patience", self.patience, 0, 100_000)
        check_name("keep", self.keep, KEPT)
        if not isinstance(self.flip, bool):
            raise FieldError("flip", f"{self.flip!r}: expected true or false")

    def _check_numbers(self, name: str, count: int, low: float, high: float) -> None:
        """Check a field of several numbers, and make it a tuple of floats."""
        values = getattr(self, name)
        if not isinstance(values, tuple | list) or len(values) != count:
            raise FieldError(name, f"{shorten(values)}: expected {count} numbers")
        for place, value in enumerate(values):
            check_number(f"{name}[{place}]", value, low, high)
        object.__setattr__(self, name, tuple(map(float, values)))

    def applied(self, architecture: Architecture) -> Architecture:
        """The architecture with the values that this recipe replaces."""
        values = {name: getattr(self, name) for name in ARCHITECTURE_FIELDS if getattr(self, name) is not None}
        return replace(architecture, **values)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of a step; steps are counted from 0.

        ``exponential`` follows build_learning_rate in tensorflow/tpu utils.py: a staircase counted from step 0, which
        the warm-up replaces while it lasts.
        """
        peak = self.learning_rate * self.batch / 256
        warmup_steps = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup_steps:
            return peak * step / warmup_steps
        if self.schedule == "exponential":
            return float(peak * self.decay ** (step // max(1, round(self.decay_epochs * steps_per_epoch))))
        cosine_steps = max(1, self.epochs * steps_per_epoch - warmup_steps)
        return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / cosine_steps)))

    def average_decay(self, step: int) -> float:
        """Decay of the moving average after a step, counted from 0 (TensorFlow's decay with num_updates)."""
        return min(self.ema, (1 + step) / (10 + step))

    @property
    def watched(self) -> bool:
        """Whether the course of a training depends on the accuracy on the validation part."""
        return bool(self.patience) or self.keep == "best"

    def shortened(self, epochs: int | None) -> Recipe:
        """The recipe for another number of epochs; None keeps its own. A warm-up that would fill them is dropped."""
        if epochs is None:
            return self
        return replace(self, epochs=epochs, warmup_epochs=self.warmup_epochs if epochs > self.warmup_epochs else 0.0)

    def with_values(self, **values: Any) -> Recipe:
        """The recipe with new values; those that are None are ignored.

        Raises:
            FieldError: a value breaks its rule.
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
    # Small images, from scratch. Our choice; usual for residual networks on CIFAR.
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
    # A trial of minutes. Our choice; it ranks networks and does not train each to its best.
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
    # Fine-tuning of trained weights. Our choice.
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


def check_augmentation(recipe: Recipe, channels: int) -> None:
    """Raise `FieldError` if images of so many channels cannot be augmented as the recipe asks for."""
    if recipe.augmentation != "none" and channels != RGB:
        problem = f"{recipe.augmentation} changes colours, so it needs 3 channels, not {channels}"
        raise FieldError("augmentation", f"{problem}; use another recipe, or --channels 3")


def load_recipe(name: str) -> Recipe:
    """A recipe by name. Raises `MnasError` for an unknown name."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
