"""`mnas search`: a search, from its options to its result."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import nas.api
from baselines.commands.options import (
    ALLOW_CODE,
    add_data,
    add_json,
    add_options,
    add_targets,
    given,
    given_targets,
    refuse,
)
from baselines.notices import say
from baselines.training.data.fit import FITS
from baselines.training.recipe import BALANCES
from baselines.views.terminal import print_json, show
from nas.controllers.registry import CONTROLLERS
from nas.costs.metrics import COSTS
from nas.evaluators.proxy_training import ProxyOptions, evaluator_of
from nas.evaluators.registry import EVALUATORS
from nas.executors.base import EXECUTORS, Execution
from nas.found import Found
from nas.journal import resume_command
from nas.runs import look_at
from nas.views import search as view
from search_spaces import SPACES, MnasError
from search_spaces.plugins import KINDS

# Arguments of `nas.api.search` that become options of the same name.
OPTIONS = ("space", "evaluator", "controller", "objective", "exponent", "trials", "seed", "out")
DEFAULTS = {
    "executor": "in-process if the evaluator answers at once, else processes",
    "workers": "1; with ray, as many as there is room for",
}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Search for the most accurate network at a target of multiply-adds, and compare it with EfficientNet-B0."
    )
    add_targets(parser, COSTS, default="; 400M without any target")
    names = {
        "space": (*SPACES, "table (the choices of --evaluator table:FILE)"),
        "evaluator": (*EVALUATORS, "train (on --data)", "table:FILE", "FILE.py:NAME"),
        "controller": CONTROLLERS,
    }
    add_options(parser, nas.api.search, OPTIONS, choices=names)
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="resume a run; --trials is then the total number of trials, and --space, --evaluator, --controller and "
        "--data say where its files and images are now",
    )
    parser.add_argument(
        "--from",
        dest="known",
        nargs="+",
        action="extend",
        default=argparse.SUPPRESS,
        metavar="SOURCE",
        help="what is known already, one or more: folders of searches of the same space, tables, specs; what the same "
        "evaluator measured is not evaluated again, and what others measured is a hint for bayesian",
    )
    proxy = parser.add_argument_group("training of --evaluator train")
    add_data(proxy)
    add_options(proxy, ProxyOptions, choices={"fit": FITS, "balance": BALANCES})
    choices = {"executor": EXECUTORS}
    add_options(parser, Execution, title="where trials run", choices=choices, defaults=DEFAULTS)
    parser.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="with --resume: go on although a table or Python file has changed since the run was started; it is noted",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Search, record everything in a run folder, and show what was found beside published B0."""
    try:
        _show(_resumed(arguments) if arguments.resume else _searched(arguments), as_json=arguments.json)
    except nas.api.SearchInterrupted as interrupted:
        if interrupted.found is not None:
            _show(interrupted.found, as_json=arguments.json)
        settings = look_at(interrupted.folder).settings or {}
        say(f"mnas: resume with: {resume_command(interrupted.folder, settings)}")
        raise


def _show(found: Found, *, as_json: bool) -> None:
    if as_json:
        print_json(view.data(found))
    else:
        show(*view.text(found))


def _searched(arguments: argparse.Namespace) -> Found:
    values = {name: value for name, value in given(arguments, nas.api.search).items() if name in OPTIONS}
    values["known"] = getattr(arguments, "known", ())
    proxy = given(arguments, ProxyOptions)
    if values.get("evaluator") == "train":
        values["evaluator"] = evaluator_of(arguments.data or "", ProxyOptions(**proxy))
    else:
        refuse(arguments, ("data", *proxy), "{} needs --evaluator train")
    if arguments.accept_changes:
        raise MnasError("--accept-changes: needs --resume RUN; add it")
    return nas.api.search(targets=given_targets(arguments), execution=given(arguments, Execution), **values)


def _resumed(arguments: argparse.Namespace) -> Found:
    """Resume a run with its own settings; the number of trials, the execution and the places of files may change."""
    changeable = ("trials", *KINDS)
    fixed = [name for name in OPTIONS if name not in changeable]
    reason = "{} cannot be combined with --resume, which uses the settings of the run"
    if "known" in arguments:
        raise MnasError(reason.format("--from"))
    refuse(arguments, ("target_macs", "target", *fixed, *(f.name for f in fields(ProxyOptions))), reason)
    return nas.api.resume(
        arguments.resume,
        **{name: vars(arguments)[name] for name in changeable if name in arguments},
        data=arguments.data,
        execution=given(arguments, Execution),
        allow_code=arguments.allow_code,
        accept_changes=arguments.accept_changes,
    )
