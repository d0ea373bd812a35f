"""`mnas export`: a network in another project's format, or for another runtime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from baselines.commands.options import SPEC, add_options, given, refuse, refuse_options
from baselines.comparators import PREFIX
from baselines.exchange.checkpoints import WEIGHTS_OF
from baselines.exchange.formats import FORMATS, export_architecture
from baselines.exchange.precision import PRECISIONS, OnnxOptions
from baselines.exchange.runtimes import RUNTIMES
from baselines.files import write_new_text
from baselines.registry import load
from baselines.training.settings import TrainingOptions
from baselines.views import export as view
from baselines.views.terminal import pointer, print_json, show
from search_spaces import MnasError
from search_spaces.errors import unknown_name


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Write a network in another project's format, or for another runtime; the file is checked against the network."
    )
    parser.add_argument("spec", metavar="SPEC", help=SPEC)
    parser.add_argument("--format", required=True, help=f"{', '.join([*FORMATS, *RUNTIMES])}")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: standard output for JSON, SPEC.onnx, SPEC.pt2)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="with onnx and torch: weights to export (default: those of a training's folder, else fresh ones)",
    )
    add_options(parser, TrainingOptions, ["weights_of"], choices={"weights_of": WEIGHTS_OF})
    parser.add_argument(
        "--keep-classifier", action="store_true", help="load --weights without the classifier, which stays fresh"
    )
    add_options(parser, OnnxOptions, title="with onnx", choices={"precision": PRECISIONS})
    parser.add_argument(
        "--calibrate",
        metavar="DATA",
        default=argparse.SUPPRESS,
        help="images for --precision int8, as for mnas train --data (default: those of the training)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Export a network."""
    if arguments.format in RUNTIMES:
        _export_runtime(arguments)
        return
    if arguments.format not in FORMATS:
        raise unknown_name("format", arguments.format, [*FORMATS, *RUNTIMES])
    if arguments.spec.startswith(PREFIX):
        raise MnasError(f"{arguments.spec}: networks of torchvision have no spec; export a baseline or a spec file")
    spec = load(arguments.spec)
    refuse_options(arguments, OnnxOptions, f"the format {arguments.format} has no networks; use --format onnx")
    refuse(arguments, ["calibrate"], f"the format {arguments.format} has no networks; use --format onnx")
    if arguments.weights or arguments.keep_classifier or "weights_of" in arguments:
        raise MnasError(f"weights: the format {arguments.format} has no weights; use --format onnx or --format torch")
    document = export_architecture(spec.architecture, arguments.format)
    if arguments.out is None:
        print_json(document)
        return
    write_new_text(arguments.out, json.dumps(document, indent=2) + "\n")
    show(pointer("Written:", str(arguments.out)))


def _export_runtime(arguments: argparse.Namespace) -> None:
    from baselines.training.export import export_network

    options = OnnxOptions(**given(arguments, OnnxOptions))
    chosen = given(arguments, export_network)
    show(*view.text(export_network(runtime=arguments.format, file=arguments.out, options=options, **chosen)))
