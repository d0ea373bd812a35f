"""`mnas export`: a network in another project's format, or for another runtime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from baselines.commands.options import SPEC, add_options, given
from baselines.comparators import PREFIX
from baselines.exchange.checkpoints import WEIGHTS_OF
from baselines.exchange.formats import FORMATS, export_architecture
from baselines.files import write_new_text
from baselines.registry import load
from baselines.spec import BaselineSpec
from baselines.training.settings import TrainingOptions
from baselines.views.terminal import labelled, pointer, print_json, show
from search_spaces import MnasError
from search_spaces.errors import unknown_name

# Runtimes to export for, and the ending of the file.
NETWORK_FILES = {"onnx": "onnx", "torch": "pt2"}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Write a network in another project's format, or for another runtime; the file is checked against the network."
    )
    parser.add_argument("spec", metavar="SPEC", help=SPEC)
    parser.add_argument("--format", required=True, help=f"{', '.join([*FORMATS, *NETWORK_FILES])}")
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


def run(arguments: argparse.Namespace) -> None:
    """Export a network."""
    if arguments.spec.startswith(PREFIX):
        raise MnasError(f"{arguments.spec}: networks of torchvision have no spec; export a baseline or a spec file")
    spec = load(arguments.spec)
    if arguments.format in NETWORK_FILES:
        _export_runtime(spec, arguments)
        return
    if arguments.format not in FORMATS:
        raise unknown_name("format", arguments.format, [*FORMATS, *NETWORK_FILES])
    if arguments.weights or arguments.keep_classifier or "weights_of" in arguments:
        raise MnasError(f"weights: the format {arguments.format} has no weights; use --format onnx or --format torch")
    document = export_architecture(spec.architecture, arguments.format)
    if arguments.out is None:
        print_json(document)
        return
    write_new_text(arguments.out, json.dumps(document, indent=2) + "\n")
    show(pointer("Written:", str(arguments.out)))


def _export_runtime(spec: BaselineSpec, arguments: argparse.Namespace) -> None:
    import torch

    from baselines.exchange.runtimes import export_onnx, export_program
    from baselines.exchange.weights import load_weights
    from baselines.training.folder import WEIGHTS
    from search_spaces.network import build_network

    torch.manual_seed(0)  # for fresh weights
    network = build_network(spec.architecture)
    trained = Path(arguments.spec) / WEIGHTS
    weights = arguments.weights or (trained if trained.is_file() else None)
    if weights:
        load_weights(
            network,
            weights,
            keep_classifier=arguments.keep_classifier,
            weights_of=given(arguments, TrainingOptions).get("weights_of"),
        )
    elif "weights_of" in arguments:
        raise MnasError("weights_of: there are no weights to choose from; use --weights FILE")
    file = arguments.out or Path(f"{spec.name}.{NETWORK_FILES[arguments.format]}")
    write = export_onnx if arguments.format == "onnx" else export_program
    difference = write(network, spec.architecture.resolution, file)
    which = f"the weights in {weights}" if weights else "fresh weights (use --weights for others)"
    exactly = f"within {difference:.1e} of the largest" if difference else "exactly"
    show(
        labelled("Exported:", f"{spec.name} with {which}; the file reproduces the network's logits {exactly}"),
        pointer("Written:", str(file)),
    )
