"""The training loop, for one-minute proxy trials and full trainings alike.

A step (its images, crops and dropout) depends only on the seed and the number of the step. A training that was killed
therefore resumes from its last checkpoint with the same result as an uninterrupted one: on a CPU, with as many threads,
bit for bit. Another number of threads adds numbers in another order.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.comparators import Comparator
from baselines.threads import ThreadLimit
from baselines.training.augment import keep_normalisation, mixed, train_batch
from baselines.training.batches import batches_of, epoch_order, step_seed
from baselines.training.best import Best
from baselines.training.checkpoint import Checkpoint
from baselines.training.data.balance import balanced_order, class_weights
from baselines.training.data.sources import ImageData
from baselines.training.optimizer import make_optimizer
from baselines.training.predict import accuracy_of
from baselines.training.recipe import NOTHING_TO_FREEZE, PRECISIONS, Recipe, check_augmentation
from search_spaces.architecture import RGB, Architecture
from search_spaces.errors import MnasError
from search_spaces.network import build_network

# Arguments of `step_seed` beyond those of real steps and devices: the step for the initial weights, and what is added
# to the rank for the augmentation.
FIRST_WEIGHTS, AUGMENTATION = 2**31, 2**16

# Parts of a network that stand still in frozen epochs; its classifier is all that learns then.
BACKBONE = ("stem", "stages", "head")

# The loss is read every LOOK_EVERY steps, or after LOOK_SECONDS: reading it waits for the GPU.
LOOK_EVERY, LOOK_SECONDS = 20, 1.0


class DivergenceError(MnasError):
    """A loss or a weight is no longer finite."""


@dataclass(frozen=True)
class Progress:
    """Progress of a training, reported every `LOOK_EVERY` steps, after `LOOK_SECONDS`, and after each epoch.

    Attributes:
        step, steps: steps completed, and steps in total.
        epoch: epochs completed.
        loss: training loss of the last step; between multiples of `LOOK_EVERY`, that of the first device alone.
        rate: learning rate of the last step.
        images_per_second: speed since the previous report.
        accuracy: accuracy on the validation part, after an epoch that was validated; None otherwise.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    rate: float
    images_per_second: float
    accuracy: float | None = None


@dataclass(frozen=True)
class Trained:
    """Result of a training.

    Attributes:
        network: network with the weights of the last step.
        averaged: network to evaluate: with the moving average of weights and batch-norm statistics, if there is one,
            and with the weights of the best epoch, if the recipe keeps that; `network` if neither.
        steps: steps of the optimizer.
        seconds: time that this process took.
        first_rank: whether this is the first of the processes that trained together.
    """

    network: nn.Module
    averaged: nn.Module
    steps: int
    seconds: float
    first_rank: bool


