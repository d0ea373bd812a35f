"""Check a space, an evaluator or a controller: each rule is tried on the plug-in itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nas.controllers.base import Controller
from nas.controllers.registry import make_controller
from nas.evaluators.base import Evaluator, Metrics, checked
from nas.evaluators.registry import load_evaluator
from nas.executors.base import Failure
from nas.objective import Objective, make_objective
from nas.trial import Trial
from search_spaces import MnasError, Space, StageSpace, architecture_cost, load_space
from search_spaces.plugins import defined
from search_spaces.space import Indices

MEMBERS = 20
CONTROLLER_TRIALS = 60


@dataclass(frozen=True)
class Finding:
    """One rule that was tried.

    Attributes:
        rule: statement that should hold.
        problem: reason why it does not; None if it holds.
    """

    rule: str
    problem: str | None


@dataclass(frozen=True)
class Checked:
    """A plug-in with the rules that were tried on it.

    Attributes:
        name: name by which the plug-in is used.
        kind: ``space``, ``evaluator`` or ``controller``.
        findings: rules in the order in which they were tried.
    """

    name: str
    kind: str
    findings: tuple[Finding, ...]


def check_plugins(name: str, space_name: str) -> list[Checked]:
    """Try the rules on everything that a plug-in's name stands for.

    Args:
        name: ``FILE.py``, ``FILE.py:NAME``, or the name of an installed plug-in.
        space_name: space to try evaluators and controllers on, unless the plug-in defines one.

    Raises:
        MnasError: the plug-in cannot be loaded, or is not a space, evaluator or controller.
    """
    found = []
    space = load_space(space_name)
    plugins = defined(name)
    for kind, full_name, thing in plugins:
        if kind == "space" or isinstance(thing, Space):
            space = load_space(full_name)
            found.append(Checked(full_name, "space", tuple(check_space(space))))
    for kind, full_name, thing in plugins:
        if kind == "evaluator" or isinstance(thing, Evaluator) or _is_class(thing, Evaluator):
            findings = check_evaluator(load_evaluator(full_name), space)
            found.append(Checked(full_name, "evaluator", tuple(findings)))
        elif kind == "controller" or _is_class(thing, Controller) or _takes_three(thing):
            found.append(Checked(full_name, "controller", tuple(check_controller(full_name, space))))
    if not found:
        raise MnasError(
            f"check: {name} is not a space, an evaluator or a controller; call it space, evaluator or controller in "
            "the file, or use FILE.py:NAME"
        )
    return found


def _takes_three(found: object) -> bool:
    """Whether it is a function of three arguments, as a controller's factory (space, objective, seed) is."""
    return inspect.isfunction(found) and len(inspect.signature(found).parameters) == 3


def _is_class(found: object, kind: type) -> bool:
    return isinstance(found, type) and issubclass(found, kind)


def check_space(space: Space) -> Iterator[Finding]:
    """Check the rules of `search_spaces.Space` and, for a space of architectures, of `search_spaces.StageSpace`."""
    rows = space.sample_indices(np.random.default_rng(0), MEMBERS)

    def decodes() -> None:
        for row, network in zip(space.canonical(rows), space.decode_indices(space.canonical(rows)), strict=True):
            genotype = space.genotypes(row[None])[0]
            if space.encode(network) != genotype:
                raise AssertionError(f"encode(decode(genotype)) does not return the genotype {genotype}")
            hash(network)

    def costs() -> None:
        for name, cost in zip(space.cost_names, space.costs(rows), strict=True):
            low, high = space.cost_range(name)
            if np.shape(cost) != (MEMBERS,) or not (np.min(cost) > 0 and low <= np.min(cost) and np.max(cost) <= high):
                raise AssertionError(
                    f"{name} of {MEMBERS} members: expected {MEMBERS} numbers above 0, from {low} to {high}"
                )

    def several() -> None:
        if space.num_networks < 2:
            raise AssertionError("it has one network, so there is nothing to search")

    yield _tried("it has more than one network", several)
    yield _tried("every member decodes, and encodes to the same choices", decodes)
    yield _tried("every cost is above 0 and in its range", costs)
    if isinstance(space, StageSpace):
        yield from _check_architectures(space, rows)


