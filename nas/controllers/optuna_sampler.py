"""``optuna:…``: samplers of Optuna as controllers; needs the extra ``optuna``.

A choice is a categorical distribution over its values. Suggestions are asked for and told of as Optuna has it; several
at once are asked for before the first is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from nas.controllers.base import Controller
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, MnasError, SearchSpace

# By name: what makes a sampler from Optuna's module of samplers and a seed.
SAMPLERS: dict[str, Callable[[Any, int], Any]] = {
    "optuna:random": lambda samplers, seed: samplers.RandomSampler(seed=seed),
    "optuna:tpe": lambda samplers, seed: samplers.TPESampler(seed=seed, multivariate=True),
    "optuna:nsga2": lambda samplers, seed: samplers.NSGAIISampler(seed=seed),
}


class OptunaController(Controller):
    """Drives a sampler of Optuna.

    Args:
        make_sampler: makes the sampler from Optuna's module of samplers and a seed.

    Raises:
        MnasError: Optuna is not installed.
    """

    batch_size = 1

    def __init__(
        self, space: SearchSpace, objective: Objective, seed: int, make_sampler: Callable[[Any, int], Any]
    ) -> None:
        super().__init__(space, objective, seed)
        try:
            import optuna
        except ImportError:
            raise MnasError("controller: optuna is not installed; pip install 'mnas[optuna]'") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = make_sampler(optuna.samplers, seed)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._trial = optuna.trial
        self._distributions: dict[str, Any] = {
            choice.label: optuna.distributions.CategoricalDistribution(choice.values) for choice in space.decisions
        }
        self._running: dict[int, Any] = {}
        self._suggested = 0

    def suggest(self, count: int) -> list[Genotype]:
        asked = [self._study.ask(self._distributions) for _ in range(count)]
        self._running |= enumerate(asked, start=self._suggested)
        self._suggested += count
        return [dict(trial.params) for trial in asked]

    def update(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            asked = self._running.pop(trial.number)
            if trial.reward is not None and trial.genotype == asked.params:
                self._study.tell(asked, trial.reward)
                continue
            self._study.tell(asked, state=self._trial.TrialState.FAIL)
            if trial.reward is not None:  # another network than the suggested one was tried
                tried = self._trial.create_trial(
                    params=trial.genotype, distributions=self._distributions, value=trial.reward
                )
                self._study.add_trial(tried)
