"""The Python front door: what the commands do, in functions that take names or objects.

import nas

found = nas.search(target_macs=180e6)
found.freeze("b180")
nas.compare(["b180", "efficientnet_b0"])
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from baselines.arguments import typed
from baselines.comparators import Comparator
from baselines.files import new_folder
from baselines.interrupts import interruptible
from baselines.notices import say
from baselines.spec import BaselineSpec, write_spec
from baselines.subjects import Network, subject_of
from baselines.text import Count
from nas.controllers.registry import CONTROLLERS, LEARN_KNOWN, ControllerFactory, name_of_controller
from nas.evaluators.base import Evaluator
from nas.evaluators.proxy_training import moved, with_threads
from nas.evaluators.registry import TRAIN, evaluator_loader, load_evaluator, name_of_evaluator, space_of
from nas.evidence import Comparison
from nas.executors.base import Execution, execution_of
from nas.found import Found, read_found, spec_name
from nas.journal import Journal
from nas.monitor import Progress, TensorBoard, Watch
from nas.objective import Objective, make_objective
from nas.record import PILOTS, RecordError
from nas.runs import look_at
from nas.search_loop import SearchSettings, run_search
from nas.studies.calibration import (
    CalibratedRequest,
    calibrated_objective,
    calibrated_request,
    is_calibrating,
    read_request,
    start_calibration,
)
from nas.studies.known import read_known
from search_spaces import MnasError, Space, StageSpace
from search_spaces.errors import one_line
from search_spaces.plugins import portable
from search_spaces.registry import name_of_space

DEFAULT_TARGETS = {"macs": 400_000_000.0}


class SearchInterrupted(KeyboardInterrupt):
    """A search was stopped before its end.

    Attributes:
        folder: folder of the run, which can be resumed.
        found: result so far; None if no trial has succeeded, or after a second Ctrl-C.
    """

    def __init__(self, folder: Path, found: Found | None) -> None:
        super().__init__(f"the search in {folder} was interrupted; resume it with nas.resume({str(folder)!r})")
        self.folder, self.found = folder, found


@typed
def search(
    target_macs: float | None = None,
    *,
    targets: Mapping[str, float] | None = None,
    space: str | Space = "efficientnet",
    evaluator: str | Evaluator | type[Evaluator] = "imagenet",
    controller: str | ControllerFactory = "bayesian",
    objective: str | Objective = "hard",
    exponent: float | None = None,
    trials: Count = 500,
    seed: int = 0,
    execution: Execution | Mapping[str, Any] | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    known: str | Path | Sequence[str | Path] = (),
) -> Found:
    """Search for the best network at a target, and record the run in a folder.

    Spaces, evaluators and controllers are given by name or as objects. Objects run in this process; to resume such a
    run, pass them again.

    Args:
        target_macs: target in multiply-adds, short for ``targets={"macs": …}``; 400M if no target is given (none in
            a space without architectures).
        targets: targets by name of the cost; empty for the most accurate network, whatever it costs.
        space: search space.
        evaluator: source of accuracy.
        controller: search algorithm.
        objective: form of the reward: hard (at most the target), soft (as published, which does not aim at its
            target), absolute (near the target) or calibrated (near it, with exponents measured there).
        exponent: exponent of the objective; -1 (hard), -0.07 (soft) or -0.1 (absolute) by default.
        trials: number of networks to evaluate.
        seed: random seed.
        execution: `Execution` (where and how trials run), or some of its fields.
        workers: number of trials to run at once, short for ``execution={"workers": …}``.
        out: folder of the run, new or empty; a new one in runs/ by default.
        known: what is known already: folders of searches, tables, and specs. Networks that the same evaluator measured
            are not evaluated again, and bayesian learns from them; what others measured is a hint for it.

    Returns:
        The result; the folder holds every trial.

    Raises:
        MnasError: a name is unknown, a value breaks its rule, or the search cannot continue.
        TypeError: a value has a type that its annotation does not allow.
        SearchInterrupted: Ctrl-C; the run can be resumed.
    """
    space_name = name_of_space(space)
    evaluator_name = name_of_evaluator(evaluator)
    # A long trial gets a process of its own, so that it cannot take the search down with it.
    instant = load_evaluator(evaluator_name, space_name).instant
    where = execution_of(_execution_fields(execution, workers), apart=not instant and isinstance(evaluator, str))
    evaluator_name = _with_threads(evaluator_name, where)
    load_evaluator(evaluator_name, space_name).prepare()
    trials, seed = int(trials), int(seed)  # numbers of numpy are welcome
    wanted = _targets(target_macs, targets)
    names = {"space": space_name, "evaluator": evaluator_name, "controller": name_of_controller(controller)}
    if wanted is None and not isinstance(objective, Objective):
        wanted = DEFAULT_TARGETS if isinstance(space_of(space_name, evaluator_name), StageSpace) else {}
    request = None
    if objective == "calibrated":
        if exponent is not None:
            raise MnasError("exponent: the calibrated form measures its own; remove the exponent")
        if known:
            raise MnasError("from: the calibrated form measures its own exponents first; use another --objective")
        request = calibrated_request(wanted or {}, **names, trials=trials, seed=seed)
        settings = request.settings(make_objective("hard", request.target))  # until the pilots are done
    else:
        settings = SearchSettings(**names, objective=_objective(objective, wanted, exponent), trials=trials, seed=seed)
    if where.executor == "processes":
        evaluator_loader(settings.evaluator, settings.space)  # raises if workers cannot load it
    earlier = read_known([known] if isinstance(known, str | Path) else known, settings)
    folder = Path(out) if out is not None else _new_folder(settings)
    if request is not None:
        start_calibration(folder, request, where)
        return _run(_calibrated(folder, request, where), new=True)
    return _run(Journal.create(folder, settings, where, known=earlier), new=True)


def _with_threads(evaluator: str, execution: Execution) -> str:
    """An evaluator's name, with the number of threads of its trainings, so that a resumed search computes the same."""
    if not evaluator.startswith(TRAIN):
        return evaluator
    if execution.executor != "in-process":
        return with_threads(evaluator, execution.cores)
    import torch

    return with_threads(evaluator, torch.get_num_threads())


