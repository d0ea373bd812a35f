"""``optuna:…``: Optuna's samplers as controllers; needs the extra ``optuna``.

A choice of numbers in ascending order is an integer, the index of its value, so that a sampler knows which values are
near each other; any other choice is a categorical distribution. `suggest` and `update` map to Optuna's ``ask`` and
``tell``; a batch is asked for before any of its results are told.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas.controllers.base import Controller
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.errors import not_installed

# By name: a function that returns a sampler, given Optuna's samplers module and a seed.
SAMPLERS: dict[str, Callable[[Any, int], Any]] = {
    "optuna:random": lambda samplers, seed: samplers.RandomSampler(seed=seed),
    "optuna:tpe": lambda samplers, seed: samplers.TPESampler(seed=seed, multivariate=True),
    "optuna:nsga2": lambda samplers, seed: samplers.NSGAIISampler(seed=seed),
    "optuna:gp": lambda samplers, seed: samplers.GPSampler(seed=seed),
}


class OptunaController(Controller):
    """Drives an Optuna sampler.

    Args:
        space: space to search.
        objective: objective of the search.
        seed: random seed of the sampler.
        make_sampler: function that returns the sampler, given Optuna's samplers module and a seed.

    Raises:
        MnasError: Optuna is not installed.
    """

    batch_size = 1

    def __init__(self, space: Space, objective: Objective, seed: int, make_sampler: Callable[[Any, int], Any]) -> None:
        super().__init__(space, objective, seed)
        try:
            import optuna
        except ImportError:
            raise not_installed("controller", "optuna", "optuna") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = make_sampler(optuna.samplers, seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._trial = optuna.trial
        self._distributions: dict[str, Any] = {
            choice.label: optuna.distributions.IntDistribution(0, len(choice.values) - 1)
            if choice.ordinal
            else optuna.distributions.CategoricalDistribution(choice.values)
            for choice in space.decisions
        }
        self._ordinal = {choice.label: choice.values for choice in space.decisions if choice.ordinal}
        self._running: dict[int, Any] = {}
        self._suggested = 0

    def suggest(self, count: int) -> list[Genotype]:
        asked = [self._study.ask(self._distributions) for _ in range(count)]
        self._running |= enumerate(asked, start=self._suggested)
        self._suggested += count
        return [self._genotype(trial.params) for trial in asked]

    def update(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            asked = self._running.pop(trial.number)
            if trial.reward is not None and trial.genotype == self._genotype(asked.params):
                self._study.tell(asked, trial.reward)
                continue
            self._study.tell(asked, state=self._trial.TrialState.FAIL)
            if trial.reward is not None:  # the trial used another network than the suggested one
                tried = self._trial.create_trial(
                    params=self._params(trial.genotype), distributions=self._distributions, value=trial.reward
                )
                self._study.add_trial(tried)

    def _genotype(self, params: Mapping[str, Any]) -> Genotype:
        return {name: self._ordinal[name][value] if name in self._ordinal else value for name, value in params.items()}

    def _params(self, genotype: Genotype) -> dict[str, Any]:
        return {
            name: self._ordinal[name].index(value) if name in self._ordinal else value
            for name, value in genotype.items()
        }
