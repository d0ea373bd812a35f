"""End-to-end figures: whether a search hits its target, how close it gets to the best network, and what it costs.

    python benchmarks/main_job.py [--seeds 20] [--data FOLDER] [targets] [b0] [predictor] [commands] [threads]

Runs the named parts; all parts by default. ``--data`` is the folder of Accel-NASBench's train.csv and valid.csv.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from baselines import load
from nas.evaluators.base import Evaluator
from nas.evaluators.registry import load_evaluator
from nas.evidence import PUBLISHED_OBJECTIVE
from nas.objective import make_objective
from nas.search_loop import SearchSettings, run_search
from nas.trial import best_trial
from search_spaces import StageSpace, architecture_cost, load_stage_space
from search_spaces.space import Indices

TARGETS = (200, 300, 386, 400, 600)
SPACE, EVALUATOR = "efficientnet", "imagenet"


def settings(controller: str, objective: str, target: int, trials: int, seed: int) -> SearchSettings:
    return SearchSettings(SPACE, EVALUATOR, controller, make_objective(objective, target * 10**6), trials, seed)


def accuracies(space: StageSpace, evaluator: Evaluator, rows: Indices) -> np.ndarray:
    return np.array([metrics.accuracy for metrics in evaluator.evaluate(space.decode_indices(rows))])


def best_at_most(target: int, chains: int = 400, rounds: int = 60) -> tuple[float, int]:
    """Return the best predicted accuracy that hill climbs find at up to ``target`` million MACs, and its MACs.

    Each chain starts at random. In each round, it moves to the best of 300 neighbours, which differ in one to four
    choices.
    """
    space, evaluator = load_stage_space(SPACE), load_evaluator(EVALUATOR)
    rng = np.random.default_rng(0)
    rows = space.sample_indices(rng, chains)
    score = np.full(chains, -np.inf)
    for _ in range(rounds):
        neighbours = 300
        candidates = np.repeat(rows, neighbours, axis=0)
        rank = np.argsort(np.argsort(rng.random(candidates.shape), axis=1), axis=1)
        changed = rank < rng.integers(1, 5, (len(candidates), 1))
        candidates = np.where(changed, space.sample_indices(rng, len(candidates)), candidates)
        macs, _ = space.costs(candidates)
        value = np.where(macs <= target * 10**6, 0.0, -macs / 1e9)
        inside = macs <= target * 10**6
        value[inside] = accuracies(space, evaluator, candidates[inside])
        value, candidates = value.reshape(chains, neighbours), candidates.reshape(chains, neighbours, -1)
        best = value.argmax(axis=1)
        each = np.arange(chains)
        better = value[each, best] > score
        rows[better], score[better] = candidates[each, best][better], value[each, best][better]
    winner = int(score.argmax())
    return float(score[winner]), int(space.costs(rows[[winner]])[0][0])


def one_target(job: tuple[str, int, int, int]) -> tuple[float, float, float]:
    """Return MACs / target, predicted accuracy and seconds of a search.

    Args:
        job: controller, target in millions of MACs, number of trials, and seed.
    """
    controller, target, trials, seed = job
    started = time.perf_counter()
    chosen = settings(controller, "hard", target, trials, seed)
    best = best_trial(run_search(chosen), chosen.objective)
    assert best is not None
    assert best.metrics is not None
    return best.cost.macs / (target * 1e6), best.metrics.accuracy, time.perf_counter() - started


def targets(seeds: int, controller: str = "bayesian", trials: int = 500) -> None:
    print(f"## Targets: {controller}, {trials} trials, hard objective, {seeds} seeds")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        known = list(pool.map(best_at_most, TARGETS))
        for target, (top, top_macs) in zip(TARGETS, known, strict=True):
            runs = list(pool.map(one_target, [(controller, target, trials, seed) for seed in range(seeds)]))
            ratios, found, seconds = (np.array(column) for column in zip(*runs, strict=True))
            gaps = 100 * (top - found)
            inside = int(((ratios >= 0.97) & (ratios <= 1)).sum())
            print(
                f"{target}M: best known {100 * top:.2f} % at {top_macs / 1e6:.1f}M; found {100 * found.min():.2f}–"
                f"{100 * found.max():.2f} %, gap worst {gaps.max():.3f} median {np.median(gaps):.3f} points; "
                f"MACs/target {ratios.min():.4f}–{ratios.max():.4f}, {inside}/{seeds} within 0.97–1; "
                f"{np.median(seconds):.1f} s per run",
                flush=True,
            )


def trials_to_b0(job: tuple[str, int, int]) -> int | None:
    """Return the number of trials until a search exceeds B0's soft reward; None if it does not.

    Args:
        job: controller, number of trials, and seed.
    """
    controller, trials, seed = job
    run = run_search(settings(controller, "soft", 400, trials, seed))
    goal = b0_reward()
    return next((trial.number + 1 for trial in run if trial.reward is not None and trial.reward > goal), None)


def b0_reward() -> float:
    b0 = load("efficientnet_b0").architecture
    metrics = load_evaluator(EVALUATOR).evaluate([b0])[0]
    return float(PUBLISHED_OBJECTIVE.reward(metrics.accuracy, [architecture_cost(b0).macs]))


def passing_b0(seeds: int) -> None:
    print(f"## Trials to exceed B0's soft reward of {b0_reward():.5f}, {seeds} seeds")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for controller, trials in (
            ("bayesian", 100),
            ("ppo", 1000),
            ("nni:regularized-evolution", 1000),
            ("random", 3000),
        ):
            found = list(pool.map(trials_to_b0, [(controller, trials, seed) for seed in range(seeds)]))
            counts = sorted(count for count in found if count is not None)
            spread = f"median {np.median(counts):.0f}, {counts[0]}–{counts[-1]}" if counts else "never"
            print(f"{controller}: {len(counts)}/{seeds} within {trials}; {spread}", flush=True)


def predictor(data: Path | None) -> None:
    print("## Predictor")
    from nas.evaluators.imagenet import ImageNetPredictor

    space, evaluator = load_stage_space(SPACE), ImageNetPredictor()
    networks = space.decode_indices(space.sample_indices(np.random.default_rng(0), 1000))
    times = []
    with threadpool_limits(1):
        for _ in range(51):
            started = time.perf_counter()
            evaluator.predict(networks)
            times.append(time.perf_counter() - started)
    times = times[1:]  # the first one loads the model
    median, best = 1e3 * np.median(times), 1e3 * min(times)
    print(f"1000 architectures, including encoding: median {median:.2f} ms, best {best:.2f} ms")
    if data is None:
        print("figures on held-out networks: need --data, the folder of valid.csv")
        return
    from nas.predictors.accel_nasbench import read_measurements
    from nas.predictors.fit_imagenet import quality

    rows, top1 = read_measurements(data / "valid.csv", space)
    accuracy, std = evaluator.predict(space.decode_indices(rows))
    print({name: round(value, 4) for name, value in quality(top1, 100 * accuracy, 100 * std).items()})


# Runs the command and prints its peak memory. VmHWM is the peak of this process alone, whereas getrusage reports for a
# child at least the memory that its parent had when it started.
COMMAND = """
import re, sys
from nas.__main__ import main
main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def commands() -> None:
    print("## Commands: seconds (median of 5; one run of search), peak memory")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in (
            ("show", ["show", "efficientnet_b0"]),
            ("scale", ["scale", "efficientnet_b0", "--preset", "b3"]),
            ("compare", ["compare", "efficientnet_b0", "efficientnet_b0"]),
            ("search", ["search", "--target-macs", "400M"]),
        ):
            times = []
            for _ in range(1 if name == "search" else 5):
                started = time.perf_counter()
                command = [sys.executable, "-c", COMMAND, *arguments]
                done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment)
                times.append(time.perf_counter() - started)
            peak = int(done.stderr.split()[-1]) / 1024
            print(f"mnas {name}: {np.median(times):.2f} s, {peak:.0f} MiB", flush=True)


def threads(pairs: int = 3) -> None:
    print("## CPU seconds of a default search beside a busy core, without and with OMP_NUM_THREADS=1, in turns")
    root = str(Path(__file__).resolve().parents[1])
    free = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    free["PYTHONPATH"] = root
    settings = {"without": free, "with": {**free, "OMP_NUM_THREADS": "1"}}
    spent: dict[str, list[float]] = {name: [] for name in settings}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, environment in [*settings.items()] * pairs:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-m", "nas", "search", "--target-macs", "400M"]
                subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                spent[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    finally:
        busy.kill()
        busy.wait()
    medians = {name: float(np.median(seconds)) for name, seconds in spent.items()}
    each = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in medians.items())
    print(f"{each} (medians of {pairs}); ratio {medians['without'] / medians['with']:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="targets, b0, predictor, commands, threads")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    parts = {
        "predictor": lambda: predictor(arguments.data),
        "commands": commands,
        "threads": threads,
        "b0": lambda: passing_b0(arguments.seeds),
        "targets": lambda: targets(arguments.seeds),
    }
    for name in arguments.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
