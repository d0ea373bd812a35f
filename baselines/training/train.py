"""The one training loop: proxy trials of a minute and full trainings alike.

A step depends on the seed and its number alone (its images, its crops, its dropout), so that a training that was killed
goes on from its last checkpoint as if it had not been: on a CPU, bit for bit.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.comparators import Comparator
from baselines.training.augment import normalised, resized, train_batch
from baselines.training.batches import batches_of, order, step_seed
from baselines.training.data import ImageData, Part
from baselines.training.optimizer import make_optimizer
from baselines.training.recipe import PRECISIONS, Recipe
from search_spaces.architecture import Architecture
from search_spaces.errors import MnasError
from search_spaces.network import build_network

CHECKPOINT_SECONDS = 60.0
CHECKPOINT = "checkpoint.pt"
EVALUATION_BATCH = 250
# Numbers that no step has, for what is random beside the steps.
FIRST_WEIGHTS, AUGMENTATION = 2**31, 2**16
# A loss is looked at every so many steps, and after a step that ends so long after the last look; that waits for a GPU.
LOOK_EVERY, LOOK_SECONDS = 20, 1.0


class DivergenceError(MnasError):
    """A loss or a weight is no number any more."""


@dataclass(frozen=True)
class Progress:
    """Where a training is; given after every `LOOK_EVERY` steps, `LOOK_SECONDS` and epochs.

    Attributes:
        step, steps: done and in all.
        epoch: done.
        loss: of the last step on the training images; of the first device's alone between two `LOOK_EVERY`.
        rate: the learning rate.
        images_per_second: since the last.
        accuracy: on the validation part, after an epoch where it was asked for; else None.
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
    """What a training comes to.

    Attributes:
        network: with its last weights.
        averaged: the same with the moving average of weights and batch-norm statistics; `network` where there is none.
        steps: of the optimizer.
        seconds: of this process.
        first_rank: whether this process is the first of those that trained together.
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
    watch: Callable[[Progress], None] = lambda progress: None,
    validate_every: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train a network.

    Args:
        network: at the resolution and with the classes it is trained for (`search_spaces.adaptation`).
        data: its train part is learned from, its val part looked at where asked for.
        seed: of the initial weights, the order and everything random.
        folder: where checkpoints are kept; one that is there is gone on from.
        initial: weights to begin with.
        precision: one of `PRECISIONS`.
        micro_batches: into how many a batch is divided, as equal as can be; their gradients are added up.
        recompute: whether the inner maps of blocks are computed again for the backward pass
            (`search_spaces.network.Network`); not for a network of another project.
        compiled: whether to compile the network.
        devices: how many train together, each in a process of its own that calls this with the environment of
            `baselines.training.ranks`.
        watch: is told how it goes, in the first process.
        validate_every: epochs between looks at the validation part, of which no more images are taken at once than a
            micro-batch has; 0 for none.
        stop: whether to end after the step that is under way; its state is kept.

    Raises:
        KeyboardInterrupt: it was to stop before its end.
        DivergenceError: the loss is no number any more.
        MnasError: classes do not fit, or a checkpoint is of something else.
    """
    if network.num_classes != len(data.classes):
        raise MnasError(
            f"num_classes: the network tells {network.num_classes} classes apart, the data has "
            f"{len(data.classes)}; give it as many"
        )
    fabric = _fabric(precision, devices)
    training = _Training(network, data, recipe, seed, fabric, micro_batches, recompute=recompute)
    training.begin(folder, initial, compiled=compiled)
    began = time.perf_counter()
    training.run(watch, validate_every, stop)
    seconds = time.perf_counter() - began
    return Trained(training.network, training.judged, training.steps, seconds, fabric.is_global_zero)