def train(
    network: Architecture | Comparator,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int = 0,
    folder: Path | None = None,
    initial: Mapping[str, Tensor] | None = None,
    precision: str = "auto",
    micro_batches: int = 1,
    recompute: bool = False,
    compiled: bool = False,
    devices: int = 1,
    threads: int = 0,
    watch: Callable[[Progress], None] = lambda progress: None,
    validate_every: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a network.

    Args:
        network: network with the resolution and classes of the data (`search_spaces.adaptation`).
        data: images; the train part is learned from, the val part is used for validation.
        recipe: recipe to train with.
        seed: random seed of the initial weights, the order of the images, and all other draws.
        folder: folder of the checkpoint; if there is one, the training resumes from it. None keeps no checkpoint.
        initial: initial weights; None for fresh ones.
        precision: one of `PRECISIONS`.
        micro_batches: number of parts that a batch is divided into, as equal as possible; their gradients are summed.
        recompute: whether the inner feature maps of blocks are recomputed in the backward pass
            (`search_spaces.network.Network`); ignored for a network of another project.
        compiled: whether to compile the network.
        devices: number of devices that train together, each in a process of its own that calls this function with the
            environment of `baselines.training.ranks`.
        threads: threads of the computation on a CPU, which the devices share; 0 for as many as torch has.
        watch: function that is called with the progress, in the first process.
        validate_every: epochs between validations, which use at most a micro-batch of images at once; 0 for none. A
            recipe may need one after every epoch.
        stop: function that returns whether to stop after the current step; its state is saved.

    Raises:
        KeyboardInterrupt: the training was stopped before its end.
        DivergenceError: the loss or a weight is no longer finite.
        MnasError: classes or channels do not match, epochs without initial weights are frozen, or the checkpoint
            belongs to another training.
    """
    if network.num_classes != len(data.classes):
        raise MnasError(
            f"num_classes: the network has {network.num_classes} classes, the data {len(data.classes)}; "
            "set num_classes to the number in the data"
        )
    channels = network.in_channels if isinstance(network, Architecture) else RGB
    if channels != data.channels:
        raise MnasError(f"channels: the network takes {channels} channels, the images have {data.channels}; adapt one")
    check_augmentation(recipe, channels)
    with _thread_limit(threads, devices):
        fabric = _make_fabric(precision, devices)
        training = _Training(network, data, recipe, seed, fabric, micro_batches, recompute=recompute)
        training.start(folder, initial, compiled=compiled)
        started = time.perf_counter()
        training.run(watch, 1 if recipe.watched else validate_every, stop)
        seconds = time.perf_counter() - started
    return Trained(training.network, training.evaluated, training.steps, seconds, fabric.is_global_zero)


def _thread_limit(threads: int, devices: int) -> AbstractContextManager[object]:
    """The threads of one of the devices, also if there are fewer cores; GPUs need no limit."""
    if torch.cuda.is_available() or (not threads and devices == 1):
        return nullcontext()
    return ThreadLimit(max(1, (threads or torch.get_num_threads()) // devices))


class _Training:
    """A training in progress, and its state between steps."""

    def __init__(
        self,
        network: Architecture | Comparator,
        data: ImageData,
        recipe: Recipe,
        seed: int,
        fabric: Any,
        micro_batches: int,
        *,
        recompute: bool,
    ) -> None:
        self._fabric = fabric
        self._device = fabric.device
        self._batch = min(recipe.batch, len(data.train)) // fabric.world_size * fabric.world_size
        if not self._batch:
            count = len(data.train)
            raise MnasError(
                f"devices: {fabric.world_size} devices for {count} training images; use at most one device per image"
            )
        recipe = replace(recipe, batch=self._batch)  # the learning rate depends on it
        self._data, self._recipe, self._seed, self._micro_batches = data, recipe, seed, micro_batches
        self._side = network.resolution
        # For images in files, the reader has already cropped the area from the full image.
        cropped = recipe.crop == "resize" and data.train.side is None
        self._device_recipe = replace(recipe, crop="none") if cropped else recipe
        self._steps_per_epoch = len(data.train) // self._batch
        self.steps = recipe.epochs * self._steps_per_epoch
        torch.manual_seed(step_seed(seed, FIRST_WEIGHTS))
        module = _build(network, recipe, recompute=recompute)
        keep_normalisation(module, recipe)
        self.network: nn.Module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weights = None
        if recipe.balance == "weights":
            weights = torch.from_numpy(class_weights(data.train.labels, len(data.classes))).float().to(self._device)
        # With weights, torch divides the loss by their sum over a batch if it gets labels, but by the number of images
        # if it gets shares of classes: only these add up over parts of a batch and over devices.
        self._shares = bool(recipe.mixup or recipe.cutmix or weights is not None)
        self._loss = nn.CrossEntropyLoss(weight=weights, label_smoothing=recipe.label_smoothing)
        self._generator = torch.Generator()
        self._best = Best(recipe)
        self._step = 0

    @property
    def evaluated(self) -> nn.Module:
        """The network to evaluate: the averaged one if there is an average, of the epoch that is kept."""
        return self._best.kept(self._current)

    @property
    def _current(self) -> nn.Module:
        """The network to evaluate, as it is after this step."""
        return self.network if self._averaged is None else self._averaged.module

    @property
    def _has_ended(self) -> bool:
        epoch, rest = divmod(self._step, self._steps_per_epoch)
        return self._step == self.steps or (rest == 0 and self._best.is_long_ago(epoch))

    def start(self, folder: Path | None, initial: Mapping[str, Tensor] | None, *, compiled: bool) -> None:
        """Set network, optimizer and average to the last checkpoint, or to the initial state if there is none."""
        if initial is not None:
            self.network.load_state_dict(dict(initial))
        optimizer = make_optimizer(self.network, self._recipe)
        self._averaged = _make_average(self.network, self._recipe, self._device) if self._recipe.ema else None
        self._plain = torch.compile(self.network) if compiled else self.network
        self._model, self._optimizer = self._fabric.setup(self._plain, optimizer)
        best = self._best if self._recipe.watched else None
        self._checkpoint = Checkpoint(folder, self.network, self._optimizer, self._averaged, best)
        self._step = self._checkpoint.load(self._device)
        if self._recipe.freeze_epochs and initial is None and not self._step:
            raise MnasError(NOTHING_TO_FREEZE)

    def run(self, watch: Callable[[Progress], None], validate_every: int, stop: Callable[[], bool]) -> None:
        """Train to the end, or until stopped."""
        fabric, per_epoch, first_rank = self._fabric, self._steps_per_epoch, self._fabric.is_global_zero
        reader = batches_of(self._data.train, self._side, self._device, self._recipe, self._seed)
        last_report, images = time.perf_counter(), 0
        ended = self._has_ended
        while not ended:
            epoch, first = divmod(self._step, per_epoch)
            self._set_mode()
            indices = self._order(epoch)[: per_epoch * self._batch]
            rows = indices.reshape(per_epoch, fabric.world_size, -1)[first:, fabric.global_rank]
            for pixels, labels in reader.read(list(rows), self._step):
                loss, rate = self._train_on(pixels, labels)
                images += self._batch
                stopped = stop() and self._step < self.steps
                # All devices must average the loss at the same steps. Only the first acts on the time and on `stop`.
                look = self._step % LOOK_EVERY == 0 or self._step % per_epoch == 0
                seconds = time.perf_counter() - last_report
                if look:
                    loss = fabric.all_reduce(loss)
                if not first_rank:
                    continue
                late = seconds >= LOOK_SECONDS
                if (self._device.type == "cpu" or look or late or stopped) and not loss.isfinite():
                    self._fail(f"the loss is {float(loss)}")
                if look or late:
                    accuracy, epoch = self._validate(validate_every), self._step // per_epoch
                    watch(Progress(self._step, self.steps, epoch, float(loss), rate, images / seconds, accuracy))
                    last_report, images = time.perf_counter(), 0
                if self._has_ended or self._checkpoint.is_due or stopped:
                    if not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
                        self._fail("a weight is no longer finite")
                    self._checkpoint.save(self._step)
                if stopped:
                    raise KeyboardInterrupt
            # Only the first device knows the accuracies.
            ended = fabric.broadcast(self._has_ended) if self._recipe.patience else self._has_ended

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """Indices of the training images in the order of an epoch, the same on all devices."""
        if self._recipe.balance == "sampler":
            return balanced_order(self._seed, epoch, self._data.train.labels)
        return epoch_order(self._seed, epoch, len(self._data.train))

    def _fail(self, problem: str) -> NoReturn:
        checkpoint = self._checkpoint
        hint = f"the last saved step is {checkpoint.step}" if checkpoint.is_enabled else "use a lower learning rate"
        raise DivergenceError(f"train: {problem} at step {self._step} of {self.steps}; {hint}")

    def _train_on(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """Train one step. Returns its loss and learning rate."""
        rate = self._recipe.rate(self._step, self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        rank = self._fabric.global_rank
        torch.manual_seed(step_seed(self._seed, self._step, rank))  # for dropout and drop-connect
        self._generator.manual_seed(step_seed(self._seed, self._step, AUGMENTATION + rank))
        total = torch.zeros((), device=pixels.device)
        count = self._micro_batches
        pieces = list(zip(pixels.tensor_split(count), labels.tensor_split(count), strict=True))
        for number, (piece, piece_labels) in enumerate(pieces, 1):
            defer_sync = number < len(pieces) and self._fabric.world_size > 1
            with self._fabric.no_backward_sync(self._model, enabled=defer_sync):
                inputs, targets = train_batch(piece, self._device_recipe, self._side, self._generator), piece_labels
                if self._shares:
                    classes = len(self._data.classes)
                    inputs, targets = mixed(inputs, piece_labels, self._recipe, classes, self._generator)
                loss = self._loss(self._model(inputs), targets) * (len(piece_labels) / len(labels))
                self._fabric.backward(loss)
            total += loss.detach()
        if self._recipe.clip_norm:
            self._fabric.clip_gradients(
                self._model, self._optimizer, max_norm=self._recipe.clip_norm, error_if_nonfinite=False
            )
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._averaged is not None:
            self._averaged.update_parameters(self.network)
        self._step += 1
        return total, rate

    def _validate(self, every: int) -> float | None:
        """Accuracy on the validation part, after an epoch that is to be validated; None otherwise."""
        epoch, rest = divmod(self._step, self._steps_per_epoch)
        if rest or not every or epoch % every:
            return None
        at_once = math.ceil(self._batch / self._fabric.world_size / self._micro_batches)
        accuracy = accuracy_of(self._current, self._data.val, self._side, self._device, at_once)
        self._best.see(epoch, accuracy, self._current)
        return accuracy

    def _set_mode(self) -> None:
        """Set the network to training, and its backbone to evaluation without gradients in frozen epochs."""
        self._model.train()
        if not self._recipe.freeze_epochs:
            return
        learns = self._step >= self._recipe.freeze_epochs * self._steps_per_epoch
        changed = False
        for name in BACKBONE:
            part = getattr(self.network, name)
            changed = changed or next(part.parameters()).requires_grad != learns
            part.train(learns).requires_grad_(learns)
        if changed and self._fabric.world_size > 1:  # each device expects gradients of the weights of its setup
            self._model = self._fabric.setup_module(self._plain)


def _build(network: Architecture | Comparator, recipe: Recipe, *, recompute: bool) -> nn.Module:
    """The network with the recipe's values and fresh weights."""
    if isinstance(network, Architecture):
        ours = build_network(recipe.applied(network))
        ours.recompute = recompute
        return ours
    module = network.build()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and recipe.bn_momentum is not None:
            part.momentum = recipe.bn_momentum
        if isinstance(part, nn.Dropout) and recipe.dropout is not None:
            part.p = recipe.dropout
    # torchvision's drop-connect, found by name since torchvision may not be installed; it grows with the depth.
    drops: list[Any] = [part for part in module.modules() if type(part).__name__ == "StochasticDepth"]
    largest = max((part.p for part in drops), default=0.0)
    for part in drops:
        if recipe.drop_connect is not None and largest:
            part.p *= recipe.drop_connect / largest
    return module


def _make_fabric(precision: str, devices: int) -> Any:
    """Lightning's Fabric for this machine; ``auto`` is bf16 on GPUs that support it, else fp32."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # or each process says its precision
    if precision not in PRECISIONS:
        raise MnasError(f"precision: {precision!r}: expected one of {', '.join(PRECISIONS)}")
    gpu = torch.cuda.is_available()
    if precision == "auto":
        precision = "bf16" if gpu and torch.cuda.is_bf16_supported() else "fp32"
    names: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
    if gpu:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    strategy = "ddp" if devices > 1 else "auto"
    fabric = Fabric(
        accelerator="cuda" if gpu else "cpu",
        devices=devices,
        strategy=strategy,
        precision=names[precision],
        plugins=[LightningEnvironment()],  # or Fabric would use the scheduler of the cluster that this process runs on
    )
    if devices > 1:
        fabric.launch()
    return fabric


def _make_average(network: nn.Module, recipe: Recipe, device: torch.device) -> Any:
    """torch's moving average of weights and batch-norm statistics, with TensorFlow's decay, which warms up."""
    from torch.optim.swa_utils import AveragedModel

    def mix(averages: list[Tensor], currents: list[Tensor], _: Tensor | int) -> None:
        weight = 1 - recipe.average_decay(int(averaged.n_averaged))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:  # the number of batches that batch norm has seen
            torch._foreach_copy_(averages, currents)

    averaged = AveragedModel(network, multi_avg_fn=mix, use_buffers=True).to(device)  # type: ignore[arg-type]
    # Read at every step, so it stays on the CPU: reading a copy on the device would wait for it.
    averaged.n_averaged = averaged.n_averaged.cpu()
    return averaged