def _check_architectures(space: StageSpace, rows: Indices) -> Iterator[Finding]:
    """Check the rules of a space of architectures."""

    def costs() -> None:
        for cost, architecture in zip(space.exact_costs(rows), space.decode_indices(rows), strict=True):
            if cost != architecture_cost(architecture):
                raise AssertionError(f"costs {cost} and {architecture_cost(architecture)} differ")

    def builds() -> None:
        from search_spaces.network import build_network

        build_network(space.decode_indices(rows[:1])[0])

    yield _tried("costs are those of the networks", costs)
    yield _tried("a member can be built as a module", builds)


def check_evaluator(evaluator: Evaluator, space: Space) -> Iterator[Finding]:
    """Check the rules of `nas.evaluators.base.Evaluator` on members of its space."""
    known = evaluator.known_members(space)
    rows = space.sample_indices(np.random.default_rng(0), 5) if known is None else known[:5]
    architectures = space.decode_indices(rows)

    def says() -> None:
        for name in ("name", "meaning"):
            if not isinstance(getattr(evaluator, name, None), str) or not getattr(evaluator, name).strip():
                raise AssertionError(f"its {name!r} is not a non-empty string")

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
            raise AssertionError("the same architectures and seed gave different metrics")

    def seeds() -> None:
        if not evaluator.noisy and evaluate(1) != evaluate():
            raise AssertionError("another seed gives different metrics, but 'noisy' is False")

    yield _tried("it states its name and what its accuracy means", says)
    yield _tried("it accepts members of the space", accepts)
    yield _tried("it gives metrics for each architecture, accuracy in [0, 1]", evaluate)
    yield _tried("an empty list of architectures gives an empty list", nothing)
    yield _tried("the same seed gives the same metrics", repeats)
    yield _tried("metrics depend on the seed only if 'noisy' is True", seeds)


def check_controller(name: str, space: Space) -> Iterator[Finding]:
    """Check the rules of `nas.controllers.base.Controller` on a space."""
    objective = _usual_objective(space)

    def fresh(seed: int = 0) -> Controller:
        return make_controller(name, space, objective, seed)

    def suggests() -> None:
        _run(fresh(), CONTROLLER_TRIALS)

    def seeded() -> None:
        if _run(fresh(), CONTROLLER_TRIALS) != _run(fresh(), CONTROLLER_TRIALS):
            raise AssertionError("the same seed and trials gave different suggestions")

    def failures() -> None:
        _run(fresh(), CONTROLLER_TRIALS, failing=True)

    yield _tried("it suggests at most as many genotypes as asked for, all from the space", suggests)
    yield _tried("the same seed gives the same suggestions", seeded)
    yield _tried("it continues after failed trials", failures)


def _usual_objective(space: Space) -> Objective:
    """The soft objective at the median of the space's first cost; without a target if it has no cost."""
    if not space.cost_names:
        return make_objective("hard", {})
    costs = space.costs(space.sample_indices(np.random.default_rng(0), 1000))
    return make_objective("soft", {space.cost_names[0]: float(np.median(costs[0]))})


def _run(controller: Controller, count: int, *, failing: bool = False) -> list[object]:
    """The genotypes of a short search with an accuracy that grows with every choice."""
    space, number = controller.space, 0
    found: list[object] = []
    try:
        while number < count:
            asked = min(controller.batch_size, count - number)
            if asked < 1:
                raise AssertionError(f"its batch_size is {controller.batch_size}, expected 1 or more")
            suggestions = controller.suggest(asked)
            given: object = suggestions
            if not isinstance(given, list) or len(given) > asked:
                raise AssertionError(f"suggest({asked}) did not return a list of at most {asked}")
            if not suggestions and not number:
                raise AssertionError("it suggests nothing")
            if not suggestions:
                break
            rows = space.indices(suggestions)
            share = (rows / np.maximum(space.cardinalities - 1, 1)).mean(axis=1)
            counts, networks, costs = space.exact_costs(rows), space.decode_indices(rows), controller.costs(rows)
            trials = []
            for position, genotype in enumerate(suggestions):
                metrics = None if failing and number % 3 == 0 else Metrics(0.5 + 0.3 * float(share[position]))
                targeted = tuple(float(cost[position]) for cost in costs)
                reward = None if metrics is None else controller.objective.reward(metrics.accuracy, targeted)
                failure = Failure("error", "tried on purpose") if metrics is None else None
                network = networks[position], counts[position]
                trials.append(Trial(number, genotype, *network, targeted, metrics, reward, failure))
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
