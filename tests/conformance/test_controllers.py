"""What every controller must do, on the real space and on small ones it has never seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from nas.controllers.base import Controller
from nas.controllers.registry import CONTROLLERS, make_controller
from nas.evaluators.base import Metrics
from nas.executors.base import Failure
from nas.objective import Objective, make_objective
from nas.trial import Trial
from scaling.coefficients import paper_space
from search_spaces import Architecture, ChoiceSpace, Genotype, Space, StageChoices, StageSpace, architecture_cost
from tests.processes import in_new_process

NAMES = sorted(CONTROLLERS)
# Optuna's Gaussian process takes half a second for a suggestion.
SLOW = {"optuna:gp"}
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]
BROKEN = Failure("error", "broken")


@pytest.fixture(scope="module")
def objective() -> Objective:
    return make_objective("soft", 400_000_000)


def tiny_space(b0: Architecture, kernel_sizes: tuple[int, ...], ratios: tuple[int, ...]) -> StageSpace:
    stages = [StageChoices(kernel_sizes, ratios, (0.0, 0.25), (16,), (1, 2), 2)]
    return StageSpace("tiny", replace(b0, stages=b0.stages[:1]), stages)


def judged(space: Space, objective: Objective, genotypes: Sequence[Genotype], first: int) -> list[Trial]:
    """Trials with an accuracy that every controller can learn: each choice's last value is a little better."""
    rows = space.indices(genotypes)
    share = (rows / np.maximum(space.cardinalities - 1, 1)).mean(axis=1)
    trials = []
    for offset, (genotype, value) in enumerate(zip(genotypes, share.tolist(), strict=True)):
        row = space.indices([genotype])
        costs = tuple(float(space.cost(target.cost, row)[0]) for target in objective.targets)
        metrics = Metrics(0.5 + 0.3 * value)
        reward = objective.reward(metrics.accuracy, costs)
        network, (counts,) = space.decode(genotype), space.exact_costs(row)
        trials.append(Trial(first + offset, genotype, network, counts, costs, metrics, reward))
    return trials


def run(controller: Controller, count: int) -> list[Trial]:
    trials: list[Trial] = []
    while len(trials) < count:
        genotypes = controller.suggest(min(controller.batch_size, count - len(trials)))
        if not genotypes:
            break
        batch = judged(controller.space, controller.objective, genotypes, len(trials))
        trials += batch
        controller.update(batch)
    return trials


@pytest.fixture(params=EVERY)
def controller(request: pytest.FixtureRequest, space: StageSpace, objective: Objective) -> Iterator[Controller]:
    made = make_controller(request.param, space, objective, seed=0)
    yield made
    made.close()


def test_suggestions_are_members_and_as_many_as_asked(controller: Controller) -> None:
    trials = run(controller, 120)
    assert len(trials) == 120
    assert all(trial.genotype in controller.space for trial in trials)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_never_more_than_asked(controller: Controller, count: int) -> None:
    number = 0
    for _ in range(3):
        genotypes = controller.suggest(count)
        assert 1 <= len(genotypes) <= count
        controller.update(judged(controller.space, controller.objective, genotypes, number))
        number += len(genotypes)


def test_failed_trials_are_survived(controller: Controller) -> None:
    for number in range(0, 90, 3):
        genotypes = controller.suggest(3)
        batch = judged(controller.space, controller.objective, genotypes, number)
        failed = [replace(trial, metrics=None, reward=None, failure=BROKEN) for trial in batch]
        controller.update(failed if number % 2 else batch)
    assert controller.suggest(1)


def test_all_failed_is_survived(controller: Controller) -> None:
    for number in range(0, 120, 10):
        genotypes = controller.suggest(10)
        batch = judged(controller.space, controller.objective, genotypes, number)
        controller.update([replace(trial, metrics=None, reward=None, failure=BROKEN) for trial in batch])
    assert controller.suggest(1)


def test_equal_rewards_are_survived(controller: Controller) -> None:
    for number in range(0, 120, 10):
        genotypes = controller.suggest(10)
        batch = judged(controller.space, controller.objective, genotypes, number)
        controller.update([replace(trial, metrics=Metrics(0.5), reward=0.5) for trial in batch])
    assert controller.suggest(1)


