"""How many evaluations searches need, whether they hit their targets, and the overhead of the search loop.

    python benchmarks/search.py [--seeds 20] [--workers N] [soft] [noise] [synthetic] [forms] [targets] [known] …

Runs the named parts; all parts by default (about two hours on two cores, most of it for ``targets``). All evaluators
answer at once, so evaluations are counted and not timed. The best known network is the best that many hill climbs with
access to the evaluator find. Figures are medians over seeds; a search that never reaches a goal counts as longer than
all others.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from baselines import load
from nas.controllers.base import Controller
from nas.evaluators.base import Metrics
from nas.evaluators.registry import load_evaluator
from nas.executors.base import Execution
from nas.objective import Objective, make_objective
from nas.search_loop import SearchEvents, SearchSettings, run_search
from nas.studies.calibration import CalibratedRequest, calibrated_objective, start_calibration
from nas.trial import History, Known, Trial, best_trial
from search_spaces import StageSpace, architecture_cost, load_stage_space
from search_spaces.space import Indices

HERE = Path(__file__).resolve().parent
IMAGENET = ("efficientnet", "imagenet")
NOISY = ("efficientnet", f"{HERE}/noisy_imagenet.py")
SYNTHETIC = (f"{HERE}/synthetic.py", f"{HERE}/synthetic.py")

# Budget of evaluations of a search, by controller.
BUDGETS = {
    "bayesian": 400,
    "local-search": 2000,
    "ppo": 2000,
    "reinforce": 2000,
    "random": 3000,
    "nni:random": 3000,
    "nni:regularized-evolution": 3000,
    "nni:tpe": 500,
    "optuna:random": 500,
    "optuna:tpe": 300,
    "optuna:nsga2": 1000,
    "optuna:gp": 200,
}
TARGETS = range(150, 601, 50)
TARGET_BUDGETS = {"bayesian": 500, "nni:regularized-evolution": 5000, "reinforce": 5000, "ppo": 3000}
NEAR_BEST = 0.0015  # 0.15 points


class GoalsReached(Exception):  # noqa: N818 - not an error
    """A search has reached all its goals and can stop."""


def exact_rewards(space: StageSpace, evaluator: str, objective: Objective, rows: Indices) -> np.ndarray:
    """Return the merits of rows, without noise."""
    exact = load_evaluator(IMAGENET[1] if evaluator == NOISY[1] else evaluator)
    accuracy = np.array([metrics.accuracy for metrics in exact.evaluate(space.decode_indices(rows))])
    costs = [space.costs(rows)[0]]
    return objective.merit(objective.reward(accuracy, costs), costs)


@cache
def best_known(space_name: str, evaluator: str, objective: Objective, chains: int = 100, rounds: int = 50) -> float:
    """Return the best merit that hill climbs find.

    In each round, each chain moves to the best of 60 neighbours, which differ in one to four choices.
    """
    space, rng = load_stage_space(space_name), np.random.default_rng(0)
    rows = space.sample_indices(rng, chains)
    best = exact_rewards(space, evaluator, objective, rows)
    for _ in range(rounds):
        neighbours = 60
        candidates = np.repeat(rows, neighbours, axis=0)
        rank = np.argsort(np.argsort(rng.random(candidates.shape), axis=1), axis=1)
        changed = rank < rng.integers(1, 5, (len(candidates), 1))
        candidates = np.where(changed, space.sample_indices(rng, len(candidates)), candidates)
        values = exact_rewards(space, evaluator, objective, candidates).reshape(chains, neighbours)
        winners, each = values.argmax(axis=1), np.arange(chains)
        better = values[each, winners] > best
        rows[better] = candidates.reshape(chains, neighbours, -1)[each, winners][better]
        best = np.maximum(best, values[each, winners])
    return float(best.max())


def evaluations_to(job: tuple[str, tuple[str, str], int, tuple[float, ...]]) -> list[float]:
    """Return the number of evaluations until a reward, without noise, exceeds each goal; infinite if none does.

    Args:
        job: controller, names of space and evaluator, seed, and goals.
    """
    controller, (space_name, evaluator), seed, goals = job
    space, objective = load_stage_space(space_name), make_objective("soft", 400e6)
    settings = SearchSettings(space_name, evaluator, controller, objective, BUDGETS[controller], seed)
    found = [float("inf")] * len(goals)

    class Watch(SearchEvents):
        def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
            rewards = exact_rewards(space, evaluator, objective, space.indices([trial.genotype for trial in trials]))
            for trial, reward in zip(trials, rewards, strict=True):
                for index, goal in enumerate(goals):
                    if reward > goal:
                        found[index] = min(found[index], trial.number + 1)
            if max(found) < float("inf"):
                raise GoalsReached

    with suppress(GoalsReached):
        run_search(settings, Watch())
    return found


def b0_reward() -> float:
    b0 = load("efficientnet_b0").architecture
    accuracy = load_evaluator("imagenet").evaluate([b0])[0].accuracy
    return make_objective("soft", 400e6).reward(accuracy, [architecture_cost(b0).macs])


def spread(counts: Sequence[float]) -> str:
    """Return the median of the counts, their quartiles, and how many are finite, as text."""

    def text(value: float) -> str:
        return "never" if value == float("inf") else f"{value:.0f}"

    ordered = sorted(counts)
    quartiles = f"{text(ordered[len(ordered) // 4])}–{text(ordered[-1 - len(ordered) // 4])}"
    reached = sum(count < float("inf") for count in counts)
    return f"{text(statistics.median(ordered)):>6} ({quartiles}; {reached}/{len(counts)})"


def race(title: str, setting: tuple[str, str], goals: tuple[float, ...], pool: ProcessPoolExecutor, seeds: int) -> None:
    print(f"## {title}: median (quartiles; how many searches reached it), {seeds} seeds", flush=True)
    for controller, budget in BUDGETS.items():
        jobs = [(controller, setting, seed, goals) for seed in range(seeds)]
        counts = list(zip(*pool.map(evaluations_to, jobs), strict=True))
        print(f"{controller:26s} " + "  ".join(map(spread, counts)) + f"  of {budget}", flush=True)


def soft(pool: ProcessPoolExecutor, seeds: int) -> None:
    best = best_known(*IMAGENET, make_objective("soft", 400e6))
    goals = (b0_reward(), 0.999 * best)
    print(f"B0's reward {goals[0]:.5f}; best known {best:.5f}")
    race("Soft reward, imagenet: evaluations to exceed B0, to 99.9 % of the best known", IMAGENET, goals, pool, seeds)


def noise(pool: ProcessPoolExecutor, seeds: int) -> None:
    goals = (b0_reward(), 0.999 * best_known(*IMAGENET, make_objective("soft", 400e6)))
    race("The same with noise of 0.25 points; goals are checked without it", NOISY, goals, pool, seeds)


def synthetic(pool: ProcessPoolExecutor, seeds: int) -> None:
    objective = make_objective("soft", 400e6)
    best = best_known(*SYNTHETIC, objective)
    space = load_stage_space(SYNTHETIC[0])
    random = exact_rewards(space, SYNTHETIC[1], objective, space.sample_indices(np.random.default_rng(0), 5000))
    goals = (float(np.quantile(random, 0.9998)), 0.99 * best, 0.999 * best)
    print(f"second best of 5000 random networks: {goals[0]:.5f}; best known {best:.5f}")
    title = "Synthetic: evaluations to the 99.98th percentile of random networks, to 99 % and 99.9 % of the best known"
    race(title, SYNTHETIC, goals, pool, seeds)


def target_run(job: tuple[str, int, int, float]) -> tuple[float, float, float]:
    """Return MACs / target, predicted accuracy, and evaluations until a network is within 0.15 points of the best.

    Args:
        job: controller, target in millions of MACs, seed, and best known accuracy.
    """
    controller, target, seed, best_accuracy = job
    objective = make_objective("hard", target * 1e6)
    settings = SearchSettings(*IMAGENET, controller, objective, TARGET_BUDGETS[controller], seed)
    trials = run_search(settings)
    best = best_trial(trials, objective)
    assert best is not None
    assert best.metrics is not None
    near = (
        trial.number + 1
        for trial in trials
        if trial.metrics and trial.cost.macs <= target * 1e6 and trial.metrics.accuracy >= best_accuracy - NEAR_BEST
    )
    return best.cost.macs / (target * 1e6), best.metrics.accuracy, next(near, float("inf"))


def targets(pool: ProcessPoolExecutor, seeds: int) -> None:
    print(f"## Targets, hard form, {seeds} seeds: at most 2 % below the target; within 0.15 points of the best known")
    best = {target: best_known(*IMAGENET, make_objective("hard", target * 1e6)) for target in TARGETS}
    for controller, budget in TARGET_BUDGETS.items():
        all_runs = []
        for target in TARGETS:
            jobs = [(controller, target, seed, best[target]) for seed in range(seeds)]
            runs = list(pool.map(target_run, jobs))
            all_runs += runs
            ratios, accuracy, evaluations = (np.array(column) for column in zip(*runs, strict=True))
            inside = int(((ratios >= 0.98) & (ratios <= 1)).sum())
            gaps = 100 * (best[target] - accuracy)
            print(
                f"{controller} {target}M (best known {100 * best[target]:.2f} %): {inside}/{seeds} at "
                f"{ratios.min():.4f}–{ratios.max():.4f}, {int((gaps <= 0.15).sum())}/{seeds} near, gap median "
                f"{np.median(gaps):.3f} worst {gaps.max():.3f}; evaluations to near {spread(evaluations.tolist())}",
                flush=True,
            )
        on_target = np.mean([0.98 <= ratio <= 1 for ratio, _, _ in all_runs])
        near = np.mean([count < float("inf") for _, _, count in all_runs])
        print(
            f"{controller}, all targets, {budget} evaluations: {on_target:.1%} on target, {near:.1%} near", flush=True
        )


def known_run(job: tuple[str, int, float]) -> float:
    """Evaluations of a search at 180M until a network is within 0.15 points of the best.

    Args:
        job: what it starts from, seed, and best known accuracy. It starts from nothing; from a search of 500 trials at
            400M; or from a hint, 300 random networks whose accuracies are those of the predictor or, if it misleads, as
            far below their mean as the predictor's are above it.
    """
    start, seed, best_accuracy = job
    space, evaluator = load_stage_space(IMAGENET[0]), load_evaluator(IMAGENET[1])
    known: list[Known] = []
    if start == "400M":
        earlier = run_search(SearchSettings(*IMAGENET, "bayesian", make_objective("hard", 400e6), 500, seed))
        measured = [(trial.genotype, trial.metrics) for trial in earlier if trial.metrics]
        known = [Known(start, True, *zip(*measured, strict=True))]
    elif start != "nothing":
        rows = space.sample_indices(np.random.default_rng(seed), 300)
        accuracy = np.array([metrics.accuracy for metrics in evaluator.evaluate(space.decode_indices(rows))])
        given = accuracy if start == "hint" else 2 * accuracy.mean() - accuracy
        known = [Known(start, False, space.genotypes(rows), [Metrics(float(each)) for each in given])]
    objective = make_objective("hard", 180e6)
    # The same trials as in one longer search, until the goal is reached.
    near = _Near(180e6, best_accuracy - NEAR_BEST)
    with suppress(GoalsReached):
        settings = SearchSettings(*IMAGENET, "bayesian", objective, 200, seed)
        run_search(settings, near, history=History(known=known))
    return near.evaluations


class _Near(SearchEvents):
    """Counts evaluations until a network of at most some MACs has an accuracy."""

    def __init__(self, macs: float, goal: float) -> None:
        self.macs, self.goal, self.done, self.evaluations = macs, goal, 0, float("inf")

    def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
        for trial in trials:
            self.done += trial.attempts
            if trial.metrics and trial.cost.macs <= self.macs and trial.metrics.accuracy >= self.goal:
                self.evaluations = float(self.done)
                raise GoalsReached


def known(pool: ProcessPoolExecutor, seeds: int) -> None:
    print(f"## Starting from what is known: bayesian at 180M, hard form, {seeds} seeds; evaluations to 0.15 points")
    best = best_known(*IMAGENET, make_objective("hard", 180e6))
    for start in ("nothing", "400M", "hint", "misleading hint"):
        counts = list(pool.map(known_run, [(start, seed, best) for seed in range(seeds)]))
        print(f"from {start}: {spread(counts)}", flush=True)


def calibrated(target: float, seed: int) -> Objective:
    space, evaluator = IMAGENET
    request = CalibratedRequest(space, evaluator, "bayesian", target, 400, seed)
    with tempfile.TemporaryDirectory() as place:
        start_calibration(Path(place, "run"), request, Execution())
        return calibrated_objective(Path(place, "run"), request)


def form_run(job: tuple[str, int, int]) -> tuple[float, float]:
    """Return MACs / target and predicted accuracy of a search.

    Args:
        job: form of the objective, target in millions of MACs, and seed.
    """
    form, target, seed = job
    if form == "calibrated":
        objective = calibrated(target * 1e6, seed)
    else:
        objective = make_objective(form, target * 1e6)
    best = best_trial(run_search(SearchSettings(*IMAGENET, "bayesian", objective, 400, seed)), objective)
    assert best is not None
    assert best.metrics is not None
    return best.cost.macs / (target * 1e6), best.metrics.accuracy


def forms(pool: ProcessPoolExecutor, seeds: int) -> None:
    print(f"## Forms of the objective: MACs / target (range) and accuracy, bayesian, 400 trials, {seeds} seeds")
    for form in ("soft", "hard", "absolute", "calibrated"):
        for target in (200, 300, 400, 600):
            ratios, accuracy = zip(*pool.map(form_run, [(form, target, s) for s in range(seeds)]), strict=True)
            inside = sum(0.98 <= ratio <= 1.02 for ratio in ratios)
            middle, spread = statistics.median(ratios), f"{min(ratios):.3f}–{max(ratios):.3f}"
            found = 100 * statistics.median(accuracy)
            print(f"{form} {target}M: {middle:.3f} ({spread}), {inside}/{seeds} within 2 %, {found:.2f} %", flush=True)


def microseconds(run: Callable[[], int], rounds: int = 5) -> float:
    """Return the shortest time per trial over several rounds of ``run``, which returns its number of trials."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        count = run()
        times.append((time.perf_counter() - started) / count)
    return 1e6 * min(times)


