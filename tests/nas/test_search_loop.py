from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nas.controllers.base import Controller
from nas.controllers.random import RandomController
from nas.controllers.registry import CONTROLLERS
from nas.evaluators import registry
from nas.evaluators.base import Evaluator, Metrics
from nas.executors.base import Failure
from nas.objective import make_objective
from nas.search_loop import MAX_FAILURES_IN_A_ROW, SearchEvents, SearchSettings, run_search
from nas.trial import Trial, best_trial
from search_spaces import Architecture, Genotype, MnasError, StageSpace, architecture_cost
from tests.processes import in_new_process

SETTINGS = SearchSettings("efficientnet", "imagenet", "bayesian", make_objective("hard", 300_000_000), 80, 0)
OBJECTIVE = SETTINGS.objective


def outcomes(trials: Sequence[Trial]) -> list[object]:
    """Everything about the trials except their seconds."""
    return [replace(trial, seconds=0.0) for trial in trials]


def test_trials_are_numbered_costed_and_rewarded(space: StageSpace) -> None:
    seen: list[int] = []

    class Watch(SearchEvents):
        def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
            seen.extend(trial.number for trial in trials)

    trials = run_search(SETTINGS, Watch())
    assert seen == [trial.number for trial in trials] == list(range(80))
    for trial in trials:
        assert trial.architecture == space.decode(trial.genotype)
        assert trial.cost == architecture_cost(trial.architecture)
        assert trial.metrics is not None
        assert trial.reward == OBJECTIVE.reward(trial.metrics.accuracy, trial.costs)
        assert trial.costs == (trial.cost.macs,)
    best = best_trial(trials, OBJECTIVE)
    assert best is not None
    assert best.reward == max(trial.reward or 0 for trial in trials if trial.cost.macs <= 300_000_000)


def test_seed_decides_here_and_in_another_process() -> None:
    first, again = run_search(SETTINGS), run_search(SETTINGS)
    assert outcomes(first) == outcomes(again)
    assert outcomes(run_search(replace(SETTINGS, seed=1))) != outcomes(first)
    code = (
        "from tests.nas.test_search_loop import *; from nas.trial import best_trial; "
        "print(replace(best_trial(run_search(SETTINGS), OBJECTIVE), seconds=0.0))"
    )
    best = best_trial(first, OBJECTIVE)
    assert best is not None
    assert in_new_process(code) == str(replace(best, seconds=0.0))


def test_the_earliest_of_equal_trials_is_best() -> None:
    trials = run_search(replace(SETTINGS, controller="random", trials=3))
    equal = [replace(trial, reward=0.5) for trial in trials]
    assert best_trial(equal, OBJECTIVE) == equal[0]
    assert best_trial([replace(trial, reward=None) for trial in trials], OBJECTIVE) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "efficentnet"}, "unknown space 'efficentnet'; did you mean 'efficientnet'"),
        ({"evaluator": "imagnet"}, "unknown evaluator 'imagnet'; did you mean 'imagenet'"),
        ({"controller": "pop"}, "unknown controller 'pop'; did you mean 'ppo'"),
        ({"objective": make_objective("hard", 10_000_000)}, "below the smallest .* 51,594,768 to 884,060,256 MACs"),
        ({"objective": make_objective("hard", 10_000_000_000)}, "above the largest of the space"),
        ({"objective": make_objective("hard", {"params": 1e9})}, "target params: 1,000,000,000 is above the largest"),
        (
            {"objective": make_objective("hard", {"a100-throughput": 10})},
            "target a100-throughput: 10 is below the smallest .* as predicted for 20,000 random members",
        ),
        ({"trials": 0}, "trials: 0 is not"),
        ({"seed": -1}, "seed: -1 is not"),
    ],
)
def test_wrong_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(MnasError, match=message):
        replace(SETTINGS, **change)  # type: ignore[arg-type]


