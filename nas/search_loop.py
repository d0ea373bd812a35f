"""The search: suggest, decode, evaluate, reward, record, update; with several workers, and resumable.

A controller is asked for a batch when a worker is free and no suggestion is left. Before that it learns from the
trials completed since it was last asked, in the order of completion. So no worker waits for the slowest of a batch,
with one worker every batch is complete before the next, and the order of completions is enough to replay a search
(`nas.trial.History`).

A failed trial has no reward. The controller is told the lowest accuracy so far in its place, whatever the failure, so
that it avoids networks that always fail: otherwise it would suggest them again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

from baselines.threads import ThreadLimit
from nas.controllers.base import Controller
from nas.controllers.registry import CONTROLLERS, check_controller, make_controller
from nas.costs.metrics import check_target
from nas.evaluators.base import Evaluator, Metrics, Network
from nas.evaluators.registry import check_judges, load_evaluator, space_of
from nas.evaluators.work import Outcome, evaluation
from nas.executors.base import FAULTS, Execution, Executor, Failure, Performed
from nas.executors.registry import make_executor
from nas.objective import Objective
from nas.proposer import Proposer
from nas.trial import Batch, Completion, History, Trial
from search_spaces import Genotype, MnasError
from search_spaces.architecture import check_int
from search_spaces.errors import reason_of
from search_spaces.guard import guarded

# If the evaluator fails this often in a row, more trials will not help.
MAX_FAILURES_IN_A_ROW = 50


@dataclass(frozen=True)
class SearchSettings:
    """The settings that determine a search: equal settings and versions give equal trials.

    Attributes:
        space, evaluator, controller: names. The space ``table`` is read from the evaluator's table.
        objective: reward to maximise.
        trials: number of trials to run.
        seed: random seed of the controller.

    Raises:
        MnasError: a name is unknown, a number breaks its rule, or a target lies outside the space.
    """

    space: str
    evaluator: str
    controller: str
    objective: Objective
    trials: int
    seed: int

    def __post_init__(self) -> None:
        check_int("trials", self.trials, 1, 10_000_000)
        check_int("seed", self.seed, 0, 2**32 - 1)
        check_controller(self.controller)
        space = space_of(self.space, self.evaluator)
        evaluator = load_evaluator(self.evaluator, self.space)
        if space.num_networks < 2:
            raise MnasError(f"space: {self.space} has one network, so there is nothing to search; open a choice")
        check_judges(evaluator, space)
        for target in self.objective.targets:
            check_target(target.cost, target.value, space)

    @property
    def names(self) -> tuple[str, str, str]:
        """Names of the space, the evaluator and the controller."""
        return self.space, self.evaluator, self.controller

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain data."""
        return asdict(self)


class SearchEvents:
    """Events of a running search, in order; this base class ignores them."""

    def suggested(self, trials: Sequence[Trial], batch: Batch) -> None:
        """The controller was asked for a batch and suggested these trials; none if it had no more."""

    def attempt_failed(self, trial: Trial, attempt: int, failure: Failure, seconds: float) -> None:
        """An attempt at a trial, counted from 1, failed and will be repeated."""

    def completed(self, trials: Sequence[Trial], controller: Controller) -> None:
        """Trials were completed, in this order; the controller has not learned from them yet."""


def run_search(
    settings: SearchSettings,
    events: SearchEvents | None = None,
    execution: Execution | None = None,
    history: History | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Trial]:
    """Run a whole search, or the rest of one.

    Args:
        settings: settings of the search.
        events: receiver of events as they happen.
        execution: where and how trials run; in this process, one after the other, by default.
        history: history of the same search up to where it was interrupted. The controller is asked and told the
            same again, which restores its state; completed trials are not evaluated again. A new search may have a
            history with what was known before it.
        stop: whether to start no more trials; running ones are completed.

    Returns:
        All completed trials by number, including those of the history; fewer than asked for if nothing was left to try,
        or if the search was stopped.

    Raises:
        MnasError: the evaluator failed `MAX_FAILURES_IN_A_ROW` times in a row, the controller broke its rules or
            suggests another network than in the history, or there is nowhere to run trials.
    """
    execution = execution or Execution()
    evaluator = load_evaluator(settings.evaluator, settings.space)
    # An evaluator that trains in this process may need all cores, and so may the processes of an executor: then only
    # the controller is limited.
    here = evaluator.instant and execution.executor == "in-process"
    one_thread = ThreadLimit(1)
    with one_thread if here else nullcontext():
        search = _Search(settings, evaluator, events or SearchEvents(), execution.retries, one_thread)
        try:
            search.replay(history or History())
            load = evaluation(settings.evaluator, settings.space, apart=execution.executor == "processes")
            with make_executor(execution, load) as executor:
                search.run(executor, stop)
        finally:
            search.controller.close()
    return [trial for trial in search.trials if trial.done]


