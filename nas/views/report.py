"""The report of a search: what was asked, what was found and how certain it is, and what choices are worth.

`report` reads it from a journal; `data`, `text` and `page` are its three forms. A report takes little time: unless the
evaluator answers at once, it uses only the accuracies in the journal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.registry import load
from baselines.spec import BaselineSpec
from baselines.text import command, counted, millions, points, seconds_text, signed
from baselines.views import spec as spec_view
from baselines.views.page import Code, Fact, Facts, Page, Part, Prose, Section
from baselines.views.stages import stages_table
from baselines.views.terminal import Table, labelled, pointer
from nas.costs.metrics import COSTS, cost_function
from nas.evaluators.base import Evaluator, Metrics
from nas.evaluators.registry import load_evaluator, space_of
from nas.evidence import Comparison
from nas.executors.base import Execution
from nas.found import REFERENCE, spec_name, spec_of_trial
from nas.front import pareto_front
from nas.journal import Journal
from nas.objective import NO_TARGET, Objective, cost_text
from nas.record import Change
from nas.runs import Run, look_at
from nas.search_loop import SearchSettings
from nas.trial import Known, Trial, best_trial
from nas.views import comparison as comparison_view
from nas.views import trials as trial_view
from nas.views.comparison_page import comparison_parts
from nas.views.effects import Effects, effects_note, estimate_effects, page_table, terminal_table
from nas.views.reproduce import notes, search_command
from nas.views.run_figures import effects_figure, front_figure, progress_figure
from nas.views.search import missed_text
from search_spaces import FieldError, MnasError, StageSpace, architecture_cost
from search_spaces.plugins import code_options
from search_spaces.space import Genotype, Indices

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Front:
    """Accuracy against one cost.

    Attributes:
        cost: name of the cost.
        target: target of the search for this cost; None if it has none.
        trials: Pareto front, cheapest first; their ``costs`` hold this cost only.
        reference: cost of published B0; None if unknown.
    """

    cost: str
    target: float | None
    trials: tuple[Trial, ...]
    reference: float | None


@dataclass(frozen=True)
class Report:
    """The state of a search so far.

    Attributes:
        run: folder, state and counts.
        settings, execution: settings of the search, and execution of its last session.
        evaluator: source of the accuracies.
        spans: start and end of each session, in seconds since 1970, UTC.
        versions: versions of the packages in the last session, by name.
        digest: digest of settings and trials, 16 digits.
        changes: changes of the run's files that were accepted.
        known: what the search started from.
        trials: completed trials, in the order of completion.
        best: best trial.
        comparison: best network beside published B0.
        fronts: accuracy against MACs, then against the costs of the other targets.
        ties: trials of other networks whose accuracy differs from the best's by at most the σ of the difference, and
            that meet the targets if the best does, fewest MACs first; None if the evaluator gives no σ.
        effects: effects of the choices; None if there are too few networks to estimate them.
    """

    run: Run
    settings: SearchSettings
    execution: Execution
    evaluator: Evaluator
    spans: tuple[tuple[float, float], ...]
    versions: dict[str, str]
    digest: str
    changes: tuple[Change, ...]
    known: tuple[Known, ...]
    trials: tuple[Trial, ...]
    best: Trial
    comparison: Comparison
    fronts: tuple[Front, ...]
    ties: tuple[Trial, ...] | None
    effects: Effects | None

    @property
    def spec(self) -> BaselineSpec:
        """The best network as a spec."""
        spec = self.comparison.judged[0].spec
        assert spec is not None
        return spec

    @property
    def done(self) -> int:
        """Number of ``trials``; a run that is still running may have more by now."""
        return len(self.trials)

    @property
    def failed(self) -> int:
        """Number of failed trials."""
        return sum(self.failures.values())

    @property
    def failures(self) -> dict[str, int]:
        """Number of failed trials, by kind."""
        return dict(Counter(trial.failure.kind for trial in self.trials if trial.failure))

    @property
    def seconds(self) -> float:
        """Total time of all sessions."""
        return sum(max(end - start, 0.0) for start, end in self.spans)

    @property
    def reference(self) -> Metrics | None:
        """Metrics of published B0 by the same evaluator; None if unknown."""
        return self.comparison.reference.metrics

    @cached_property
    def improvements(self) -> list[tuple[int, Trial]]:
        """Each trial that was the best so far, after the number of trials done by then."""
        objective, found, best = self.settings.objective, [], -math.inf
        for position, trial in enumerate(self.trials, start=1):
            merit = -math.inf if trial.reward is None else objective.merit(trial.reward, trial.costs)
            if merit > best:
                found.append((position, trial))
                best = merit
        return found


def report(journal: Journal) -> Report:
    """The report of an open run.

    Raises:
        MnasError: the run has no successful trial, its space has no architectures, or it names a Python file that is
            not allowed to run.
    """
    settings, folder = journal.settings, journal.file.parent
    space = space_of(settings.space, settings.evaluator)
    if not isinstance(space, StageSpace):
        code = code_options(settings.names)
        others = f"{command('front', folder, *code)} or {command('trials', folder)}"
        raise MnasError(f"report: {folder} has choices and no architectures; use {others} instead")
    evaluator = load_evaluator(settings.evaluator, settings.space)
    trials = journal.completed_trials()
    by_number = sorted(trials, key=lambda trial: trial.number)
    best = best_trial(by_number, settings.objective) or journal.best()  # which says why there is none
    spec = spec_of_trial(journal, best, spec_name(folder))
    b0 = load(REFERENCE)
    done = [trial for trial in trials if trial.metrics is not None]
    rows = space.canonical(space.indices([trial.genotype for trial in done]))
    home = _encoded(space, b0)
    known: dict[str, Metrics] = {spec.name: best.metrics} if best.metrics else {}
    if home is not None and not evaluator.instant:
        # B0's metrics in the run, if the run tried it.
        tried = np.flatnonzero((rows == space.indices([home])).all(axis=1))
        metrics = done[tried[0]].metrics if len(tried) else None
        known |= {} if metrics is None else {b0.name: metrics}
    comparison = Comparison.of([spec, b0], evaluator, known)
    targets = {target.cost: target.value for target in settings.objective.targets}
    fronts = [
        Front(cost, targets.get(cost), tuple(pareto_front(space, trials, cost)), _reference_cost(cost, space, home, b0))
        for cost in dict.fromkeys(["macs", *targets])
    ]
    return Report(
        run=look_at(folder),
        settings=settings,
        execution=journal.execution,
        evaluator=evaluator,
        spans=tuple(journal.spans()),
        versions=dict(journal.session()["versions"]),
        digest=journal.digest(),
        changes=journal.changes(),
        known=tuple(journal.known()),
        trials=tuple(trials),
        best=best,
        comparison=comparison,
        fronts=tuple(fronts),
        ties=_ties(trials, best, settings.objective),
        effects=_effects(space, done, rows, best),
    )


def _encoded(space: StageSpace, spec: BaselineSpec) -> Genotype | None:
    """The canonical genotype of a network; None if it is not in the space."""
    try:
        return space.encode(spec.architecture)
    except FieldError:
        return None


def _reference_cost(cost: str, space: StageSpace, home: Genotype | None, b0: BaselineSpec) -> float | None:
    if not COSTS[cost].predicted:
        return float(getattr(architecture_cost(b0.architecture), cost))
    return None if home is None else float(cost_function(cost, space)(space.indices([home]))[0])


def _ties(trials: Sequence[Trial], best: Trial, objective: Objective) -> tuple[Trial, ...] | None:
    """See `Report`; one trial per network."""
    if best.metrics is None or best.metrics.accuracy_std is None:
        return None
    wanted, found = bool(objective.meets(best.costs)), {best.architecture: best}
    for trial in trials:
        if trial.metrics is None or trial.metrics.accuracy_std is None or trial.architecture in found:
            continue
        noise = math.hypot(best.metrics.accuracy_std, trial.metrics.accuracy_std)
        is_near = abs(best.metrics.accuracy - trial.metrics.accuracy) <= noise
        if is_near and (objective.meets(trial.costs) or not wanted):
            found[trial.architecture] = trial
    return tuple(sorted(list(found.values())[1:], key=lambda trial: (trial.cost.macs, trial.number)))


def _effects(space: StageSpace, done: Sequence[Trial], rows: Indices, best: Trial) -> Effects | None:
    """See `Report`; one trial per network."""
    networks, first = np.unique(rows, axis=0, return_index=True)
    accuracy = np.array([trial.metrics.accuracy for trial in done if trial.metrics])[first]
    macs = np.array([float(trial.cost.macs) for trial in done])[first]
    own = networks[(networks == rows[done.index(best)]).all(axis=1)]
    values = space.genotypes(own[:1])[0]
    return estimate_effects(space.decisions, networks, accuracy, macs, [values[label] for label in space.labels])


# --- words that several forms share -----------------------------------------------------------------------------------


def state_text(report: Report) -> str:
    """The progress of the run, as a sentence."""
    kinds = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(report.failures.items()))
    some = f" {report.failed:,} of {report.done:,} trials failed ({kinds})." if kinds else ""
    state, wanted = report.run.state, report.settings.trials
    if state == "complete" or report.done == wanted:
        fewer = f" of {wanted:,}; there was nothing left to try" if report.done < wanted else ""
        return f"All {report.done:,} trials are done{fewer}.{some}"
    states = {"running": "is still running", "failed": "stopped at an error", "interrupted": "was interrupted"}
    so_far = f"after {report.done:,} of {wanted:,} trials; this is the best so far"
    return f"The run {states.get(state, state)} {so_far}.{some}"


def certainty(report: Report) -> list[str]:
    """Sentences on how certain it is that the best network is the best."""
    best, objective = report.best, report.settings.objective
    assert best.metrics is not None
    sentences, meets = [], bool(objective.meets(best.costs))
    wants_target = bool(objective.targets) and meets  # whether other networks have to meet the target too
    if not meets:
        sentences.append(missed_text(objective))
    if report.ties is None:
        sentences.append("The evaluator gives no σ, so the noise of these accuracies is not known.")
    elif report.ties:
        cheapest, count = report.ties[0], len(report.ties)
        assert cheapest.metrics is not None
        networks = "1 other network of the run is" if count == 1 else f"{count:,} other networks of the run are"
        also = f" and meet{'s' * (count == 1)} the target too" if wants_target else ""
        sentences.append(
            f"{networks} within the σ of the difference{also}: a tie. The one with the fewest MACs is trial "
            f"{cheapest.number}, with {points(*cheapest.metrics)} at {millions(cheapest.cost.macs)} MACs."
        )
    else:
        which = " that meets the target" if wants_target else ""
        sentences.append(f"No other network of the run{which} is within the σ of the difference.")
    sentences.append(
        f"It is the best of {report.done - report.failed:,} {report.evaluator.kind} accuracies, "
        "and the best of many usually owes something to chance."
    )
    return sentences


def _against(report: Report) -> tuple[str, str]:
    """Difference in accuracy from published B0, if known, and what it means."""
    change = report.comparison.differences[0]
    if change.accuracy is None:
        return "not known", "the evaluator has not judged B0"
    spread = "" if change.accuracy_std is None else f" ± {100 * change.accuracy_std:.2f}"
    verdict = {None: "its noise is not known", True: "larger than its σ", False: "inside its σ: a tie"}
    return f"{signed(100 * change.accuracy)}{spread}", f"points of accuracy, {verdict[change.beyond_noise]}"


def _target_facts(report: Report) -> list[Fact]:
    pairs = zip(report.settings.objective.targets, report.best.costs, strict=True)
    return [Fact(f"target {target.text()}", cost_text(COSTS[target.cost], target, value)) for target, value in pairs]


def _again(report: Report) -> str:
    return search_command(
        report.settings,
        execution=report.execution,
        instant=report.evaluator.instant,
        sources=[known.source for known in report.known],
    )


def _again_notes(report: Report) -> list[str]:
    return notes(report.settings, report.execution, report.versions, report.digest, (*report.known, *report.changes))


def _asked(report: Report) -> list[Fact]:
    settings, objective = report.settings, report.settings.objective
    started, ended = (datetime.fromtimestamp(when, UTC) for when in (report.spans[0][0], report.spans[-1][1]))
    return [
        Fact("space", settings.space),
        *_asked_objective(objective),
        Fact("evaluator", settings.evaluator),
        Fact("its accuracy", report.evaluator.meaning),
        Fact("controller", settings.controller, f"seed {settings.seed}"),
        Fact("trials", f"{report.done:,} of {settings.trials:,}", f"{report.failed:,} failed"),
        Fact("started", f"{started:%d %b %Y %H:%M} UTC", f"last trial {ended:%d %b %Y %H:%M} UTC"),
        Fact("worked", seconds_text(report.seconds), f"in {counted(len(report.spans), 'session')}"),
    ]


def _asked_objective(objective: Objective) -> list[Fact]:
    if not objective.targets:
        return [Fact("objective", NO_TARGET)]
    below, above = objective.exponents
    return [
        Fact("targets", ", ".join(target.text() for target in objective.targets)),
        Fact("objective", objective.form, f"exponents {below:.4g} below the target, {above:.4g} above it"),
    ]


# --- the three forms --------------------------------------------------------------------------------------------------


def data(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    best = report.best
    return {
        "run": str(report.run.folder),
        "state": report.run.state,
        "settings": report.settings.as_dict(),
        "execution": report.execution.as_dict(),
        "evaluator": {"name": report.evaluator.name, "meaning": report.evaluator.meaning},
        "trials": {"done": report.done, "wanted": report.settings.trials, "failed": report.failed},
        "failures": report.failures,
        "started": _iso(report.spans[0][0]),
        "ended": _iso(report.spans[-1][1]),
        "seconds": report.seconds,
        "best": {**trial_view.data(best), **spec_view.data(report.spec)},
        "meets_target": bool(report.settings.objective.meets(best.costs)),
        "comparison": comparison_view.data(report.comparison),
        "ties": None if report.ties is None else [trial_view.data(trial) for trial in report.ties],
        "best_so_far": [{"done": position, **trial_view.data(trial)} for position, trial in report.improvements],
        "fronts": [
            {
                "cost": front.cost,
                "target": front.target,
                "efficientnet_b0": front.reference,
                "trials": [trial_view.data(trial) for trial in front.trials],
            }
            for front in report.fronts
        ],
        "effects": None if report.effects is None else asdict(report.effects),
        "reproduce": {
            "command": _again(report),
            "versions": report.versions,
            "digest": report.digest,
            "changes": [asdict(change) for change in report.changes],
            "known": [known.summary() for known in report.known],
        },
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def text(report: Report) -> list[RenderableType]:
    """The report for a terminal."""
    best = report.best
    assert best.metrics is not None
    asked = Table("Asked", [("what", "left"), ("value", "left"), ("", "left")])
    for fact in _asked(report):
        asked.add_row(fact.label, fact.value, fact.note)
    found = f"trial {best.number}: {points(*best.metrics)}, {millions(best.cost.macs)} MACs, "
    lines: list[RenderableType] = [
        labelled("Found", f"{found}{millions(best.cost.params)} params. {state_text(report)}"),
        *(f"{fact.label}: {fact.value}" for fact in _target_facts(report)),
        *certainty(report),
        asked,
        *comparison_view.text(report.comparison),
    ]
    if report.effects is not None:
        lines.append(terminal_table(report.effects))
    lines.append(effects_note(report.effects))
    run_again = _again(report)
    return [
        *lines,
        pointer("Again:", run_again),
        *_again_notes(report),
        pointer("Page:", _command(report, "report", "--html", "FILE")),
        pointer("Next:", _command(report, "finalists")),
    ]


def page(report: Report) -> Page:
    """The report as a page."""
    best = report.best
    assert best.metrics is not None
    difference_text, verdict = _against(report)
    change = report.comparison.differences[0]
    answer = Facts(
        (
            Fact(f"{report.evaluator.kind} top-1", points(*best.metrics), f"trial {best.number}"),
            Fact("against EfficientNet-B0", difference_text, verdict),
            Fact("MACs", millions(best.cost.macs), f"{best.cost.macs:,}, ×{change.macs_ratio:.3f} of B0's"),
            Fact("parameters", millions(best.cost.params), f"{best.cost.params:,}, ×{change.params_ratio:.3f} of B0's"),
        ),
        large=True,
    )
    answers, _ = comparison_parts(report.comparison)
    sure = [Prose(" ".join(certainty(report)), "How sure:")]
    again = _again(report)
    sections = (
        Section(
            "What was found",
            (
                Prose(state_text(report)),
                answer,
                *((Facts(facts),) if (facts := tuple(_target_facts(report))) else ()),
                *sure,
                *answers,
                *_next_steps(report),
            ),
        ),
        Section("What was asked", (Facts(tuple(_asked(report))),)),
        Section("Best so far", _progress_parts(report)),
        Section("Accuracy against cost", tuple(front_figure(report, front) for front in report.fronts)),
        Section("What each choice is worth", _effects_parts(report)),
        Section("The network, stage by stage", (stages_table(report.spec, load(REFERENCE), "B0"),)),
        Section(
            "How to reproduce it",
            (Code(again, "The same search again"), *(Prose(line, quiet=True) for line in _again_notes(report))),
        ),
    )
    wanted = ", ".join(target.text() for target in report.settings.objective.targets)
    what = f"{report.settings.space} at {wanted}" if wanted else f"{report.settings.space}, {NO_TARGET}"
    name = report.run.folder.resolve().name
    return Page(f"Search {name}", f"{what}: {report.evaluator.meaning}", sections)


def _progress_parts(report: Report) -> tuple[Part, ...]:
    accuracies = [trial.metrics.accuracy for _, trial in report.improvements if trial.metrics]
    figure = progress_figure(report)
    if sorted(accuracies) == accuracies:
        return (figure,)
    why = "The line falls where a network is better by the objective, such as the first that meets the target"
    return (Prose(f"{why}, but less accurate.", quiet=True), figure)


def _command(report: Report, name: str, *options: object) -> str:
    """A command for the run's folder, which allows the Python files that the run names to run."""
    return command(name, report.run.folder, *options, *code_options(report.settings.names))


def _next_steps(report: Report) -> list[Part]:
    freeze = _command(report, "freeze", "--trial", report.best.number, "--name", "NAME")
    steps: list[Part] = [Code(freeze, "Keep this network as a spec")]
    if report.ties:
        steps.insert(0, Code(_command(report, "finalists"), "Compare the best networks of the run with their noise"))
    return steps


def _effects_parts(report: Report) -> tuple[Part, ...]:
    words = Prose(effects_note(report.effects))
    return (words,) if report.effects is None else (words, effects_figure(report.effects, page_table(report.effects)))