@typed
def resume(
    folder: str | Path,
    *,
    trials: Count | None = None,
    execution: Execution | Mapping[str, Any] | None = None,
    workers: int | None = None,
    space: str | Space | None = None,
    evaluator: str | Evaluator | type[Evaluator] | None = None,
    controller: str | ControllerFactory | None = None,
    data: str | None = None,
    allow_code: bool = False,
    accept_changes: bool = False,
) -> Found:
    """Resume an interrupted search, or extend a complete one.

    Args:
        folder: folder of the run.
        trials: number of trials of the whole run; unchanged by default.
        execution: fields of the execution to change.
        workers: number of trials to run at once.
        space: space object of a run that was started with one, or the new place of its file.
        evaluator: evaluator object of a run that was started with one, or the new place of its file or table.
        controller: controller object of a run that was started with one, or the new place of its file.
        data: new place of the images of a run that trains.
        allow_code: whether Python files that the run names may run.
        accept_changes: whether those files, and tables, may have changed since the run was started; the run keeps it.

    Raises:
        MnasError: the folder holds no run, another process is writing to it, an object is missing, or a file that the
            run depends on has changed.
        SearchInterrupted: Ctrl-C; the run can be resumed again.
    """
    folder = Path(folder)
    names = _names(space, evaluator, controller)
    if data is not None:
        names["evaluator"] = moved(_stored_evaluator(folder), data)
    changes = _execution_fields(execution, workers)
    if is_calibrating(folder):
        request, before = read_request(folder, allow_code=allow_code, names=names)
        where = execution_of(changes, before.as_dict())
        wanted = request if trials is None else replace(request, trials=trials)
        return _run(_calibrated(folder, request, where, wanted), new=True)
    resumed = Journal.resume(
        folder, allow_code=allow_code, changes=changes, trials=trials, names=names, accept_changes=accept_changes
    )
    return _run(resumed, new=False)


def _stored_evaluator(folder: Path) -> str:
    """The evaluator of a run that trains. Raises `MnasError` if it does not."""
    stored = str((look_at(folder).settings or {}).get("evaluator"))
    if not stored.startswith(TRAIN):
        raise MnasError(f"data: the run uses {one_line(stored)}, which reads no images; remove data")
    return stored


