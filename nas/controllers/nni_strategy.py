"""``nni:…``: NNI's own exploration strategies as controllers.

An NNI strategy runs its own loop and submits models to an engine, while a controller waits to be asked. So the strategy
runs in a thread that blocks whenever it looks for an idle worker, and continues only while `suggest` waits for it. Only
one of the two runs at a time, so the same seed repeats the search. Journal, cache, progress and budget work as for
every other controller. NNI assigns a reward to the network that its strategy suggested. So if a trial used another
network instead (for a table that covers only a part of its space), the strategy learns the reward of a neighbour.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from nas.controllers.base import Controller
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import Genotype, Space
from search_spaces.nni_import import import_nni


def regularized_evolution(space: Space, seed: int) -> Any:
    """NNI's aging evolution (arXiv 1802.01548): population 50, tournaments of 10, one mutation on average."""
    strategy = import_nni("nni.nas.strategy")
    mutation_prob = 1 / max(1, len(space.labels))
    return strategy.RegularizedEvolution(population_size=50, sample_size=10, mutation_prob=mutation_prob, seed=seed)


def random(space: Space, seed: int) -> Any:
    """Uniform samples without repetition."""
    return import_nni("nni.nas.strategy").Random(seed=seed)


def grid(space: Space, seed: int) -> Any:
    """All members in the order of the choices, shuffled in groups of a hundred."""
    return import_nni("nni.nas.strategy").GridSearch(seed=seed)


def tpe(space: Space, seed: int) -> Any:
    """NNI's tree-structured Parzen estimator with its defaults."""
    hpo = import_nni("nni.nas.strategy.hpo")
    tuner = import_nni("nni.algorithms.hpo.tpe_tuner").TpeTuner(optimize_mode="maximize", seed=seed)
    no_more_trials = import_nni("nni").NoMoreTrialError

    class PromptTuner(hpo.HPOTunerStrategy):  # type: ignore[misc, name-defined]
        """NNI's tuner without its sleep of one second after each trial: our engine does the waiting."""

        def _run(self) -> None:
            legacy = {label: choice.as_legacy_dict() for label, choice in self.model_space.simplify().items()}
            self.tuner.update_search_space(legacy)
            while self.engine.idle_worker_available():
                try:
                    parameters = self.tuner.generate_parameters(self._model_count)
                except no_more_trials:
                    return
                model = self.model_space.freeze(parameters)
                self._model_to_id[model] = self._model_count
                self._model_count += 1
                self.engine.submit_models(model)

    return PromptTuner(tuner)


STRATEGIES: dict[str, Callable[[Space, int], Any]] = {
    "nni:random": random,
    "nni:grid": grid,
    "nni:regularized-evolution": regularized_evolution,
    "nni:tpe": tpe,
}


class NNIStrategyController(Controller):
    """Drives an NNI strategy step by step.

    Args:
        space: space to search.
        objective: objective of the search.
        seed: random seed of the strategy.
        make_strategy: function that returns the strategy for a space and a seed.
    """

    batch_size = 1

    def __init__(
        self, space: Space, objective: Objective, seed: int, make_strategy: Callable[[Space, int], Any]
    ) -> None:
        super().__init__(space, objective, seed)
        self._nni_space = import_nni("nni.nas.space")
        # NNI logs every individual to stdout, where our JSON goes. Importing it sets its log level, so set ours after.
        logging.getLogger("nni").setLevel(logging.ERROR)
        self._strategy = make_strategy(space, seed)
        self._engine = _engine_class()()
        self._model_space = model_space_class()(space)
        self._running: dict[int, Any] = {}
        self._suggested = 0
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="nni-strategy", daemon=True)

    def suggest(self, count: int) -> list[Genotype]:
        if self._thread.ident is None:
            self._thread.start()
        models = self._engine.take(count)
        if self._failure is not None:
            raise RuntimeError(f"NNI's strategy stopped: {self._failure}") from self._failure
        for model in models:
            self._running[self._suggested] = model
            self._suggested += 1
        return [dict(model.sample) for model in models]

    def update(self, trials: Sequence[Trial]) -> None:
        status = self._nni_space.ModelStatus
        for trial in trials:
            model = self._running.pop(trial.number)
            if trial.reward is not None:
                self._engine.dispatch_model_event("final_metric", model=model, metric=trial.reward)
            ended = status.Failed if trial.reward is None else status.Trained
            self._engine.dispatch_model_event("training_end", model=model, status=ended)

    def close(self) -> None:
        self._engine.shutdown()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            self._strategy(self._model_space, self._engine)
        except BaseException as error:  # of any kind: `suggest` raises it in the main thread
            self._failure = error
        finally:
            self._engine.finish()


def model_space_class() -> Any:
    """Return the class of an NNI model space that holds our choices and freezes to a sample instead of a module."""
    space_module = import_nni("nni.nas.space")

    class ChoicesOnly(space_module.ExecutableModelSpace):  # type: ignore[misc, name-defined]
        def __init__(self, space: Space, sample: dict[str, Any] | None = None) -> None:
            super().__init__()
            self.space = space
            self.evaluator = None
            self.sample = sample
            if sample is not None:
                self.status = space_module.ModelStatus.Frozen

        def leaf_mutables(self, is_leaf: Any) -> Any:
            return self.space.choices.leaf_mutables(is_leaf)

        def check_contains(self, sample: dict[str, Any]) -> Any:
            return self.space.choices.check_contains(sample)

        def freeze(self, sample: dict[str, Any]) -> Any:
            self.validate(sample)
            return ChoicesOnly(self.space, dict(sample))

        def executable_model(self) -> Any:
            return self.sample

    return ChoicesOnly


def _engine_class() -> Any:
    """Return the class of an NNI engine that passes submitted models to `NNIStrategyController.suggest`."""
    base = import_nni("nni.nas.execution").ExecutionEngine

    class LendingEngine(base):  # type: ignore[misc, valid-type]
        """The strategy's thread calls all methods here except `take` and `shutdown`, in lockstep with our thread."""

        def __init__(self) -> None:
            super().__init__()
            self._turn = threading.Condition()
            self._wanted = 0
            self._submitted: list[Any] = []
            self._ended = False
            self._closing = False

        def take(self, count: int) -> list[Any]:
            """Let the strategy submit ``count`` models and return them; fewer if the strategy has ended."""
            with self._turn:
                self._wanted = count
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._wanted <= 0 or self._ended)
                taken, self._submitted = self._submitted, []
                return taken

        def finish(self) -> None:
            """Mark the strategy as ended."""
            with self._turn:
                self._ended = True
                self._turn.notify_all()

        def idle_worker_available(self) -> bool:
            with self._turn:
                self._turn.wait_for(lambda: self._wanted > 0 or self._closing)
                return not self._closing

        def budget_available(self) -> bool:
            return not self._closing

        def submit_models(self, *models: Any) -> None:
            with self._turn:
                self._submitted.extend(models)
                self._wanted -= len(models)
                if self._wanted <= 0:
                    self._turn.notify_all()

        def wait_models(self, *models: Any) -> None:
            with self._turn:
                self._turn.wait_for(
                    lambda: self._closing or self._wanted > 0 or all(model.status.completed() for model in models)
                )

        def list_models(self, status: Any = None) -> Any:
            return iter(())

        def shutdown(self) -> None:
            with self._turn:
                self._closing = True
                self._turn.notify_all()

    return LendingEngine