def genotypes_of(name: str, space: StageSpace, objective: Objective, seed: int) -> list[Genotype]:
    made = make_controller(name, space, objective, seed)
    try:
        return [trial.genotype for trial in run(made, 100)]
    finally:
        made.close()


@pytest.mark.parametrize("name", EVERY)
def test_seed_decides(name: str, space: StageSpace, objective: Objective) -> None:
    first, again, other = (genotypes_of(name, space, objective, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", EVERY)
def test_seed_decides_in_another_process_too(name: str, space: StageSpace, objective: Objective) -> None:
    code = (
        "from tests.conformance.test_controllers import *; from search_spaces import load_space; "
        f"print(genotypes_of({name!r}, load_space('efficientnet'), make_objective('soft', 400_000_000), 0))"
    )
    assert in_new_process(code) == str(genotypes_of(name, space, objective, 0))


UNGUIDED = {"random", "nni:random", "nni:grid", "optuna:random"}


@pytest.mark.parametrize("name", [each for name, each in zip(NAMES, EVERY, strict=True) if name not in UNGUIDED])
def test_it_beats_random(name: str, space: StageSpace, objective: Objective) -> None:
    """Best of 300 trials (of a slow one, 60), three seeds: each learning controller is above random."""
    count = 60 if name in SLOW else 300

    def best(controller_name: str, seed: int) -> float:
        made = make_controller(controller_name, space, objective, seed)
        try:
            return max(trial.reward or 0 for trial in run(made, count))
        finally:
            made.close()

    ours, random = ([best(controller, seed) for seed in range(3)] for controller in (name, "random"))
    if ":" in name:  # controllers of other projects are only held to what they can do
        assert np.mean(ours) > np.mean(random)
    else:
        assert min(ours) > max(random)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("kernel_sizes", "ratios", "size"), [((3,), (1,), 4), ((3, 5, 7), (1, 4, 6), 36)])
def test_small_spaces_end(
    name: str, b0: Architecture, kernel_sizes: tuple[int, ...], ratios: tuple[int, ...], size: int
) -> None:
    """A controller that does not repeat itself runs out of suggestions; none loops forever."""
    space = tiny_space(b0, kernel_sizes, ratios)
    assert space.size == size
    made = make_controller(name, space, make_objective("hard", 100_000_000), seed=0)
    try:
        trials = run(made, 60)
    finally:
        made.close()
    found = {str(trial.genotype) for trial in trials}
    assert len(found) <= size
    if name in ("random", "bayesian"):
        assert len(trials) == len(found) == size


@pytest.mark.parametrize("name", ["random", "bayesian"])
def test_a_space_larger_than_the_first_random_trials_is_used_up_too(name: str, b0: Architecture) -> None:
    stages = [StageChoices((3, 5), (1, 6), (0.0, 0.25), (16, 24), (1,), 2) for _ in range(2)]
    space = StageSpace("small", replace(b0, stages=b0.stages[:2]), stages)
    made = make_controller(name, space, make_objective("hard", 100_000_000), seed=0)
    found = {str(trial.genotype) for trial in run(made, 300)}
    assert len(found) == space.size == 256


@pytest.mark.parametrize("targets", [{"latency_ms": 12}, {"latency_ms": 12, "energy_mj": 200}, {}], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_choices_without_architectures_are_searched(name: str, targets: dict[str, float]) -> None:
    """Layers with ops of any name and skips, costs that were measured for some networks, and no target at all."""
    space, objective = layers(), make_objective("hard", targets)

    def found(seed: int) -> list[Trial]:
        made = make_controller(name, space, objective, seed)
        try:
            return run(made, 60)
        finally:
            made.close()

    trials = found(0)
    assert len(trials) == 60
    assert all(trial.genotype in space for trial in trials)
    assert [trial.genotype for trial in trials] == [trial.genotype for trial in found(0)]
    assert [trial.genotype for trial in trials] != [trial.genotype for trial in found(1)]


@pytest.mark.parametrize("name", ["random", "bayesian"])
def test_listed_members_are_used_up_and_nothing_else_is_suggested(name: str) -> None:
    space = layers()
    assert space.members is not None
    made = make_controller(name, space, make_objective("hard", {"latency_ms": 12}), seed=0)
    rows = space.indices([trial.genotype for trial in run(made, 300)])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, space.members.tolist()))


