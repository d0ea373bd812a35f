"""Does a larger network learn sooner from the weights of a smaller one? EfficientNet-B2 from B0, in miniature.

    python benchmarks/growth.py --data CIFAR-10 --out FOLDER     # an hour on one core; resumes in FOLDER

B0 and B2 are made narrow, both at one side, and train on the same images with the same recipe (``proxy``). For each
seed, B0 is trained, then B2 from B0's weights (`baselines.exchange.growth`), from fresh ones, and from fresh ones for
twice the epochs, which takes longer than B0's training and B2's together. Printed are top-1 on test images after each
epoch, and the epochs until B2 has what it reaches from fresh weights, on average over the seeds, at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines import load
from baselines.files import replace_file
from scaling import compound_scale, preset
from search_spaces import Architecture
from search_spaces.adaptation import adapted

SIDE, WIDTH, IMAGES, JUDGED = 24, 0.25, 3000, 1000
EPOCHS, SEEDS, BATCH = 8, 3, 64


def networks(classes: int) -> dict[str, Architecture]:
    """B0 and B2 as they are trained."""
    b0 = load("efficientnet_b0").architecture
    both = {"b0": b0, "b2": compound_scale(b0, preset("b2"))}
    return {name: adapted(net, SIDE, classes, WIDTH) for name, net in both.items()}


def curve(net: Architecture, data: Any, seed: int, epochs: int, initial: Any, file: Path | None) -> dict[str, Any]:
    """Top-1 after each epoch of a training, and the seconds that it took; its weights are written to a file."""
    from baselines.exchange.weights import save_weights
    from baselines.training.loop import Progress, train
    from baselines.training.recipe import load_recipe

    recipe = load_recipe("proxy").shortened(epochs).with_values(batch=BATCH)
    found: list[float] = []

    def watch(progress: Progress) -> None:
        if progress.accuracy is not None:
            found.append(progress.accuracy)

    started = time.monotonic()
    trained = train(net, data, recipe, seed=seed, initial=initial, watch=watch, validate_every=1)
    seconds = time.monotonic() - started
    if file is not None:
        file.unlink(missing_ok=True)
        save_weights(trained.network, file)
    return {"top1": found, "seconds": seconds}


def measure(source: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The curves of all trainings by name; those in the folder are not repeated."""
    import torch

    from baselines.exchange.weights import load_smaller
    from baselines.training.data.sources import load_data, stratified
    from search_spaces.network import build_network

    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "curves.json"
    curves: dict[str, dict[str, Any]] = json.loads(known.read_text()) if known.exists() else {}
    torch.set_num_threads(1)
    data = load_data(source)
    train = data.train.take(stratified(data.train.labels, IMAGES))
    judged = data.test.take(stratified(data.test.labels, JUDGED))
    data = replace(data, train=train, val=judged)
    nets = networks(len(data.classes))

    def run(name: str, *arguments: Any) -> None:
        if name not in curves:
            curves[name] = curve(*arguments)
            replace_file(known, lambda stream: stream.write(json.dumps(curves, indent=1).encode()))
            print(name, [round(100 * value, 1) for value in curves[name]["top1"]], flush=True)

    for seed in range(SEEDS):
        file = folder / f"b0-{seed}.safetensors"
        run(f"b0 {seed}", nets["b0"], data, seed, EPOCHS, None, file)
        run(f"b2 {seed}", nets["b2"], data, seed, EPOCHS, None, None)
        run(f"b2, twice the epochs {seed}", nets["b2"], data, seed, 2 * EPOCHS, None, None)
        torch.manual_seed(seed)
        larger = build_network(nets["b2"])
        load_smaller(larger, file, smaller=nets["b0"], seed=seed)
        run(f"b2 from b0 {seed}", nets["b2"], data, seed, EPOCHS, larger.state_dict(), None)
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="images, as for mnas train")
    parser.add_argument("--out", type=Path, required=True, help="folder of the curves, new or to be resumed")
    arguments = parser.parse_args()
    curves = measure(arguments.data, arguments.out)
    goal = statistics.fmean(curves[f"b2 {seed}"]["top1"][-1] for seed in range(SEEDS))
    print(f"\nB2 alone reaches {100 * goal:.2f} % in {EPOCHS} epochs")
    for name in dict.fromkeys(name.rpartition(" ")[0] for name in curves):
        own = [curves[f"{name} {seed}"] for seed in range(SEEDS)]
        mean = np.mean([one["top1"] for one in own], axis=0)
        ends = [one["top1"][-1] for one in own]
        needed = [next((epoch for epoch, value in enumerate(one["top1"], 1) if value >= goal), None) for one in own]
        seconds = statistics.fmean(one["seconds"] for one in own)
        print(f"{name}: {' '.join(f'{100 * value:.1f}' for value in mean)}; end {100 * statistics.fmean(ends):.2f} "
              f"± {100 * statistics.stdev(ends):.2f}; epochs to the goal {needed}; {seconds:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