class Flaky(Evaluator):
    """Fails on networks with a deep last stage, and gives nonsense for those with a wide first one."""

    name = "flaky"
    meaning = "an accuracy for tests"
    calls = 0

    def check(self, architecture: Architecture) -> None:
        pass

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        type(self).calls += len(architectures)
        if any(architecture.stages[-1].num_layers == 3 for architecture in architectures):
            raise RuntimeError("too deep")
        return [
            Metrics(float("nan") if architecture.stages[0].block.expand_ratio == 6 else 0.5)
            for architecture in architectures
        ]


class Short(Flaky):
    """Returns one result too few."""

    name = "short"

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        return [Metrics(0.5)] * (len(architectures) - 1)


@pytest.fixture
def extra_evaluators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.EVALUATORS, "flaky", Flaky)
    monkeypatch.setitem(registry.EVALUATORS, "short", Short)


@pytest.mark.usefixtures("extra_evaluators")
def test_only_the_guilty_trials_fail() -> None:
    trials = run_search(replace(SETTINGS, evaluator="flaky", controller="random", trials=60))
    for trial in trials:
        deep = trial.architecture.stages[-1].num_layers == 3
        wide = trial.architecture.stages[0].block.expand_ratio == 6
        if deep:
            assert trial.failure == Failure("error", "RuntimeError: too deep")
        elif wide:
            assert trial.failure == Failure("error", "accuracy nan is not in [0, 1]")
        else:
            assert trial.failure is None
        assert (trial.reward is None) == (deep or wide)


@pytest.mark.usefixtures("extra_evaluators")
def test_an_evaluator_that_always_fails_stops_the_search() -> None:
    with pytest.raises(MnasError, match=r"evaluator 'short': \d+ failures in a row; last: gave 0 results"):
        run_search(replace(SETTINGS, evaluator="short", controller="random", trials=10 * MAX_FAILURES_IN_A_ROW))


@pytest.mark.usefixtures("extra_evaluators")
def test_a_network_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Repeating(RandomController):
        def suggest(self, count: int) -> list[Genotype]:
            return self.space.genotypes(np.zeros((count, 28), dtype=np.int64))

    monkeypatch.setitem(CONTROLLERS, "random", Repeating)
    Flaky.calls = 0
    trials = run_search(replace(SETTINGS, evaluator="flaky", controller="random", trials=120))
    assert len(trials) == 120
    assert Flaky.calls == 1
    assert [trial.number for trial in trials if trial.seconds > 0] == [0]


class Odd(Flaky):
    """Returns a plain number or metrics of numpy numbers, by the kernel of the first stage."""

    name = "odd"

    def evaluate(self, architectures: Sequence[Architecture], seed: int = 0) -> list[Metrics]:
        wide = architectures[0].stages[0].block.kernel_size == 5
        return [0.5 if wide else Metrics(np.float32(0.5), None)] * len(architectures)  # type: ignore[list-item]


def test_results_are_made_plain_numbers_or_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.EVALUATORS, "odd", Odd)
    trials = run_search(replace(SETTINGS, evaluator="odd", controller="nni:random", trials=30))
    errors = {trial.failure and trial.failure.error for trial in trials}
    assert errors == {None, "a result is a float and not Metrics"}
    assert {type(trial.metrics.accuracy) for trial in trials if trial.metrics} == {float}


def test_a_controller_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(RandomController):
        def update(self, trials: Sequence[Trial]) -> None:
            raise KeyError("what")

    class Greedy(RandomController):
        def suggest(self, count: int) -> list[Genotype]:
            return super().suggest(count + 1)

    for made, message in ((Broken, "update failed .KeyError"), (Greedy, r"suggest\(50\) did not return a list")):
        monkeypatch.setitem(CONTROLLERS, "random", made)
        with pytest.raises(MnasError, match=f"controller random: {message}"):
            run_search(replace(SETTINGS, controller="random", trials=70))
