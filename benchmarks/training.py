"""Speed of the training loop compared with a plain one, its memory, and the result of a search over trainings.

    python benchmarks/training.py speed --data IMAGES             # small images of one size, such as Fashion-MNIST
    python benchmarks/training.py search --data IMAGES --run RUN  # a run of mnas search --evaluator train
    python benchmarks/training.py memory --data IMAGES            # a quarter of an hour on one core

``speed``: images per second of our loop and of a plain one (DataLoader, PIL, fp32, torch's default memory format), with
the same network, batch and augmentation (shift and flip). They alternate in one process, on one thread or on a GPU.

``search``: the run's best network, B0, and random members of the run's space with the MACs of the best (within 2 %).
Each is trained under the run's proxy with seeds that the search did not use, and evaluated on the test part, which the
search did not see.

``memory``: B3 and B5 at their own resolution with batches of 64 within 6 GB, as planned. Two steps of each run in a
separate process; its peak memory is reported by the kernel (on a GPU, by torch's allocator).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from baselines import load
from baselines.memory import device_here
from search_spaces import Architecture, architecture_cost, load_stage_space

BATCH = 64
ROUNDS = 5
STEPS = 12
GPU_BATCH, GPU_STEPS = 512, 40
RANDOM_NETWORKS = 3
MEMORY = 6 * 10**9


def speed(data: str, run: str, seeds: int, workers: int) -> None:
    import torch
    from PIL import Image
    from torch import nn
    from torch.utils.data import DataLoader

    from baselines.training.data.sources import load_data
    from baselines.training.loop import train
    from baselines.training.recipe import load_recipe
    from search_spaces.adaptation import adapted
    from search_spaces.network import build_network

    torch.set_num_threads(1)
    device = device_here()
    batch, steps = (BATCH, STEPS) if device.type == "cpu" else (GPU_BATCH, GPU_STEPS)
    images = load_data(data)
    images = replace(images, train=images.train.take(np.arange(batch * steps)))
    architecture = adapted(load("efficientnet_b0").architecture, 32, len(images.classes))
    recipe = load_recipe("proxy").with_values(epochs=1, batch=batch)

    class Plain:
        """A data set as written in tutorials."""

        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

        def __len__(self) -> int:
            return len(images.train)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = Image.fromarray(images.train.images[index]).resize((32, 32), Image.Resampling.BICUBIC)
            padded = Image.new("RGB", (40, 40))
            padded.paste(image, (4, 4))
            left, top = np.random.randint(0, 9, 2)
            image = padded.crop((left, top, left + 32, top + 32))
            if np.random.rand() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            values = (torch.from_numpy(np.array(image)).float() / 255 - self.mean) / self.std
            return values.permute(2, 0, 1).contiguous(), int(images.train.labels[index])

    network = build_network(architecture).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, nesterov=True)

    def plain() -> float:
        started = time.perf_counter()
        for inputs, labels in DataLoader(Plain(), batch, shuffle=True):  # type: ignore[arg-type]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(inputs.to(device)), labels.to(device))
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
        loss.item()  # waits for the device
        return len(images.train) / (time.perf_counter() - started)

    def ours() -> float:
        return len(images.train) / train(architecture, images, recipe).seconds

    plain(), ours()
    rates = [(ours(), plain()) for _ in range(ROUNDS)]
    ratio = statistics.median(fast / slow for fast, slow in rates)
    fast, slow = (statistics.median(values) for values in zip(*rates, strict=True))
    rate = f"ours {fast:.0f} images/s, plain {slow:.0f}: {ratio:.2f} times as fast"
    print(f"B0 at 32 px, batch {batch}, {device.type}: {rate}")


def accuracy_on_test_part(job: tuple[str, Architecture, int]) -> float:
    """Train a network under a proxy, and return its accuracy on the test part.

    Args:
        job: name of the evaluator, network, and seed.
    """
    import torch

    from baselines.training.loop import train
    from baselines.training.predict import accuracy_of
    from nas.evaluators.proxy_training import ProxyTraining, proxy_of

    name, architecture, seed = job
    torch.set_num_threads(1)
    evaluator = ProxyTraining(proxy_of(name))
    adapted = evaluator.adapted(architecture)
    trained = train(adapted, evaluator.data, evaluator.recipe, seed=seed)
    device = next(trained.averaged.parameters()).device
    return accuracy_of(trained.averaged, evaluator.data.test, adapted.resolution, device)


def search(data: str, run: str, seeds: int, workers: int) -> None:
    from nas.journal import Journal
    from search_spaces.sampling import MacsDistribution

    with Journal.open(Path(run)) as journal:
        best, settings = journal.best(), journal.settings
    space = load_stage_space(settings.space)
    macs = best.cost.macs
    rows = MacsDistribution(space).sample_indices(
        np.random.default_rng(0), RANDOM_NETWORKS, round(0.98 * macs), round(1.02 * macs)
    )
    networks = {"the best found": best.architecture, "EfficientNet-B0": load("efficientnet_b0").architecture}
    networks |= {f"random {number + 1}": network for number, network in enumerate(space.decode_indices(rows))}
    jobs = [(settings.evaluator, network, 1 + seed) for network in networks.values() for seed in range(seeds)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        accuracy = np.array(list(pool.map(accuracy_on_test_part, jobs))).reshape(len(networks), seeds)
    print(f"{settings.evaluator}: accuracy on the test part, seeds 1 to {seeds}")
    for (name, network), values in zip(networks.items(), accuracy, strict=True):
        difference = accuracy[0] - values
        spread = difference.std(ddof=1) / seeds**0.5
        each = ", ".join(f"{100 * value:.2f}" for value in values)
        line = f"{name}: {architecture_cost(network).macs / 1e6:.1f}M MACs at 224 px, {100 * values.mean():.2f} "
        line += f"± {100 * values.std(ddof=1):.2f} % ({each})"
        if name != "the best found":
            line += f"; best minus this: {100 * difference.mean():+.2f} ± {100 * spread:.2f} points, paired by seed"
        print(line, flush=True)


def memory(data: str, run: str, seeds: int, workers: int) -> None:
    for name in ("efficientnet_b3", "efficientnet_b5"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            print(pool.submit(planned_steps, data, name).result(), flush=True)


def planned_steps(data: str, name: str) -> str:
    """Run two steps of a network within 6 GB, and return the planned and the measured memory as text."""
    import resource

    import torch

    from baselines.memory import give_back_maps
    from baselines.training.data.sources import load_data
    from baselines.training.loop import train
    from baselines.training.memory_plan import plan_memory
    from baselines.training.recipe import load_recipe
    from search_spaces.adaptation import adapted

    images = load_data(data)
    images = replace(images, train=images.train.take(np.arange(BATCH)), val=images.val.take(np.arange(BATCH)))
    recipe = load_recipe("cifar").with_values(batch=BATCH)
    spec = load(name)
    network = adapted(spec.architecture, spec.architecture.resolution, len(images.classes))
    plan = plan_memory(network, images, recipe, limit=MEMORY)
    give_back_maps(at_once=plan.recompute)
    how = {"micro_batches": plan.micro_batches, "recompute": plan.recompute, "validate_every": 2}
    done = train(network, images, recipe.shortened(2), **how)
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    split = f"{plan.micro_batches} parts of {plan.micro_batch}" + (", blocks recomputed" if plan.recompute else "")
    return (
        f"{name} at {network.resolution} px, batch {BATCH}, {split}: plan {plan.peak / 1e9:.2f} GB, measured "
        f"{peak / 1e9:.2f} ({100 * (peak / plan.peak - 1):+.1f} %), {done.seconds:.0f} s for two steps and a validation"
    )


PARTS = {"speed": speed, "search": search, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training: speed, memory, and the result of a search.")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments.data, arguments.run, arguments.seeds, arguments.workers)


if __name__ == "__main__":
    main()
