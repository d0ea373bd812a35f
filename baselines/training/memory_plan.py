"""Fits a training into memory: how many images to compute at once, and whether to recompute blocks."""

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
from baselines.training.data.sources import ImageData
from baselines.training.recipe import Recipe
from search_spaces.architecture import Architecture
from search_spaces.errors import MnasError
from search_spaces.memory import network_memory

# Share of the free memory that a training may use if it has no limit, and share of every limit that stays unused.
SHARE, MARGIN = 0.9, 0.05
# With fewer images at once, batch norm's statistics are so noisy that recomputing blocks, to fit more images, is worth
# its time (our choice; EfficientNet was trained with groups of at least 64: 8 shards of 8 images, tensorflow/tpu).
FEW_IMAGES = 32
# Bytes that the C library holds on a CPU for one byte of feature maps if it keeps freed memory: measured 1.07 to 1.3.
HEAP = 1.25
FLOAT = 4
# A measured step has at least this many bytes of feature maps, so that everything else is negligible.
MEASURED_BYTES = 2**26


@dataclass(frozen=True)
class MemoryPlan:
    """How many images a training computes at once, and the memory that it needs, in bytes.

    Attributes:
        batch: images in a step, on one device.
        micro_batches: number of parts that the batch is divided into, as equal as possible; their gradients are summed.
        recompute: whether the inner feature maps of blocks are recomputed in the backward pass.
        process: memory of the process itself (on a CPU; 0 on a GPU).
        state: memory of the weights, gradients, optimizer state and moving average, plus one working copy for the
            optimizer (one more to average gradients over devices, and on a CPU one of the best epoch if it is kept).
        inputs: memory of the images of a batch, as they are read; on a GPU, plus all training images if they are kept
            there.
        per_image: memory for each image of a micro-batch: feature maps that are kept for the backward pass or alive in
            it, including what the C library holds for them.
        measured: bytes of activations in the measured step, relative to the closed form; None if there was no room to
            measure.
        limit: available memory.
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
        """Images computed at once."""
        return math.ceil(self.batch / self.micro_batches)

    @property
    def peak(self) -> int:
        """Peak memory in bytes."""
        return self.process + self.state + self.inputs + self.micro_batch * self.per_image

    @property
    def fits(self) -> bool:
        """Whether the peak stays within the limit, less `MARGIN`."""
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
    """Plan the memory of a training, with the closed form of the cost model, corrected by a short measured training.

    The plan is the first of these that fits: the whole batch at once; micro-batches of `FEW_IMAGES` or more; recomputed
    blocks, with the largest micro-batch that fits; fewer images at once.

    Args:
        network: network to train.
        data: images; a few of the train part are used to measure.
        recipe: recipe to train with.
        limit: most bytes for the process, or for tensors on a GPU; None for `SHARE` of the free memory, which devices
            on a CPU share equally.
        micro_batch: images to compute at once, with blocks recomputed only if necessary; None to plan both.
        precision: as for `baselines.training.loop.train`.
        devices: number of devices that the batch is divided among.
        compiled: whether the network will be compiled; its blocks cannot be recomputed then.

    Raises:
        MnasError: two images at once do not fit, or a device would have fewer than two images.
    """
    import lightning_fabric  # noqa: F401  its memory is part of the process

    device = device_here()
    process = 0 if device.type == "cuda" else resident_bytes()
    limit = limit or process + int(SHARE * free_bytes(device)) // (devices if device.type == "cpu" else 1)
    batch = min(recipe.batch, len(data.train)) // devices
    if batch < 2 or (micro_batch is not None and micro_batch < 2):
        raise MnasError("batch: batch norm needs two images at once; use a larger --batch or --micro-batch")
    weights = FLOAT * counts_of(network)[1]
    kept = recipe.keep == "best" and device.type == "cpu"
    state = weights * (3 + _values_per_weight(recipe) + (devices > 1) + kept)
    pixels = data.channels * network.resolution**2
    inputs = batch * pixels
    all_images = data.channels * len(data.train) * (data.train.side or 0) ** 2
    if device.type == "cuda" and all_images <= ON_DEVICE_BYTES:
        inputs += all_images
    bytes_per_image = {mode: size for mode, size in _bytes_per_image(network) if not (mode and compiled)}

    @cache
    def factor(recompute: bool) -> float | None:
        """Measured memory of a step relative to the closed form; None if the images to measure with do not fit."""
        count = max(2, min(batch, math.ceil(max(state, MEASURED_BYTES) / bytes_per_image[recompute])))
        if process + state + count * bytes_per_image[recompute] > limit:
            return None
        peak = _measure_steps(network, data, recipe, count, recompute=recompute, precision=precision)
        # At the peak, in the backward pass, the optimizer's working copy does not exist.
        return max(0.1, (peak - (state - weights) - count * pixels) / (count * bytes_per_image[recompute]))

    enough_images = min(FEW_IMAGES, batch) if micro_batch is None else 2
    counts = range(1, batch // 2 + 1) if micro_batch is None else [math.ceil(batch / min(micro_batch, batch))]
    least: MemoryPlan | None = None
    for recompute, min_images in ((False, enough_images), (True, 2), (False, 2)):
        if recompute not in bytes_per_image:
            continue
        measured = factor(recompute)
        # Read again, because the measured steps leave code and buffers behind.
        process = 0 if device.type == "cuda" else resident_bytes()
        heap = HEAP if device.type == "cpu" and not recompute else 1.0
        per_image = math.ceil(bytes_per_image[recompute] * (measured or 1.0) * heap)
        for count in counts:
            if batch // count < min_images:
                break
            plan = MemoryPlan(batch, count, recompute, process, state, inputs, per_image, measured, limit)
            if plan.fits:
                return plan
            least = plan if least is None or plan.peak < least.peak else least
    if least is None:
        raise MnasError(
            f"micro_batch: {micro_batch} leaves one image of {batch} alone, and batch norm needs two; use another value"
        )
    raise MnasError(
        f"memory: {least.micro_batch} images at once need {least.peak / 1e9:.2f} GB, but {limit / 1e9:.2f} GB are "
        "available; use a higher --memory or a lower --resolution"
    )


def _measure_steps(
    network: Architecture | Comparator, data: ImageData, recipe: Recipe, images: int, *, recompute: bool, precision: str
) -> int:
    """Peak bytes, weights included, while two steps with this many images are trained."""
    from baselines.training.loop import train

    few_images = replace(data, train=data.train.take(np.arange(len(data.train))[:images]))
    short_recipe = recipe.with_values(
        epochs=2, batch=images, warmup_epochs=0.0, freeze_epochs=0, patience=0, keep="last"
    )
    device = device_here()
    # Otherwise a heap of large pieces remains, from which the following training would allocate its feature maps.
    give_back_maps(at_once=True)
    with measured_peak(device) as peak:
        train(network, few_images, short_recipe, precision=precision, recompute=recompute, devices=1)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # other processes may train on this GPU
    return peak.bytes


def _bytes_per_image(network: Architecture | Comparator) -> Iterator[tuple[bool, int]]:
    """Pairs of whether blocks are recomputed (only for our networks) and bytes for one image, in float32."""
    if isinstance(network, Architecture):
        memory = network_memory(network)
        yield False, FLOAT * memory.training
        yield True, FLOAT * memory.recomputing
        return
    yield False, _saved_bytes(network, 3) - _saved_bytes(network, 2)


def _saved_bytes(network: Comparator, images: int) -> int:
    """Bytes that autograd keeps of a forward pass, which runs on the meta device."""
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = network.build()(torch.empty(images, 3, network.resolution, network.resolution))
    del outputs
    return sum(sizes.values())


def _values_per_weight(recipe: Recipe) -> int:
    """Numbers stored for each weight in the optimizer and the moving average."""
    return {"rmsprop-tf": 2, "sgd": 1, "adamw": 2}[recipe.optimizer] + (1 if recipe.ema else 0)
