"""`mnas rediscover`: how close searches come to published B0."""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.commands.options import ALLOW_CODE, add_json, add_options, add_place, given, refuse, refuse_options
from baselines.files import check_new, new_folder
from baselines.notices import say
from baselines.views.terminal import pointer, print_json, show
from nas.executors.base import EXECUTORS, Execution
from nas.record import STUDY_FILE, check_unused
from nas.studies.rediscovery import RediscoverySettings, read_rediscovery, rediscover, resume_command
from nas.views import rediscovery as view

OPTIONS = ("controllers", "seeds", "trials", "evaluator")
DEFAULTS = {"executor": "processes", "workers": "one for each core"}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Search with many seeds under the reward that found EfficientNet-B0, and show with confidence intervals how "
        "soon each controller passes B0 and how close it comes."
    )
    shown = {"controllers": ",".join(RediscoverySettings().controllers)}
    add_options(parser, RediscoverySettings, OPTIONS, defaults=shown)
    add_place(parser, "study")
    parser.add_argument("--html", type=Path, metavar="FILE", help="draw the best reward against evaluations")
    add_options(parser, Execution, title="where searches run", choices={"executor": EXECUTORS}, defaults=DEFAULTS)
    parser.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the rediscovery study."""
    if arguments.html:
        check_new(arguments.html, field="html")
    if arguments.resume:
        reason = "{} cannot be combined with --resume, which uses the options of the study"
        refuse_options(arguments, RediscoverySettings, reason)
        refuse(arguments, ("out",), reason)
        folder: Path = arguments.resume
        settings = read_rediscovery(folder, allow_code=arguments.allow_code)
    else:
        settings = RediscoverySettings(**given(arguments, RediscoverySettings))
        folder = arguments.out or new_folder("rediscover")
        check_unused(folder, STUDY_FILE)
    try:
        found = rediscover(folder, settings, given(arguments, Execution))
    except KeyboardInterrupt:
        say(f"mnas: resume with: {resume_command(folder, settings)}")
        raise
    if arguments.html:
        view.write_study_figure(found, arguments.html)
    if arguments.json:
        print_json(view.study_data(found))
        return
    show(*view.study_view(found))
    show(pointer("Folder:", str(folder)))
    if arguments.html:
        show(pointer("Written:", str(arguments.html)))
