"""`mnas scale`: a spec grown in width, depth and resolution."""

from __future__ import annotations

import argparse
from pathlib import Path

import scaling.api
from baselines.commands.options import SPEC, add_json, add_options, given
from baselines.registry import load, own_file
from baselines.spec import write_spec
from baselines.views import spec as spec_view
from scaling.published import PRESETS
from scaling.views import scaled as view


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = "Grow a spec in width, depth and resolution, and write the result as a spec."
    parser.add_argument("spec", metavar="SPEC", help=SPEC)
    options = ("preset", "phi", "width", "depth", "resolution", "name")
    add_options(parser, scaling.api.scale, options, choices={"preset": PRESETS})
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="PART",
        help="with --phi or --width: part to leave as it is: channels of stem or head, or layers of the first and last "
        "stage (ends); can be given more than once",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: specs/NAME.yaml)")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Scale a spec, write the result, and show it."""
    parent = load(arguments.spec)
    spec = scaling.api.scale(parent, **{**given(arguments, scaling.api.scale), "keep": tuple(arguments.keep)})
    file = arguments.out or own_file(spec.name)
    growth = view.growth_text(parent, spec)
    spec_view.show_written(spec, file, new=write_spec(spec, file), as_json=arguments.json, extra=[growth])
