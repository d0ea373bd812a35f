"""What is wrong with a space, an evaluator or a controller of a person's own: each rule tried on the real thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nas.controllers.base import Controller
from nas.controllers.registry import make_controller
from nas.evaluators.base import Evaluator, Metrics, checked
from nas.executors.base import Failure
from nas.objective import make_objective
from nas.trial import Trial
from search_spaces import MnasError, SearchSpace, architecture_cost

MEMBERS = 20
CONTROLLER_TRIALS = 60


@dataclass(frozen=True)
class Finding:
    """One rule that was tried.

    Attributes:
        rule: what should hold.
        problem: what does not; None where it holds.
    """

    rule: str
    problem: str | None


def check_space(space: SearchSpace) -> Iterator[Finding]:
    """The rules of a space: `search_spaces.space.SearchSpace`."""
    rows = space.sample_indices(np.random.default_rng(0), MEMBERS)

    def decodes() -> None:
        for row, architecture in zip(space.canonical(rows), space.decode_indices(space.canonical(rows)), strict=True):
            genotype = space.genotypes(row[None])[0]
            if space.encode(architecture) != genotype:
                raise AssertionError(f"encode(decode(genotype)) gives another genotype than {genotype}")

    def costs() -> None:
        for cost, architecture in zip(space.exact_costs(rows), space.decode_indices(rows), strict=True):
            if cost != architecture_cost(architecture):
                raise AssertionError(f"costs {cost} and {architecture_cost(architecture)} differ")

    def builds() -> None:
        from search_spaces.network import build_network

        build_network(space.decode_indices(rows[:1])[0])

    def several() -> None:
        if space.num_networks < 2:
            raise AssertionError("it has one network, so there is nothing to search")

    yield _tried("it has more than one network", several)
    yield _tried("every member decodes, and encodes to the same choices", decodes)
    yield _tried("costs are those of the networks", costs)
    yield _tried("a member can be built as a module", builds)


def check_evaluator(evaluator: Evaluator, space: SearchSpace) -> Iterator[Finding]:
    """The rules of an evaluator, on members of a space that it is for: `nas.evaluators.base.Evaluator`."""
    known = evaluator.known_members(space)
    rows = space.sample_indices(np.random.default_rng(0), 5) if known is None else known[:5]
    architectures = space.decode_indices(rows)

    def says() -> None:
        for name in ("name", "meaning"):
            if not isinstance(getattr(evaluator, name, None), str) or not getattr(evaluator, name).strip():
                raise AssertionError(f"its {name!r} is not a text")

    def accepts() -> None:
        for architecture in architectures:
            evaluator.check(architecture)

    def evaluate(seed: int = 0) -> list[Metrics]:
        found = evaluator.evaluate(architectures, seed)
        if len(found) != len(architectures):
            raise AssertionError(f"{len(found)} results for {len(architectures)} architectures")
        for result in map(checked, found):
            if isinstance(result, str):
                raise AssertionError(result)
        return found

    def nothing() -> None:
        if evaluator.evaluate([]) != []:
            raise AssertionError("evaluate([]) is not []")

    def repeats() -> None:
        if evaluate() != evaluate():
            raise AssertionError("the same architectures and seed gave other metrics")

    def seeds() -> None:
        if not evaluator.noisy and evaluate(1) != evaluate():
            raise AssertionError("another seed gives other metrics, but 'noisy' is False")

    yield _tried("it says its name and what its accuracy means", says)
    yield _tried("it accepts members of the space", accepts)
    yield _tried("it gives metrics for each architecture, accuracy in [0, 1]", evaluate)
    yield _tried("no architectures give no metrics", nothing)
    yield _tried("the same seed gives the same metrics", repeats)
    yield _tried("metrics depend on the seed only where it says noisy", seeds)


def check_controller(name: str, space: SearchSpace) -> Iterator[Finding]:
    """The rules of a controller, on a space: `nas.controllers.base.Controller`."""
    target = float(np.median(space.costs(space.sample_indices(np.random.default_rng(0), 1000))[0]))

    def fresh(seed: int = 0) -> Controller:
        return make_controller(name, space, make_objective("soft", target), seed)

    def suggests() -> None:
        _run(fresh(), CONTROLLER_TRIALS)

    def seeded() -> None:
        if _run(fresh(), CONTROLLER_TRIALS) != _run(fresh(), CONTROLLER_TRIALS):
            raise AssertionError("the same seed and trials gave other suggestions")

    def failures() -> None:
        _run(fresh(), CONTROLLER_TRIALS, failing=True)

    yield _tried("it suggests at most as many genotypes as asked for, all of the space", suggests)
    yield _tried("the same seed gives the same suggestions", seeded)
    yield _tried("it goes on after failed trials", failures)


def _run(controller: Controller, count: int, *, failing: bool = False) -> list[object]:
    """The genotypes of a short search with an accuracy that grows with every choice."""
    space, number = controller.space, 0
    found: list[object] = []
    try:
        while number < count:
            asked = min(controller.batch_size, count - number)
            if asked < 1:
                raise AssertionError(f"its batch_size is {controller.batch_size}, which is not 1 or more")
            suggestions = controller.suggest(asked)
            given: object = suggestions
            if not isinstance(given, list) or len(given) > asked:
                raise AssertionError(f"suggest({asked}) gave no list of at most {asked}")
            if not suggestions and not number:
                raise AssertionError("it suggests nothing")
            if not suggestions:
                break
            rows = space.indices(suggestions)
            share = (rows / np.maximum(space.cardinalities - 1, 1)).mean(axis=1)
            costs, architectures = space.exact_costs(rows), space.decode_indices(rows)
            trials = []
            for genotype, value, cost, architecture in zip(suggestions, share, costs, architectures, strict=True):
                metrics = None if failing and number % 3 == 0 else Metrics(0.5 + 0.3 * float(value))
                reward = None if metrics is None else controller.objective.reward(metrics.accuracy, [cost.macs])
                failure = Failure("error", "tried on purpose") if metrics is None else None
                numbers = (float(cost.macs),)
                trials.append(Trial(number, genotype, architecture, cost, numbers, metrics, reward, failure))
                number += 1
            controller.update(trials)
            found += suggestions
    finally:
        controller.close()
    return found


def _tried(rule: str, attempt: Callable[[], object]) -> Finding:
    try:
        attempt()
    except (AssertionError, MnasError) as error:
        return Finding(rule, str(error))
    except Exception as error:
        return Finding(rule, f"{type(error).__name__}: {error}")
    return Finding(rule, None)
