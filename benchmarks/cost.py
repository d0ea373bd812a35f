"""Speed of the closed-form cost, compared with fvcore's count of the same network in the same run.

python benchmarks/cost.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from baselines import load
from baselines.counts import count_with_fvcore
from search_spaces import architecture_cost, load_stage_space
from search_spaces.memory import network_memory


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median time of ``repeats`` runs, in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    b0 = load("efficientnet_b0").architecture
    cost, memory = seconds(lambda: architecture_cost(b0), 2000), seconds(lambda: network_memory(b0), 500)
    fvcore = seconds(lambda: count_with_fvcore(b0), 5)
    print(f"cost of B0: {1e6 * cost:.0f} µs; its memory: {1e6 * memory:.0f} µs")
    print(f"fvcore's count of B0, including building the module: {fvcore:.2f} s, {fvcore / cost:,.0f} times as long")
    space = load_stage_space("efficientnet")
    rows = space.sample_indices(np.random.default_rng(0), 1_000_000)
    space.costs(rows[:1])  # fills the tables
    print(f"a million members of the space {space.name}: {seconds(lambda: space.costs(rows), 5):.2f} s")


if __name__ == "__main__":
    main()
