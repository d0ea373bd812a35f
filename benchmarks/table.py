"""Searches in a table that holds a part of a per-layer space: where the best network found stands among all of it.

The table is made up: 22 layers of FBNet's nine ops (arXiv 1812.03443, table 2), latency a sum over the layers, accuracy
saturating in a weighted sum. Of 9^22 networks it has some thousands, drawn at random.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from nas.evaluators.registry import load_evaluator, space_of
from nas.evaluators.table import TableEvaluator
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import best_trial
from nas.views.choices import place_in_table

LAYERS = 22
OPS = ("k3_e1_g2", "k3_e1", "k3_e3", "k3_e6", "k5_e1_g2", "k5_e1", "k5_e3", "k5_e6", "skip")
LATENCY = np.array([0.8, 1.0, 1.6, 2.6, 1.1, 1.3, 2.1, 3.4, 0.1])  # ms
WORTH = np.array([0.3, 0.4, 0.7, 0.9, 0.35, 0.5, 0.8, 1.0, 0.0])
TARGET = 32.0  # ms; a quarter of the networks are below


def write_table(file: Path, rows: int) -> None:
    """A table of random networks."""
    networks = np.random.default_rng(0).integers(0, len(OPS), (rows, LAYERS))
    worth = (WORTH[networks] * (1 + np.arange(LAYERS) / 4)).sum(axis=1)
    accuracy, latency = 0.9 - 0.5 * np.exp(-worth / (0.5 * LAYERS)), 1 + LATENCY[networks].sum(axis=1)
    lines = [",".join([*(f"layer{i + 1}" for i in range(LAYERS)), "accuracy", "latency_ms"])]
    for network, *figures in zip(networks, accuracy, latency, strict=True):
        lines.append(",".join([*(OPS[op] for op in network), *(f"{figure:.6f}" for figure in figures)]))
    file.write_text("\n".join(lines) + "\n")


def ranks(file: Path, controller: str, trials: int, seeds: int, *, listed: bool) -> list[int]:
    """The rank of the best network found with each seed; ``listed``: whether the controller knows what is measured."""
    evaluator = f"table:{file}"
    table, space = load_evaluator(evaluator, "table"), space_of("table", evaluator)
    assert isinstance(table, TableEvaluator)
    members, space.members = space.members, space.members if listed else None
    found = []
    for seed in range(seeds):
        objective = make_objective("hard", {"latency_ms": TARGET})
        best = best_trial(
            run_search(SearchSettings("table", evaluator, controller, objective, trials, seed)), objective
        )
        assert best is not None
        found.append(place_in_table(table, objective, best).rank)
    space.members = members
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        file = Path(folder, "table.csv")
        write_table(file, arguments.rows)
        for controller in ("bayesian", "ppo", "reinforce", "nni:regularized-evolution", "random"):
            found = ranks(file, controller, arguments.trials, arguments.seeds, listed=True)
            print(f"{controller}: median rank {np.median(found):g} of {arguments.rows:,}, {sorted(found)}")
        found = ranks(file, "bayesian", arguments.trials, arguments.seeds, listed=False)
        print(f"bayesian with stand-ins: median rank {np.median(found):g}, {sorted(found)}")


if __name__ == "__main__":
    main()
