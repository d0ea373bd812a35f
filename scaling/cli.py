"""`mnas scale`."""

from __future__ import annotations

import argparse
from dataclasses import replace

from baselines.console import Commands, count, number, pointer, print_json, show
from baselines.registry import load, own_file
from baselines.report import describe, notes, spec_table
from baselines.spec import BaselineSpec, Provenance, ScalingRecord, is_name, write_spec
from scaling.compound import Coefficients, compound_scale
from scaling.published import PRESETS, preset
from scaling.rule import coefficients
from search_spaces import MnasError, architecture_cost
from search_spaces.errors import shorten


def register(commands: Commands) -> None:
    """Add this package's commands."""
    text = "Grow a spec in width, depth and resolution, and write the result as a spec of its own."
    parser = commands.add_parser("scale", help="grow a spec", description=text)
    parser.add_argument("spec", metavar="SPEC", help="name of a baseline, or path of a spec file")
    parser.add_argument("--preset", help=f"released coefficients: {', '.join(PRESETS)}")
    parser.add_argument("--phi", type=number, help="the paper's rule 1.2^phi, 1.1^phi, 1.15^phi")
    parser.add_argument("--width", type=number, help="factor on channels (default 1)")
    parser.add_argument("--depth", type=number, help="factor on layers (default 1)")
    parser.add_argument("--resolution", type=count, help="side of the input image in pixels (default: that of SPEC)")
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="PART",
        help="with --phi or --width: leave stem or head channels, or the layers of the first and last stage (ends), as "
        "they are; may be given more than once",
    )
    parser.add_argument("--name", help="name of the new spec, written to specs/NAME.yaml (default: SPEC_RULE)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_scale)


def run_scale(arguments: argparse.Namespace) -> None:
    """Scale a spec, write the result, and show it."""
    parent = load(arguments.spec)
    rule, chosen = _coefficients(arguments, parent)
    name = arguments.name or f"{parent.name}_{rule.replace('preset ', '').replace(' ', '')}"
    if not is_name(name):
        raise MnasError(f"name: {shorten(name)} cannot be the name of a spec; give another one with --name")
    spec = scale_spec(parent, chosen, rule, name)
    file = own_file(name)
    written = write_spec(spec, file)
    if arguments.json:
        print_json({**describe(spec), "file": str(file)})
        return
    before, after = architecture_cost(parent.architecture), architecture_cost(spec.architecture)
    growth = f"MACs {before.macs:,} → {after.macs:,} (×{after.macs / before.macs:.2f}), "
    growth += f"params {before.params:,} → {after.params:,} (×{after.params / before.params:.2f})"
    show(spec_table(spec), *notes(spec), f"Growth: {growth}")
    show(pointer("Written:" if written else "Already there:", str(file)))


def scale_spec(parent: BaselineSpec, chosen: Coefficients, rule: str, name: str) -> BaselineSpec:
    """The scaled spec, with its parent in its provenance; figures of the parent do not carry over."""
    record = ScalingRecord(parent.name, parent.digest, rule, chosen.width, chosen.depth, chosen.resolution)
    provenance = Provenance(source=f"mnas scale {parent.name}", scaling=record)
    return BaselineSpec(name, compound_scale(parent.architecture, chosen), provenance)


def _coefficients(arguments: argparse.Namespace, parent: BaselineSpec) -> tuple[str, Coefficients]:
    own = (arguments.width, arguments.depth, arguments.resolution)
    given = [arguments.preset is not None, arguments.phi is not None, own != (None, None, None)]
    if sum(given) != 1:
        raise MnasError("scale: give one of --preset, --phi, or --width, --depth and --resolution")
    base = parent.architecture.resolution
    keep = tuple(arguments.keep)
    if arguments.preset is not None:
        if keep:
            raise MnasError("keep: a preset says itself what it keeps; give --keep with --phi or --width")
        return f"preset {arguments.preset.lower()}", preset(arguments.preset)
    if arguments.phi is not None:
        rule = coefficients(arguments.phi, parent.architecture)
        return _rule(f"phi {arguments.phi:g}", keep), replace(rule, keep=keep)
    width, depth, resolution = arguments.width, arguments.depth, arguments.resolution
    chosen = Coefficients(
        width=1.0 if width is None else width,
        depth=1.0 if depth is None else depth,
        resolution=base if resolution is None else resolution,
        keep=keep,
    )
    return _rule(f"w{chosen.width:g} d{chosen.depth:g} r{chosen.resolution}", keep), chosen


def _rule(rule: str, keep: tuple[str, ...]) -> str:
    return " ".join([rule, *(f"keep-{part}" for part in keep)])