def overhead(pool: ProcessPoolExecutor, seeds: int) -> None:
    """Compare our loop with NNI's engine, both around an evaluator that returns a constant, in one process."""
    print("## Overhead per trial, without evaluator and decoding, shortest of 5 rounds of 1000 trials")
    for controller in ("random", "reinforce", "ppo", "bayesian", "nni:random", "nni:regularized-evolution"):
        print(f"our loop, {controller}: {microseconds(lambda name=controller: our_loop(name)):.0f} µs", flush=True)
    for strategy in ("random", "regularized-evolution"):
        print(f"NNI's engine, {strategy}: {microseconds(lambda name=strategy: nni_loop(name)):.0f} µs", flush=True)


def our_loop(controller: str, count: int = 1000) -> int:
    from nas.evaluators.base import Evaluator
    from nas.evaluators.registry import EVALUATORS

    class Constant(Evaluator):
        name = meaning = "a constant accuracy"
        instant = True

        def check(self, architecture: object) -> None:
            pass

        def evaluate(self, architectures: Sequence[object], seed: int = 0) -> list[Metrics]:
            return [Metrics(0.5)] * len(architectures)

    EVALUATORS["constant"] = Constant
    settings = SearchSettings("efficientnet", "constant", controller, make_objective("hard", 400e6), count, 0)
    return len(run_search(settings))


def nni_loop(strategy: str, count: int = 1000) -> int:
    from nas.controllers.nni_strategy import STRATEGIES, model_space_class
    from search_spaces.nni_import import import_nni

    import_nni("nni.nas.strategy")
    engine = import_nni("nni.nas.execution").SequentialExecutionEngine(max_model_count=count, continue_on_failure=False)

    class Constant(model_space_class()):  # type: ignore[misc]
        """A model space whose models return their result at once."""

        def freeze(self, sample: dict[str, object]) -> object:
            self.validate(sample)
            return Constant(self.space, dict(sample))

        def execute(self) -> object:
            self.metrics.final = 0.5
            return self.metrics

    space = load_stage_space("efficientnet")
    STRATEGIES[f"nni:{strategy}"](space, 0)(Constant(space), engine)
    return count


PARTS: dict[str, Callable[[ProcessPoolExecutor, int], None]] = {
    part.__name__: part for part in (soft, noise, synthetic, forms, targets, known, overhead)
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the search.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; choose from {', '.join(PARTS)}")
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for name, part in PARTS.items():
            if not arguments.parts or name in arguments.parts:
                part(pool, arguments.seeds)


if __name__ == "__main__":
    main()
