"""Speed of our B0 compared with torchvision's in one run: construction, inference and a training step.

    PYTHONPATH=.peers python benchmarks/network.py [--rounds 30] [--batch 8] [--device cpu]

Both run in float32, channels last, at 224 px. The figures are medians over rounds; both networks run in every round and
take turns to go first.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from baselines import load
from baselines.exchange.torchvision_import import import_torchvision
from search_spaces.network import build_network


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int, wait: Callable[[], None]) -> str:
    """Return, as text, the medians of both times and the median and quartiles of their ratios."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 3):
        seconds = [0.0, 0.0]
        for index in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            (ours, theirs)[index]()
            wait()
            seconds[index] = time.perf_counter() - started
        if number >= 3:  # the first three rounds are warm-up
            times.append((seconds[0], seconds[1]))
    ratios = [a / b for a, b in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    first, second = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    return f"{first:.1f} ms against {second:.1f} ms, ratio {statistics.median(ratios):.3f} ({low:.3f}–{high:.3f})"


def inference(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    def run() -> object:
        network.eval()
        with torch.inference_mode():
            return network(images)

    return run


def training_step(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    labels = torch.randint(1000, (len(images),), device=images.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def run() -> None:
        network.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    wait = torch.cuda.synchronize if arguments.device != "cpu" else lambda: None
    b0, torchvision = load("efficientnet_b0").architecture, import_torchvision()

    def theirs() -> nn.Module:
        made: nn.Module = torchvision.models.efficientnet_b0(weights=None)
        return made

    versions = f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{versions}, {arguments.device}, batch {arguments.batch}")
    print("construction:", ratio(lambda: build_network(b0), theirs, arguments.rounds, wait), flush=True)
    images = torch.randn(arguments.batch, 3, 224, 224, device=arguments.device).to(memory_format=torch.channels_last)
    pair = [net.to(arguments.device, memory_format=torch.channels_last) for net in (build_network(b0), theirs())]  # type: ignore[call-overload]
    for name, make in (("inference", inference), ("training step", training_step)):
        runs = [make(network, images) for network in pair]
        print(f"{name}:", ratio(runs[0], runs[1], arguments.rounds, wait), flush=True)


if __name__ == "__main__":
    main()
