"""How a training fits the memory there is: images at once, and what of a block is kept for its backward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from baselines.comparators import Comparator, counts_of
from baselines.memory import device_here, free_bytes, give_back_maps, measured_peak, resident_bytes
from baselines.training.batches import ON_DEVICE_BYTES
from baselines.training.data import ImageData
from baselines.training.recipe import Recipe
from search_spaces.architecture import Architecture
from search_spaces.errors import MnasError
from search_spaces.memory import network_memory

# The share of the memory that is free now which a training takes where it is told no limit, and what it leaves of one.
SHARE, MARGIN = 0.9, 0.05
# Batch norm's statistics of fewer images at once are so noisy that computing blocks again, to have more, is worth its
# time (our choice; EfficientNet was trained with groups of at least 64: 8 shards of 8 images, tensorflow/tpu).
FEW_IMAGES = 32
# What the C library holds for one byte of maps on a CPU where it may keep what was freed: measured 1.07 to 1.3.
HEAP = 1.25
FLOAT = 4
# A measured step has at least so many bytes of maps, beside which nothing else counts.
MEASURED_BYTES = 2**26


@dataclass(frozen=True)
class MemoryPlan:
    """How many images a training takes at once, and the memory that it then needs, in bytes.

    Attributes:
        batch: images of a step, on one device.
        micro_batches: into how many it is divided, as equal as can be; their gradients are added up.
        recompute: whether the inner maps of blocks are computed again for the backward pass.
        process: of the process itself (on a CPU; 0 on a GPU).
        state: weights, gradients, the optimizer's state and the moving average, and one copy for its work (and one more
            to average gradients over devices).
        inputs: images of the whole batch, as they are read; on a GPU, all of train where they are put there.
        per_image: of a micro-batch, kept for the backward pass or alive in it, with what the C library holds for it.
        measured: bytes of activations that the measured step had for one of the closed form; None where there was no
            room to measure.
        limit: that there is.
    """

    batch: int
    micro_batches: int
    recompute: bool
    process: int
    state: int
    inputs: int
    per_image: int
    measured: float | None
    limit: int

    @property
    def micro_batch(self) -> int:
        """Images at once."""
        return math.ceil(self.batch / self.micro_batches)

    @property
    def peak(self) -> int:
        """The most that is needed at once."""
        return self.process + self.state + self.inputs + self.micro_batch * self.per_image

    @property
    def fits(self) -> bool:
        """Whether it goes into the limit."""
        return self.peak <= (1 - MARGIN) * self.limit


def plan_memory(
    network: Architecture | Comparator,
    data: ImageData,
    recipe: Recipe,
    *,
    limit: int | None = None,
    micro_batch: int | None = None,
    precision: str = "auto",
    devices: int = 1,
    compiled: bool = False,
) -> MemoryPlan:
    """Plan a training: by the closed form of the cost model, put right by one step that is trained and measured.

    In this order: the whole batch at once; micro-batches of `FEW_IMAGES` or more; blocks computed again, with the
    largest micro-batch that fits; fewer images at once.

    Args:
        network: as it is trained.
        data: of its train part, a few images are trained on.
        limit: bytes for the process, or for tensors on a GPU; None for `SHARE` of what is free, of which each device on
            a CPU has its part.
        micro_batch: images at once, where they are given; blocks are then computed again if they must be.
        precision: as of `baselines.training.train.train`.
        devices: among which the batch is divided.
        compiled: whether the network is to be compiled; blocks cannot be computed again then.

    Raises:
        MnasError: not even two images at once fit, or so many devices have no two images each.
    """
    import lightning_fabric  # noqa: F401  what trains is part of the process

    device = device_here()
    process = 0 if device.type == "cuda" else resident_bytes()
    limit = limit or process + int(SHARE * free_bytes(device)) // (devices if device.type == "cpu" else 1)
    batch = min(recipe.batch, len(data.train)) // devices
    if batch < 2 or (micro_batch is not None and micro_batch < 2):
        raise MnasError("batch: batch norm needs two images at once; give a larger --batch or --micro-batch")
    weights = FLOAT * counts_of(network)[1]
    state = weights * (3 + _states(recipe) + (1 if devices > 1 else 0))
    pixels = 3 * network.resolution**2
    inputs = batch * pixels
    whole = 3 * len(data.train) * (data.train.side or 0) ** 2
    if device.type == "cuda" and whole <= ON_DEVICE_BYTES:
        inputs += whole
    kept = {way: size for way, size in _kept(network) if not (way and compiled)}

    @cache
    def factor(recompute: bool) -> float | None:
        """Of what the closed form says, what a step has; None where so many images do not go into the limit."""
        count = max(2, min(batch, math.ceil(max(state, MEASURED_BYTES) / kept[recompute])))
        if process + state + count * kept[recompute] > limit:
            return None
        peak = _measured_step(network, data, recipe, count, recompute=recompute, precision=precision)
        # At the peak of the backward pass, the optimizer is not at work.
        return max(0.1, (peak - (state - weights) - count * pixels) / (count * kept[recompute]))

    few = min(FEW_IMAGES, batch) if micro_batch is None else 2
    sizes = range(1, batch // 2 + 1) if micro_batch is None else [math.ceil(batch / min(micro_batch, batch))]
    least: MemoryPlan | None = None
    for recompute, enough in ((False, few), (True, 2), (False, 2)):
        if recompute not in kept:
            continue
        measured = factor(recompute)
        # Once more: a step leaves code and buffers of its own behind.
        process = 0 if device.type == "cuda" else resident_bytes()
        heap = HEAP if device.type == "cpu" and not recompute else 1.0
        each = math.ceil(kept[recompute] * (measured or 1.0) * heap)
        for count in sizes:
            if batch // count < enough:
                break
            plan = MemoryPlan(batch, count, recompute, process, state, inputs, each, measured, limit)
            if plan.fits:
                return plan
            least = plan if least is None or plan.peak < least.peak else least
    if least is None:
        raise MnasError(f"micro_batch: {micro_batch} leaves a part of one image of {batch}; give another")
    raise MnasError(
        f"memory: {least.micro_batch} images at once need {least.peak / 1e9:.2f} GB, there are {limit / 1e9:.2f}; "
        "give more, or a lower --resolution"
    )


def _measured_step(
    network: Architecture | Comparator, data: ImageData, recipe: Recipe, images: int, *, recompute: bool, precision: str
) -> int:
    """The most bytes that lived at once while two steps with so many images were trained, weights included."""
    from baselines.training.train import train

    few = replace(data, train=data.train.take(np.arange(len(data.train))[:images]))
    short = recipe.with_values(epochs=2, batch=images, warmup_epochs=0.0)
    device = device_here()
    # Otherwise a heap of large pieces is left, which the training that follows would take its maps from.
    give_back_maps(at_once=True)
    with measured_peak(device) as peak:
        train(network, few, short, precision=precision, recompute=recompute, devices=1)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # other processes may train on it
    return peak.bytes


def _kept(network: Architecture | Comparator) -> Iterator[tuple[bool, int]]:
    """Bytes for one image without and (of a network of ours) with recomputing, in float32."""
    if isinstance(network, Architecture):
        memory = network_memory(network)
        yield False, FLOAT * memory.training
        yield True, FLOAT * memory.recomputing
        return
    yield False, _saved(network, 3) - _saved(network, 2)


def _saved(network: Comparator, images: int) -> int:
    """Bytes that autograd keeps of a forward pass, which is run without any numbers."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = network.build()(torch.empty(images, 3, network.resolution, network.resolution))
    del outputs
    return sum(kept.values())


def _states(recipe: Recipe) -> int:
    """How many numbers a weight has beside itself and its gradient: in the optimizer, and the average."""
    return {"rmsprop-tf": 2, "sgd": 1}[recipe.optimizer] + (1 if recipe.ema else 0)
