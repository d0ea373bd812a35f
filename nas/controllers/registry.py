"""The controllers by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nas.controllers.base import Controller
from nas.controllers.nni_strategy import STRATEGIES, NNIStrategyController
from nas.controllers.optuna_sampler import SAMPLERS, OptunaController
from nas.controllers.ppo import PPOController
from nas.controllers.random import RandomController
from nas.controllers.reinforce import ReinforceController
from nas.objective import Objective
from search_spaces import MnasError, SearchSpace
from search_spaces.plugins import load_plugin


def _bayesian(space: SearchSpace, objective: Objective, seed: int) -> Controller:
    from nas.controllers.bayesian import BayesianController  # scipy takes a third of a second

    return BayesianController(space, objective, seed)


ControllerFactory = Callable[[SearchSpace, Objective, int], Controller]

CONTROLLERS: dict[str, ControllerFactory] = {
    "random": RandomController,
    "ppo": PPOController,
    "reinforce": ReinforceController,
    "bayesian": _bayesian,
    **{name: partial(NNIStrategyController, make_strategy=make) for name, make in STRATEGIES.items()},
    **{name: partial(OptunaController, make_sampler=make) for name, make in SAMPLERS.items()},
}


def check_controller(name: str) -> None:
    """Raise `MnasError` for an unknown controller, with the nearest one."""
    _factory(name)


def make_controller(name: str, space: SearchSpace, objective: Objective, seed: int) -> Controller:
    """A controller by name: one of `CONTROLLERS`, or a plug-in (`search_spaces.plugins`).

    Raises:
        MnasError: the name is unknown (with the nearest one), or the plug-in gives no controller.
    """
    made = _factory(name)(space, objective, seed)
    if not isinstance(made, Controller):
        raise MnasError(f"controller: {name} gives a {type(made).__name__}; it must be a Controller, or make one")
    return made


def _factory(name: str) -> ControllerFactory:
    found = CONTROLLERS[name] if name in CONTROLLERS else load_plugin("controller", name, CONTROLLERS)
    if not callable(found):
        raise MnasError(f"controller: {name} is a {type(found).__name__}; it must be a class or a function")
    return found
