"""The controllers by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nas.controllers.base import Controller
from nas.controllers.nni_strategy import STRATEGIES, NNIStrategyController
from nas.controllers.ppo import PPOController
from nas.controllers.random import RandomController
from nas.controllers.reinforce import ReinforceController
from nas.objective import Objective
from search_spaces import SearchSpace
from search_spaces.errors import unknown_name


def _bayesian(space: SearchSpace, objective: Objective, seed: int) -> Controller:
    from nas.controllers.bayesian import BayesianController  # scipy takes a third of a second

    return BayesianController(space, objective, seed)


CONTROLLERS: dict[str, Callable[[SearchSpace, Objective, int], Controller]] = {
    "random": RandomController,
    "ppo": PPOController,
    "reinforce": ReinforceController,
    "bayesian": _bayesian,
    **{name: partial(NNIStrategyController, make_strategy=make) for name, make in STRATEGIES.items()},
}


def make_controller(name: str, space: SearchSpace, objective: Objective, seed: int) -> Controller:
    """A controller by name. Raises `MnasError` for an unknown name, with the nearest one."""
    if name not in CONTROLLERS:
        raise unknown_name("controller", name, CONTROLLERS)
    return CONTROLLERS[name](space, objective, seed)