@typed
def load_run(
    folder: str | Path,
    *,
    space: Space | None = None,
    evaluator: Evaluator | type[Evaluator] | None = None,
    controller: ControllerFactory | None = None,
    allow_code: bool = False,
) -> Found:
    """Read the result of a search, complete or not; nothing is evaluated.

    Args:
        folder: folder of the run.
        space: space object of a run that was started with one.
        evaluator: evaluator object of a run that was started with one.
        controller: controller object of a run that was started with one.
        allow_code: whether Python files that the run names may run.

    Raises:
        MnasError: the folder holds no run, or none of its trials succeeded.
    """
    folder = Path(folder)
    names = _names(space, evaluator, controller)
    with Journal.open(folder, allow_code=allow_code, names=names) as journal:
        return read_found(journal, complete=journal.session()["reason"] == "complete")


@typed
def compare(
    networks: Sequence[Network],
    *,
    evaluator: str | Evaluator = "imagenet",
    space: str | Space = "efficientnet",
    reference: Network | None = None,
) -> Comparison:
    """Put networks side by side: cost, accuracy with its noise, agreement and rank.

    Args:
        networks: names of baselines, spec files, folders of trainings or searches, ``torchvision:NAME``; or specs,
            architectures and comparators.
        evaluator: source of accuracy.
        space: space whose choices are the columns of a table of measurements.
        reference: network that the others are compared with; the last one by default.

    Raises:
        MnasError: a name is unknown, or there are fewer than two networks.
        TypeError: a network has a type that its annotation does not allow.
    """
    evaluator_name, space_name = name_of_evaluator(evaluator), name_of_space(space)
    judge = load_evaluator(evaluator_name, space_name)
    if not isinstance(space_of(space_name, evaluator_name), StageSpace):
        raise MnasError("compare: the space has choices and no architectures; compare its trials with mnas finalists")
    return Comparison.of(side_by_side(networks, reference), judge)


def side_by_side(networks: Sequence[Network], reference: Network | None) -> list[BaselineSpec | Comparator]:
    """The networks under different names, the reference last.

    Args:
        networks: networks to compare.
        reference: network that the others are compared with; the last one by default.

    Raises:
        MnasError: there are fewer than two, or two have the same name.
    """
    subjects = _told_apart([*networks, *([] if reference is None else [reference])])
    if reference is not None:
        chosen = subjects.pop()
        subjects = [*(subject for subject in subjects if subject != chosen), chosen]
    if len(subjects) < 2:
        raise MnasError("compare: expected two or more networks")
    names = [subject.name for subject in subjects]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise MnasError(f"compare: {repeated} is given twice; remove one, or give the specs different names")
    return subjects


def _told_apart(networks: Sequence[Network]) -> list[BaselineSpec | Comparator]:
    """The networks; if names clash, the network of a folder is named after the folder."""
    subjects = [subject_of(network) for network in networks]
    names = [subject.name for subject in subjects]
    for place, (network, subject) in enumerate(zip(networks, subjects, strict=True)):
        if isinstance(network, str) and isinstance(subject, BaselineSpec) and names.count(subject.name) > 1:
            subjects[place] = replace(subject, name=spec_name(Path(network))) if Path(network).is_dir() else subject
    return subjects


# --- names and objects ------------------------------------------------------------------------------------------------


def _names(
    space: str | Space | None,
    evaluator: str | Evaluator | type[Evaluator] | None,
    controller: str | ControllerFactory | None,
) -> dict[str, str]:
    """The names in this process of the objects and files with which a run is opened."""
    names = {
        "space": None if space is None else name_of_space(space),
        "evaluator": None if evaluator is None else name_of_evaluator(evaluator),
        "controller": None if controller is None else name_of_controller(controller),
    }
    return {kind: name for kind, name in names.items() if name is not None}


# --- settings ---------------------------------------------------------------------------------------------------------


def _targets(target_macs: float | None, targets: Mapping[str, float] | None) -> Mapping[str, float] | None:
    for name in targets or {}:
        if not isinstance(name, str):
            raise TypeError(f"targets: expected names of costs, got {type(name).__name__}")
    if target_macs is None:
        return targets
    if "macs" in (targets or {}):
        raise MnasError("target: macs is given twice; remove one")
    return {"macs": float(target_macs), **(targets or {})}