class _Training:
    """State of a training, from one step to the next."""

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
            raise MnasError(f"devices: {fabric.world_size} are more than the {len(data.train)} images to train on")
        recipe = replace(recipe, batch=self._batch)  # which the learning rate goes by
        self._data, self._recipe, self._seed, self._micro_batches = data, recipe, seed, micro_batches
        self._side = network.resolution
        # Of images in files, their reader has drawn the area already, from the whole image.
        drawn = recipe.crop == "resize" and data.train.side is None
        self._on_device = replace(recipe, crop="none") if drawn else recipe
        self._steps_per_epoch = len(data.train) // self._batch
        self.steps = recipe.epochs * self._steps_per_epoch
        torch.manual_seed(step_seed(seed, FIRST_WEIGHTS))
        built = _built(network, recipe, recompute=recompute)
        self.network: nn.Module = built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
        self._generator = torch.Generator()
        self._step = 0

    @property
    def judged(self) -> nn.Module:
        """The network that is evaluated: the averaged one where there is one."""
        return self.network if self._averaged is None else self._averaged.module

    def begin(self, folder: Path | None, initial: Mapping[str, Tensor] | None, *, compiled: bool) -> None:
        """Bring network, optimizer and average to where the last checkpoint is, or to the start."""
        if initial is not None:
            self.network.load_state_dict(dict(initial))
        optimizer = make_optimizer(self.network, self._recipe)
        self._averaged = _average(self.network, self._recipe, self._device) if self._recipe.ema else None
        model = torch.compile(self.network) if compiled else self.network
        self._model, self._optimizer = self._fabric.setup(model, optimizer)
        self._keeper = _Keeper(folder, self.network, self._optimizer, self._averaged)
        self._step = self._keeper.load(self._device)

    def run(self, watch: Callable[[Progress], None], validate_every: int, stop: Callable[[], bool]) -> None:
        """Train to the end, or until it is to stop."""
        fabric, per_epoch, first_rank = self._fabric, self._steps_per_epoch, self._fabric.is_global_zero
        reader = batches_of(self._data.train, self._side, self._device, self._recipe, self._seed)
        self._model.train()
        looked, images = time.perf_counter(), 0
        while self._step < self.steps:
            epoch, first = divmod(self._step, per_epoch)
            indices = order(self._seed, epoch, len(self._data.train))[: per_epoch * self._batch]
            rows = indices.reshape(per_epoch, fabric.world_size, -1)[first:, fabric.global_rank]
            for pixels, labels in reader.read(list(rows), self._step):
                loss, rate = self._train_on(pixels, labels)
                images += self._batch
                stopped = stop() and self._step < self.steps
                # All devices look at the same steps; the first one alone knows the time, and that it is to stop.
                look = self._step % LOOK_EVERY == 0 or self._step % per_epoch == 0
                seconds = time.perf_counter() - looked
                if look:
                    loss = fabric.all_reduce(loss)
                if not first_rank:
                    continue
                late = seconds >= LOOK_SECONDS
                if (self._device.type == "cpu" or look or late or stopped) and not loss.isfinite():
                    self._fail(f"the loss is {float(loss)}")
                if look or late:
                    accuracy, epoch = self._validated(validate_every), self._step // per_epoch
                    watch(Progress(self._step, self.steps, epoch, float(loss), rate, images / seconds, accuracy))
                    looked, images = time.perf_counter(), 0
                if self._step == self.steps or self._keeper.is_due or stopped:
                    if not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
                        self._fail("a weight is no number any more")
                    self._keeper.save(self._step)
                if stopped:
                    raise KeyboardInterrupt

    def _fail(self, what: str) -> NoReturn:
        kept = (
            f"the state of step {self._keeper.step} is kept" if self._keeper.keeps else "the learning rate is too high"
        )
        raise DivergenceError(f"train: {what} at step {self._step} of {self.steps}; {kept}")

    def _train_on(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """One step; its loss and its learning rate."""
        rate = self._recipe.rate(self._step, self._steps_per_epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        rank = self._fabric.global_rank
        torch.manual_seed(step_seed(self._seed, self._step, rank))  # of dropout and drop-connect
        self._generator.manual_seed(step_seed(self._seed, self._step, AUGMENTATION + rank))
        total = torch.zeros((), device=pixels.device)
        count = self._micro_batches
        pieces = list(zip(pixels.tensor_split(count), labels.tensor_split(count), strict=True))
        for number, (piece, truth) in enumerate(pieces, 1):
            waits = number < len(pieces) and self._fabric.world_size > 1
            with self._fabric.no_backward_sync(self._model, enabled=waits):
                inputs = train_batch(piece, self._on_device, self._side, self._generator)
                loss = self._loss(self._model(inputs), truth) * (len(truth) / len(labels))
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

    def _validated(self, every: int) -> float | None:
        """Accuracy on the validation part, after an epoch where it is asked for."""
        epoch, rest = divmod(self._step, self._steps_per_epoch)
        if rest or not every or epoch % every:
            return None
        at_once = math.ceil(self._batch / self._fabric.world_size / self._micro_batches)
        accuracy = accuracy_of(self.judged, self._data.val, self._side, self._device, at_once)
        self._model.train()
        return accuracy


def _built(network: Architecture | Comparator, recipe: Recipe, *, recompute: bool) -> nn.Module:
    """A network as the recipe trains it, with fresh weights."""
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
    # torchvision's drop-connect, by name, since it may not be installed here; it grows with the depth.
    drops: list[Any] = [part for part in module.modules() if type(part).__name__ == "StochasticDepth"]
    most = max((part.p for part in drops), default=0.0)
    for part in drops:
        if recipe.drop_connect is not None and most:
            part.p *= recipe.drop_connect / most
    return module


def _fabric(precision: str, devices: int) -> Any:
    """Lightning's Fabric on what this machine has; bf16 on GPUs that know it, else fp32."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    if precision not in PRECISIONS:
        raise MnasError(f"precision: {precision!r} is none of {', '.join(PRECISIONS)}; choose one")
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
        plugins=[LightningEnvironment()],  # ours, not those of a cluster's scheduler that started this process
    )
    if devices > 1:
        fabric.launch()
    return fabric


def _average(network: nn.Module, recipe: Recipe, device: torch.device) -> Any:
    """torch's moving average of a network, with TensorFlow's decay that warms up, over batch-norm statistics too."""
    from torch.optim.swa_utils import AveragedModel

    def mix(averages: list[Tensor], currents: list[Tensor], _: Tensor | int) -> None:
        weight = 1 - recipe.average_decay(int(averaged.n_averaged))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, currents, weight)
        else:  # how many batches batch norm has seen
            torch._foreach_copy_(averages, currents)

    averaged = AveragedModel(network, multi_avg_fn=mix, use_buffers=True).to(device)  # type: ignore[arg-type]
    # Which is read at every step, and must not wait for the device, where torch has a copy of it.
    averaged.n_averaged = averaged.n_averaged.cpu()
    return averaged


class _Keeper:
    """Keeps a training's state in a folder: one file that is always whole. The first device's alone saves."""

    def __init__(self, folder: Path | None, network: nn.Module, optimizer: Any, averaged: Any) -> None:
        self._file = None if folder is None else folder / CHECKPOINT
        self._network, self._optimizer, self._averaged = network, optimizer, averaged
        self._saved = time.monotonic()
        self.step = 0
        """Of the state that is kept; 0 where there is none."""

    def load(self, device: torch.device) -> int:
        """The step that the state is of, which is set; 0 where there is none."""
        if self._file is None or not self._file.is_file():
            return 0
        try:
            state = torch.load(self._file, map_location=device, weights_only=True)
            self._network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._averaged is not None:
                self._averaged.load_state_dict(state["averaged"])
            self.step = int(state["step"])
            return self.step
        except Exception as error:  # torch raises many kinds for a file that is none of its own
            reason = str(error).splitlines()[0]
            raise MnasError(f"{self._file}: is of another training ({reason}); remove it to begin anew") from None

    @property
    def keeps(self) -> bool:
        """Whether there is a folder to keep anything in."""
        return self._file is not None

    @property
    def is_due(self) -> bool:
        """Whether the last state is old enough."""
        return self.keeps and time.monotonic() >= self._saved + CHECKPOINT_SECONDS

    def save(self, step: int) -> None:
        """Write the state after a step. Raises `MnasError` where that fails."""
        if self._file is None:
            return
        state = {"step": step, "network": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}
        if self._averaged is not None:
            state["averaged"] = self._averaged.state_dict()
        target = self._file.with_suffix(".new")
        try:
            torch.save(state, target)
            os.replace(target, self._file)
        except (OSError, RuntimeError) as error:
            target.unlink(missing_ok=True)
            raise MnasError(f"{self._file}: cannot be written ({error}); make room, then go on with --resume") from None
        self._saved, self.step = time.monotonic(), step


@torch.inference_mode()
def logits_of(
    network: nn.Module, part: Part, side: int, device: torch.device, at_once: int = EVALUATION_BATCH
) -> Tensor:
    """Logits of all images of a part, in order, in evaluation mode: shape (N, classes), on the CPU.

    Args:
        side: of the network's input in pixels.
        at_once: images at once, if that is less than `EVALUATION_BATCH`: with as many as a step had, evaluating needs
            less memory than training did.
    """
    network.eval()
    found = []
    size = min(at_once, EVALUATION_BATCH)
    indices = [np.arange(start, min(start + size, len(part))) for start in range(0, len(part), size)]
    for images, _ in batches_of(part, side, device, None).read(indices, 0):
        found.append(network(normalised(resized(images, side))).float().cpu())
    return torch.cat(found) if found else torch.empty(0, 0)


def hits_of(
    network: nn.Module, part: Part, side: int, device: torch.device, at_once: int = EVALUATION_BATCH
) -> NDArray[np.bool_]:
    """Of each image of a part, whether its class is the network's first; arguments as of `logits_of`."""
    found: NDArray[np.bool_] = logits_of(network, part, side, device, at_once).argmax(1).numpy() == part.labels
    return found


def accuracy_of(
    network: nn.Module, part: Part, side: int, device: torch.device, at_once: int = EVALUATION_BATCH
) -> float:
    """Share of a part's images whose class is the network's first; arguments as of `logits_of`."""
    return float(hits_of(network, part, side, device, at_once).mean())