def layers() -> ChoiceSpace:
    """Six layers of four ops; the costs of 200 networks, which are sums over the layers."""
    ops = {"skip": (0.1, 1), "conv3": (2, 20), "conv5": (3.5, 50), "dwconv 3x3/s1": (1, 12)}
    product = ChoiceSpace("all", {f"layer{i}": tuple(ops) for i in range(6)})
    rows = np.unique(product.sample_indices(np.random.default_rng(0), 200), axis=0)
    genotypes = product.genotypes(rows)
    costs = [[sum(ops[op][cost] for op in genotype.values()) for genotype in genotypes] for cost in (0, 1)]
    names = ("latency_ms", "energy_mj")
    choices = {choice.label: choice.values for choice in product.decisions}
    return ChoiceSpace("layers", choices, genotypes, dict(zip(names, costs, strict=True)))


def test_a_wrong_name_is_suggested(space: StageSpace, objective: Objective) -> None:
    with pytest.raises(ValueError, match="unknown controller 'bayesain'; did you mean 'bayesian'"):
        make_controller("bayesain", space, objective, 0)


def test_list_is_complete() -> None:
    nni = {"nni:random", "nni:grid", "nni:regularized-evolution", "nni:tpe"}
    optuna = {"optuna:random", "optuna:tpe", "optuna:nsga2", "optuna:gp"}
    assert set(NAMES) == {"random", "ppo", "reinforce", "bayesian", "local-search", *nni, *optuna}


def test_ppo_leaves_the_global_generator_alone(space: StageSpace, objective: Objective) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make_controller("ppo", space, objective, seed=0)
    assert torch.equal(torch.rand(3), expected)


def asynchronous(controller: Controller, count: int) -> list[Genotype]:
    """The genotypes of a search with eight workers that end in another order than they started, with failures."""
    rng = np.random.default_rng(0)
    under_way: list[Trial] = []
    found: list[Genotype] = []
    while len(found) < count:
        while len(under_way) < 8:
            genotypes = controller.suggest(min(controller.batch_size, 8))
            under_way += judged(controller.space, controller.objective, genotypes, len(found))
            found += genotypes
        done = [under_way.pop(rng.integers(len(under_way))) for _ in range(3)]
        done[0] = replace(done[0], metrics=None, reward=None, failure=BROKEN)
        controller.update(done)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_workers_may_end_in_any_order(name: str, space: StageSpace, objective: Objective) -> None:
    """None loses count of the running trials, and the same order gives the same suggestions."""
    found = []
    for _ in range(2):
        made = make_controller(name, space, objective, seed=0)
        try:
            found.append(asynchronous(made, 150))
        finally:
            made.close()
    assert found[0] == found[1]
    assert len(found[0]) >= 150
    if name == "bayesian":
        assert len({str(genotype) for genotype in found[0]}) == len(found[0])


@pytest.mark.parametrize("targets", [{"activations": 9e6}, {}], ids=str)
@pytest.mark.parametrize("name", EVERY)
def test_coefficients_are_searched(name: str, targets: dict[str, float], b0: Architecture) -> None:
    """Networks with exact costs in a space that lists its members and has several rows for one network."""
    space, objective = paper_space(b0), make_objective("hard", targets)

    def found(seed: int) -> list[Trial]:
        made = make_controller(name, space, objective, seed)
        try:
            return run(made, 60)
        finally:
            made.close()

    trials = found(0)
    assert trials
    assert all(trial.genotype in space for trial in trials)
    assert all(trial.counts == architecture_cost(trial.network) for trial in trials)
    assert [trial.genotype for trial in trials] == [trial.genotype for trial in found(0)]
    assert [trial.genotype for trial in trials] != [trial.genotype for trial in found(1)]
    if name in ("random", "bayesian"):  # which use up the members, without repeating a network
        rows = space.canonical(space.indices([trial.genotype for trial in trials]))
        assert space.members is not None
        assert sorted(rows.tolist()) == sorted(space.members.tolist())
