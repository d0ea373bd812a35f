"""How to run a search again: its command, and notes on what the command leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from baselines.text import command
from nas.executors.base import Execution
from nas.objective import FORMS, Objective
from nas.record import Change
from nas.search_loop import SearchSettings
from nas.trial import Known
from search_spaces.plugins import is_code


def search_command(
    settings: SearchSettings,
    objective: Objective | None = None,
    execution: Execution | None = None,
    *,
    instant: bool = True,
    sources: Iterable[str] = (),
) -> str:
    """The command that runs the search again, with all of its settings and quoted for a shell.

    Args:
        settings: settings of the search.
        objective: another objective than that of the settings; None for the same.
        execution: where and how trials run; None for the defaults of the command.
        instant: whether the evaluator answers at once, which decides where trials run by default.
        sources: what it starts from.
    """
    objective = objective or settings.objective
    if [target.cost for target in objective.targets] == ["macs"]:
        words = ["--target-macs", objective.targets[0].text().removeprefix("macs=")]
    else:
        texts = [target.text() for target in objective.targets] or ["none"]
        words = [word for text in texts for word in ("--target", text)]
    for name in ("space", "evaluator", "controller"):
        words += [f"--{name}", getattr(settings, name)]
    words += ["--objective", objective.form]
    if objective.targets and FORMS[objective.form] not in (None, objective.exponents):
        words += ["--exponent", repr(objective.exponents[1])]
    words += ["--trials", str(settings.trials), "--seed", str(settings.seed)]
    usual = Execution("in-process" if instant else "processes")
    for name, value in (execution or usual).as_dict().items():
        if value not in (getattr(usual, name), None):
            words += [f"--{name.replace('_', '-')}", str(value)]
    if from_ := list(sources):
        words += ["--from", *from_]
    return command("search", *words)


def notes(
    settings: SearchSettings,
    execution: Execution,
    versions: Mapping[str, str],
    digest: str,
    remarks: Iterable[Change | Known] = (),
) -> list[str]:
    """Notes on what the command leaves out.

    Args:
        versions: versions of the packages that the search ran with, by name.
        digest: digest of settings and trials (`nas.journal.Journal.digest`).
        remarks: what it started from, and changes of files that were accepted.
    """
    objective, found = settings.objective, []
    below, above = objective.exponents
    if objective.form == "calibrated":
        found.append(f"The exponents ({below:.4g} below and {above:.4g} above the target) are measured again.")
    elif objective.targets and objective.exponents != FORMS[objective.form] and below not in (above, 0.0):
        found.append(f"The exponents of this run ({below:g} and {above:g}) can be given in Python only.")
    if execution.workers != 1:
        found.append("With several workers, trials complete in another order, so the search may go differently.")
    if any(map(is_code, settings.names)):
        found.append("It needs the Python files that it names, unchanged.")
    found += [f"{remark}." for remark in remarks]
    found.append(f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.")
    found.append(f"Digest of settings and trials: {digest}. The same search gives the same digest.")
    return found
