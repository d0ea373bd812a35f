"""`mnas scale`: a spec scaled in width, depth and resolution, up or down."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import scaling.api
from baselines.commands.options import SPEC, add_json, add_options, documented, given, refuse, show_found
from baselines.files import check_new
from baselines.registry import own_file
from baselines.spec import write_spec
from baselines.subjects import spec_of
from baselines.views import spec as spec_view
from scaling.published import PRESETS
from scaling.rules import RULES, rule_of
from scaling.views import scaled as view
from search_spaces.architecture import ACTIVATIONS


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = "Scale a spec in width, depth and resolution, up or down, and write the result as a spec."
    parser.add_argument("spec", metavar="SPEC", help=SPEC)
    names = documented(scaling.api.scale).keys() - {"network", "keep"}
    choices: dict[str, Iterable[str]] = {"preset": PRESETS, "rule": RULES, "activation": ACTIVATIONS}
    add_options(parser, scaling.api.scale, names, choices=choices, once={"target"})
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="PART",
        help="not with --preset: part to leave as it is: channels of stem or head, of a head that would become smaller "
        "(large-head), or layers of the first and last stage (ends); can be given more than once",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: specs/NAME.yaml)")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="explain the network instead of writing it: the rule beside released coefficients, rounding, odd feature "
        "maps, and what other rules recommend",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="with --explain: write a page with a figure")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Scale a spec, write the result, and show it; or explain it."""
    if arguments.explain:
        _explain(arguments)
        return
    refuse(arguments, ("html",), "{} needs --explain")
    parent = spec_of(arguments.spec)
    options = given(arguments, scaling.api.scale) | {"keep": tuple(arguments.keep)}
    way = scaling.api.way_of([name for name, value in options.items() if value != ()])
    why: view.Why = None
    if way == "target":
        # Solved apart, for what the spec does not keep: how far the network departs from the rule.
        solving = {name: options[name] for name in documented(scaling.api.solve) if name in options}
        why = scaling.api.solve(parent, **solving)
        options = {name: options[name] for name in ("activation", "name") if name in options} | {"target": why}
    elif way == "preset":
        why = options["preset"]
    elif way in ("phi", "factor"):
        rule = rule_of(**{name: options[name] for name in documented(rule_of) if name in options})
        why = rule, rule.growth_for(phi=options.get("phi"), factor=options.get("factor"))
    spec = scaling.api.scale(parent, **options)
    file = arguments.out or own_file(spec.name)
    new = write_spec(spec, file)
    spec_view.show_written(
        spec,
        file,
        new=new,
        as_json=arguments.json,
        extra=[view.growth_text(parent, spec), *view.least_lines(parent, spec), *view.why_text(parent, why)],
        extra_data=view.data(parent, spec, why),
    )


def _explain(arguments: argparse.Namespace) -> None:
    """Explain a network that is not written."""
    from scaling.explanation import explain
    from scaling.views import explanation

    refuse(arguments, ("out", "name"), "{} cannot be combined with --explain, which writes no spec")
    if arguments.html:
        check_new(arguments.html, field="html")
    found = explain(arguments.spec, **given(arguments, explain) | {"keep": tuple(arguments.keep)})
    show_found(arguments, explanation, found)
