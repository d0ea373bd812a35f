"""The controllers, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nas.controllers.base import Controller
from nas.controllers.local_search import LocalSearchController
from nas.controllers.nni_strategy import STRATEGIES, NNIStrategyController
from nas.controllers.optuna_sampler import SAMPLERS, OptunaController
from nas.controllers.ppo import PPOController
from nas.controllers.random import RandomController
from nas.controllers.reinforce import ReinforceController
from nas.objective import Objective
from search_spaces import MnasError, Space
from search_spaces.plugins import load_plugin, located, name_object, object_named


def _bayesian(space: Space, objective: Objective, seed: int) -> Controller:
    from nas.controllers.bayesian import BayesianController  # scipy takes a third of a second

    return BayesianController(space, objective, seed)


ControllerFactory = Callable[[Space, Objective, int], Controller]

CONTROLLERS: dict[str, ControllerFactory] = {
    "random": RandomController,
    "ppo": PPOController,
    "reinforce": ReinforceController,
    "bayesian": _bayesian,
    "local-search": LocalSearchController,
    **{name: partial(NNIStrategyController, make_strategy=make) for name, make in STRATEGIES.items()},
    **{name: partial(OptunaController, make_sampler=make) for name, make in SAMPLERS.items()},
}
# Of these, those that learn from what is known before a search (`Controller.start_from`).
LEARN_KNOWN = ("bayesian",)


def check_controller(name: str) -> None:
    """Raise `MnasError` for an unknown controller; the message suggests the nearest name."""
    _factory(name)


def make_controller(name: str, space: Space, objective: Objective, seed: int) -> Controller:
    """Return a controller by name: one of `CONTROLLERS`, or a plug-in (`search_spaces.plugins`).

    Args:
        name: name of the controller.
        space: space to search.
        objective: objective of the search.
        seed: random seed of the controller.

    Raises:
        MnasError: the name is unknown, or the plug-in does not return a controller.
    """
    controller = _factory(name)(space, objective, seed)
    if not isinstance(controller, Controller):
        problem = f"{name} gives a {type(controller).__name__}; it must be a Controller, or return one"
        raise MnasError(f"controller: {problem}")
    return controller


def name_of_controller(given: str | ControllerFactory) -> str:
    """Return the name under which `make_controller` finds a controller; a user's own is named as an object.

    Raises:
        TypeError: it is neither a name nor a class or function.
    """
    if isinstance(given, str):
        return located(given)
    if not callable(given):
        raise TypeError(f"controller: expected a name or a Controller class, got {type(given).__name__}")
    built_in = next((name for name, factory in CONTROLLERS.items() if factory is given), None)
    return built_in or name_object("controller", given, getattr(given, "__qualname__", type(given).__qualname__))


def _factory(name: str) -> ControllerFactory:
    found = object_named("controller", name) or CONTROLLERS.get(name) or load_plugin("controller", name, CONTROLLERS)
    if not callable(found):
        raise MnasError(f"controller: {name} is a {type(found).__name__}; it must be a class or a function")
    return found