class _Search:
    """State of a search: trials by number and in the order of completion."""

    def __init__(
        self,
        settings: SearchSettings,
        evaluator: Evaluator,
        events: SearchEvents,
        retries: int,
        one_thread: ThreadLimit,
    ) -> None:
        self.trials: list[Trial] = []
        self._settings = settings
        self._events = events
        self._retries = retries
        self._one_thread = one_thread
        space = space_of(settings.space, settings.evaluator)
        self._proposer = Proposer(space, evaluator, settings.objective)
        self.controller = self._call("creating it", make_controller, settings.controller, space, *self._aim())
        self._keys: list[bytes] = []
        self._queue: deque[int] = deque()
        self._spare: list[Genotype] = []  # suggestions of the last batch beyond the number of trials
        self._attempts: dict[int, int] = {}
        self._completed: list[Trial] = []
        self._told = 0
        self._worst: float | None = None
        self._exhausted_at: int | None = None
        self._failures_in_a_row = 0
        # Outcomes by network, and the trials that wait for a network that is being evaluated.
        self._outcomes: dict[bytes, Outcome] = {}
        self._waiting: dict[bytes, list[int]] = {}

    def _aim(self) -> tuple[Objective, int]:
        return self._settings.objective, self._settings.seed

    # --- evaluating -----------------------------------------------------------------------------------------------

    def run(self, executor: Executor[Network, Metrics], stop: Callable[[], bool]) -> None:
        """Evaluate queued trials and the controller's next suggestions until all trials are completed."""
        under_way: dict[Future[Performed[Metrics]], list[int]] = {}
        while True:
            while len(under_way) < executor.workers and not stop():
                numbers = self._take(everything=executor.batched)
                if not numbers:
                    break
                networks = [self.trials[number].network for number in numbers]
                under_way[executor.submit(networks)] = numbers
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in [future for future in under_way if future in done]:
                self._settle(under_way.pop(future), future.result())

    def _take(self, *, everything: bool) -> list[int]:
        """Trials to evaluate now: one, or all in the queue; none if nothing is left.

        A trial whose network is being evaluated waits for it; one whose network was evaluated before is completed.
        """
        while self._queue or self._ask():
            numbers: list[int] = []
            again: list[int] = []
            while self._queue and (everything or not numbers):
                number = self._queue.popleft()
                key = self._keys[number]
                if key in self._outcomes:
                    again.append(number)
                elif key in self._waiting:
                    self._waiting[key].append(number)
                else:
                    self._waiting[key] = [number]
                    numbers.append(number)
            if numbers:
                self._waiting[self._keys[numbers[-1]]] += again  # completed with them, in the order of numbers
                return numbers
            self._complete(again, 0.0)
        return []

    def _settle(self, numbers: list[int], found: Performed[Metrics]) -> None:
        """Complete trials, or queue them again."""
        seconds = found.seconds / len(numbers)
        complete: list[int] = []
        for number, outcome in zip(numbers, found.outcomes, strict=True):
            attempt = self._attempts[number] = self._attempts.get(number, 0) + 1
            same = self._waiting.pop(self._keys[number])
            if isinstance(outcome, Failure) and FAULTS[outcome.kind].retried and attempt <= self._retries:
                self._events.attempt_failed(self.trials[number], attempt, outcome, seconds)
                self._queue.extendleft(reversed(same))
                continue
            self._outcomes[self._keys[number]] = outcome
            complete += same
        self._complete(sorted(complete), seconds)

    def _complete(self, numbers: Sequence[int], seconds: float) -> None:
        """Complete trials whose networks have outcomes."""
        if not numbers:
            return
        outcomes = [self._outcomes[self._keys[number]] for number in numbers]
        rewards = self._proposer.rewards([self.trials[number] for number in numbers], outcomes)
        done = []
        for number, outcome, reward in zip(numbers, outcomes, rewards, strict=True):
            attempts = self._attempts.pop(number, 0)
            completion = Completion(outcome, reward, attempts, seconds if attempts else 0.0)
            done.append(replace(self.trials[number], **completion.fields()))
        self._book(done)
        self._events.completed(done, self.controller)
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            last = next(trial.failure.error for trial in reversed(done) if trial.failure)
            raise MnasError(
                f"evaluator {self._settings.evaluator!r}: {self._failures_in_a_row} failures in a row; last: {last}"
            )

    def _book(self, done: Sequence[Trial]) -> None:
        for trial in done:
            self.trials[trial.number] = trial
            self._completed.append(trial)
            self._failures_in_a_row = self._failures_in_a_row + 1 if trial.failure else 0

    # --- asking ---------------------------------------------------------------------------------------------------

    def _ask(self) -> bool:
        """Ask the controller for more trials. Returns whether it gave any."""
        room = self._settings.trials - len(self.trials)
        if room < 1 or (not self._spare and self._exhausted_at == len(self._completed)):
            return False
        # Always a whole batch, also at the end, so that a run that is made longer equals one that was as long at once.
        asked = 0 if self._spare else self.controller.batch_size
        trials = self._ask_for(asked, room)
        self._events.suggested(trials, Batch(asked, len(trials), self._told))
        if not trials:  # it may have more once running trials complete
            self._exhausted_at = len(self._completed)
        return bool(trials)

    def _ask_for(self, asked: int, room: int) -> list[Trial]:
        """Queue the next suggestions.

        Args:
            asked: number of suggestions to ask the controller for, after it has learned from newly completed trials; 0
                to take those that the last batch had beyond the number of trials.
            room: largest number of trials; further suggestions are kept.
        """
        suggestions = self._suggestions(asked) if asked else self._spare
        suggestions, self._spare = suggestions[:room], suggestions[room:]
        keys, trials = self._proposer.propose(suggestions, len(self.trials))
        self._keys += keys
        self.trials += trials
        self._queue += [trial.number for trial in trials]
        return trials

    def _suggestions(self, asked: int) -> list[Genotype]:
        news = self._completed[self._told :]
        self._told = len(self._completed)
        if news:
            self._call("update", self.controller.update, [self._lesson(trial) for trial in news])
        found = self._call("suggest", self.controller.suggest, asked)
        if not isinstance(found, list) or len(found) > asked:
            raise MnasError(
                f"controller {self._settings.controller}: suggest({asked}) did not return a list of at most {asked} "
                "genotypes; fix it"
            )
        return found

    def _lesson(self, trial: Trial) -> Trial:
        """The trial as the controller is told of it."""
        if trial.metrics is not None:
            self._worst = trial.metrics.accuracy if self._worst is None else min(self._worst, trial.metrics.accuracy)
        elif self._worst is not None:
            reward = self._settings.objective.reward(self._worst, trial.costs)
            return replace(trial, metrics=Metrics(self._worst), reward=reward)
        return trial

    def _call(self, action: str, call: Callable[..., Any], *arguments: object) -> Any:
        try:
            # What is ours changes nothing, and the guard takes as long as some of our controllers.
            with self._one_thread, nullcontext() if self._settings.controller in CONTROLLERS else guarded():
                return call(*arguments)
        except MnasError:
            raise
        except Exception as error:  # a user's controller may fail in any way
            raise MnasError(
                f"controller {self._settings.controller}: {action} failed ({reason_of(error)}); fix it"
            ) from error

    # --- replaying ------------------------------------------------------------------------------------------------

    def replay(self, history: History) -> None:
        """Bring the controller to the end of the history, and queue the trials that were not completed.

        Raises:
            MnasError: the controller suggests another network than in the history, or the history contradicts itself.
        """
        if history.known:
            for known in history.known:
                if known.same:  # not evaluated again
                    self._outcomes |= zip(self._proposer.keys(known.genotypes), known.metrics, strict=True)
            self._call("start_from", self.controller.start_from, history.known)
        completions = iter(history.completions.items())

        def complete(until: int) -> None:
            while len(self._completed) < until:
                number, completion = next(completions, (len(self.trials), None))
                if number >= len(self.trials) or completion is None or self.trials[number].done:
                    raise MnasError(f"resume: trial {number} was completed before it was suggested; fix the journal")
                self._book([replace(self.trials[number], **completion.fields())])
                if completion.attempts:
                    self._outcomes[self._keys[number]] = completion.outcome

        for batch, following in zip_longest(history.batches, history.batches[1:]):
            complete(batch.told)
            first = len(self.trials)
            # Only the last batch before the run was made longer may have more suggestions than there was room for.
            whole = batch.asked and following is not None and following.asked
            trials = self._ask_for(batch.asked, batch.asked if whole else batch.given)
            for trial, then in zip(trials, history.genotypes[first : first + batch.given], strict=False):
                if trial.genotype != then:
                    raise self._other_than_then(trial.number, history)
            if not trials:
                self._exhausted_at = batch.told
            if len(trials) != batch.given:
                raise self._other_than_then(first + min(len(trials), batch.given), history)
        complete(len(history.completions))
        self._attempts = dict(history.failed_attempts)
        self._queue = deque(trial.number for trial in self.trials if not trial.done)

    def _other_than_then(self, number: int, history: History) -> MnasError:
        return MnasError(
            f"resume: trial {number} was another network than the controller suggests now, so the run cannot be "
            f"resumed; {history.other_versions()}"
        )