def _objective(objective: str | Objective, targets: Mapping[str, float] | None, exponent: float | None) -> Objective:
    if isinstance(objective, Objective):
        if targets is not None or exponent is not None:
            raise MnasError("objective: an Objective has its own targets and exponents; remove the others")
        return objective
    return make_objective(objective, targets or {}, exponent)


def _calibrated(
    folder: Path, request: CalibratedRequest, execution: Execution, wanted: CalibratedRequest | None = None
) -> Journal:
    """The new journal of a search whose exponents are measured first, or whose measurement is resumed.

    Args:
        folder: folder of the search.
        request: request that the search was started with.
        execution: where and how trials run.
        wanted: request from now on, where it differs.
    """
    try:
        objective = calibrated_objective(folder, request, execution.as_dict())
    except KeyboardInterrupt:
        raise SearchInterrupted(folder, None) from None
    return Journal.create(folder, (wanted or request).settings(objective), execution, beside=(PILOTS,))


def _execution_fields(execution: Execution | Mapping[str, Any] | None, workers: int | None) -> dict[str, Any]:
    given = asdict(execution) if isinstance(execution, Execution) else dict(execution or {})
    if workers is not None:
        if "workers" in given:
            raise MnasError("workers: given twice (also in execution); remove one")
        given["workers"] = workers
    return given


def _new_folder(settings: SearchSettings) -> Path:
    """A folder in runs/ that does not exist yet, named after the search."""
    controller = re.sub(r"\W+", "-", portable(settings.controller))
    space = re.sub(r"\W+", "-", portable(settings.space))
    targets = [re.sub(r"[^\w.+-]+", "", target.text()) for target in settings.objective.targets]
    target = "-".join(targets) or "no-target"
    return new_folder(f"{space}-{target}-{controller}-seed{settings.seed}")


# --- running ----------------------------------------------------------------------------------------------------------


def _run(opened: Journal, *, new: bool) -> Found:
    """Run the search of a journal to its end, and write its best network beside it."""
    with opened as journal:
        folder = journal.file.parent
        stopped = _search_into(journal, new=new)
        if stopped and journal.best_record() is None:  # too early for a result
            journal.end("interrupted")
            raise SearchInterrupted(folder, None)
        found = read_found(journal, complete=not stopped)
        (folder / "best.yaml").unlink(missing_ok=True)  # written before the run was resumed
        if found.spec is not None:
            write_spec(found.spec, folder / "best.yaml")
        journal.end("interrupted" if stopped else "complete")
    if stopped:
        raise SearchInterrupted(folder, found)
    return found


def _search_into(journal: Journal, *, new: bool) -> bool:
    """Run the search with everything that watches it. Returns whether it was stopped before its end.

    A new folder is removed if the search ends before anything was suggested.
    """
    settings, folder = journal.settings, journal.file.parent
    for known in journal.known() if new else ():
        learns = settings.controller not in CONTROLLERS or settings.controller in LEARN_KNOWN
        say(f"mnas: {known}{'' if learns else f'; {settings.controller} does not learn from it'}")
    load_evaluator(settings.evaluator, settings.space).prepare()
    history = journal.history()
    # TensorBoard files are derived from the journal, so they are written again.
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    progress = Progress(settings.trials, settings.objective)
    board = TensorBoard(folder / "tensorboard", settings.objective)
    try:
        with board, progress.running(), interruptible() as stop:
            earlier = journal.completed_trials()
            board.record(earlier, {})
            progress.record(earlier)
            run_search(settings, Watch(journal, board, progress), journal.execution, history, stop)
    except BaseException as error:
        unused = new and journal.suggested_count() == 0 and not (folder / PILOTS).exists()
        if unused and not isinstance(error, RecordError):
            shutil.rmtree(folder, ignore_errors=True)  # it was empty before `Journal.create`
        elif isinstance(error, KeyboardInterrupt):  # the second, or a SIGTERM
            raise SearchInterrupted(folder, None) from None
        raise
    return stop() and journal.count() < settings.trials
