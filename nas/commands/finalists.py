"""`mnas finalists`: the best networks of a run, compared once more with their noise."""

from __future__ import annotations

import argparse

from baselines.commands.options import add_json, add_options, add_run, given
from baselines.notices import say
from baselines.views.terminal import print_json, show
from nas.executors.base import EXECUTORS, Execution
from nas.studies.finalists import finalists_of
from nas.views import finalists as view

OPTIONS = ("top", "repeats")
AS_RUN = "that of the run"
DEFAULTS = dict.fromkeys(("executor", "workers", "cores", "gpus", "retries"), AS_RUN)


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Compare the best networks of a run once more: measured again with other seeds if the evaluator is noisy, "
        "ranked by accuracy minus one σ, with ties called ties."
    )
    add_run(parser)
    add_options(parser, finalists_of, OPTIONS)
    add_options(parser, Execution, title="where measurements run", choices={"executor": EXECUTORS}, defaults=DEFAULTS)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare the best trials of a run once more."""
    execution = given(arguments, Execution)
    try:
        found = finalists_of(**given(arguments, finalists_of), execution=execution)
    except KeyboardInterrupt:
        say("mnas: the measurements so far are kept; resume with the same command")
        raise
    if arguments.json:
        print_json(view.data(found))
    else:
        show(*view.text(found, allow_code=arguments.allow_code))
