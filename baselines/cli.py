"""`mnas show` and `mnas baselines`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.comparators import PREFIX, Comparator, load_any
from baselines.console import (
    Commands,
    count,
    labelled,
    millions,
    pointer,
    print_json,
    progress_bar,
    show,
    titled_table,
)
from baselines.counts import COUNTERS
from baselines.files import write_new_text
from baselines.formats import FORMATS, export_architecture, import_architecture
from baselines.latency import RUNTIMES, Protocol, Subject, as_data, measure
from baselines.registry import load, names, own_file
from baselines.report import (
    counts_table,
    describe,
    latency_view,
    layer_table,
    memory_line,
    notes,
    spec_table,
)
from baselines.spec import BaselineSpec, Provenance, write_spec
from search_spaces import FieldError, MnasError, architecture_cost
from search_spaces.errors import unknown_name
from search_spaces.serialization import read_yaml

if TYPE_CHECKING:
    from torch import nn

# What a network can be exported for, beside the formats, and the ending of its file.
NETWORK_FILES = {"onnx": "onnx", "torch": "pt2"}


def register(commands: Commands) -> None:
    """Add this package's commands."""
    text = "Show a network as the paper's Table 1 does, with exact parameters and MACs."
    parser = commands.add_parser("show", help="a spec as a table with its exact cost", description=text)
    parser.add_argument(
        "spec",
        metavar="SPEC",
        help="name of a baseline, path of a spec file, or torchvision:NAME for any of its networks",
    )
    parser.add_argument("--per-layer", action="store_true", help="list every convolution and linear layer too")
    parser.add_argument("--resolution", type=count, help="side of the image in pixels (default: that of SPEC)")
    parser.add_argument("--classes", type=count, help="number of classes (default: that of SPEC)")
    parser.add_argument("--count-with", metavar="TOOL", help=f"count as another tool does: {', '.join(COUNTERS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_show)

    text = (
        "Measure how long networks take, side by side; the last one is the reference. Default: one thread, batch 1, 20 "
        "runs, as the EfficientNet paper."
    )
    parser = commands.add_parser("latency", help="measured time and memory", description=text)
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="specs, or torchvision:NAME (see mnas show)")
    parser.add_argument("--batch", type=count, default=1, help="images a run (default: 1)")
    parser.add_argument("--threads", type=count, default=1, help="of the processor (default: 1)")
    parser.add_argument("--runs", type=count, default=20, help="measured rounds (default: 20)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--runtime", default="eager", help=f"{', '.join(RUNTIMES)} (default: eager)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_latency)

    text = "Write a network in another project's words, or for another runtime (checked against the network first)."
    parser = commands.add_parser("export", help="a spec for timm, torchvision, ONNX …", description=text)
    parser.add_argument("spec", metavar="SPEC", help="name of a baseline, or path of a spec file")
    parser.add_argument("--format", required=True, help=f"{', '.join([*FORMATS, *NETWORK_FILES])}")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: standard output for JSON, SPEC.onnx, SPEC.pt2)"
    )
    parser.add_argument("--weights", type=Path, help="with onnx and torch: weights to export (default: fresh ones)")
    parser.add_argument(
        "--keep-classifier", action="store_true", help="load all of --weights but the classifier, which stays fresh"
    )
    parser.set_defaults(run=run_export)

    text = "Read a network from another project's words (what mnas export writes), as a spec of your own in specs/."
    parser = commands.add_parser("import", help="a spec from timm, torchvision …", description=text)
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON or YAML document")
    parser.add_argument("--format", required=True, help=", ".join(FORMATS))
    parser.add_argument("--name", required=True, help="name of the spec, written to specs/NAME.yaml")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_import)

    text = "List the baselines that come with the package, and those in specs/ of the current directory."
    parser = commands.add_parser("baselines", help="list the baselines", description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run_baselines)


def run_show(arguments: argparse.Namespace) -> None:
    """Show a spec."""
    spec = load_any(arguments.spec)
    if isinstance(spec, Comparator):
        _show_comparator(spec, arguments)
        return
    net = spec.architecture
    spec = replace(
        spec,
        architecture=replace(
            net,
            resolution=arguments.resolution or net.resolution,
            num_classes=arguments.classes or net.num_classes,
        ),
    )
    if arguments.count_with not in (None, *COUNTERS):
        raise unknown_name("counter", arguments.count_with, COUNTERS)
    other = COUNTERS[arguments.count_with](spec.architecture) if arguments.count_with else None
    if arguments.json:
        data = describe(spec, per_layer=arguments.per_layer)
        print_json(data if other is None else {**data, "counted_with": {**asdict(other), "total": other.total}})
        return
    layers = [layer_table(spec)] if arguments.per_layer else []
    counts = [] if other is None else [counts_table(spec.architecture, other)]
    show(*layers, spec_table(spec), memory_line(spec.architecture), *notes(spec), *counts)


def _show_comparator(network: Comparator, arguments: argparse.Namespace) -> None:
    if arguments.classes or arguments.count_with or arguments.per_layer:
        raise MnasError(f"{network.name}: no spec, so --classes, --count-with and --per-layer do not apply")
    if arguments.resolution:
        network = replace(network, resolution=arguments.resolution)
    macs, params = network.counts
    if arguments.json:
        print_json({"name": network.name, "resolution": network.resolution, "macs": macs, "params": params})
        return
    show(
        labelled(network.name, f"at {network.resolution} px: {macs:,} MACs, {params:,} params"),
        "Counted on torchvision's module with torch.utils.flop_counter; it is no spec, so it cannot be scaled.",
    )


def run_latency(arguments: argparse.Namespace) -> None:
    """Measure specs side by side."""
    protocol = Protocol(
        runs=arguments.runs,
        batch=arguments.batch,
        threads=arguments.threads,
        device=arguments.device,
        runtime=arguments.runtime,
    )
    specs = [load_any(name) for name in arguments.specs]
    subjects = [Subject(*_built(spec)) for spec in specs]
    with progress_bar(protocol.warmup + protocol.runs, "rounds") as advance:
        timings = measure(subjects, protocol, advance)
    if arguments.json:
        print_json(as_data(timings, protocol))
        return
    show(*latency_view(subjects, timings, protocol))


def _built(spec: BaselineSpec | Comparator) -> tuple[str, nn.Module, int]:
    if isinstance(spec, Comparator):
        return spec.name, spec.build(), spec.resolution
    from search_spaces.network import build_network

    return spec.name, build_network(spec.architecture), spec.architecture.resolution


def run_baselines(arguments: argparse.Namespace) -> None:
    """List the baselines."""
    specs, problems = [], []
    for name in names():
        try:
            specs.append(load(name))
        except MnasError as error:  # one broken file in specs/ must not hide the others
            problems.append(str(error))
    if arguments.json:
        print_json({"baselines": [describe(spec) for spec in specs], "problems": problems})
        return
    headers = [("name", "left"), ("px", "right"), ("MACs", "right"), ("params", "right"), ("source", "left")]
    table = titled_table("Baselines", headers)
    for spec in specs:
        cost = architecture_cost(spec.architecture)
        counts = (str(spec.architecture.resolution), millions(cost.macs), millions(cost.params))
        table.add_row(spec.name, *counts, spec.provenance.source)
    show(table, *(labelled("Unusable:", problem) for problem in problems))


def run_export(arguments: argparse.Namespace) -> None:
    """Export a spec."""
    if arguments.spec.startswith(PREFIX):
        raise MnasError(f"{arguments.spec}: a network of torchvision is no spec; export a baseline or a spec file")
    spec = load(arguments.spec)
    if arguments.format in NETWORK_FILES:
        _export_runtime(spec, arguments)
        return
    if arguments.format not in FORMATS:
        raise unknown_name("format", arguments.format, [*FORMATS, *NETWORK_FILES])
    if arguments.weights or arguments.keep_classifier:
        raise MnasError("weights: a format of words holds none; give --weights with --format onnx or torch")
    document = export_architecture(spec.architecture, arguments.format)
    if arguments.out is None:
        print_json(document)
        return
    write_new_text(arguments.out, json.dumps(document, indent=2) + "\n")
    show(pointer("Written:", str(arguments.out)))


def _export_runtime(spec: BaselineSpec, arguments: argparse.Namespace) -> None:
    import torch

    from baselines.export import export_onnx, export_program
    from baselines.weights import load_weights
    from search_spaces.network import build_network

    torch.manual_seed(0)  # of fresh weights
    network = build_network(spec.architecture)
    if arguments.weights:
        load_weights(network, arguments.weights, keep_classifier=arguments.keep_classifier)
    file = arguments.out or Path(f"{spec.name}.{NETWORK_FILES[arguments.format]}")
    write = export_onnx if arguments.format == "onnx" else export_program
    difference = write(network, spec.architecture.resolution, file)
    weights = (
        f"the weights in {arguments.weights}" if arguments.weights else "fresh weights (give --weights for others)"
    )
    show(
        labelled("Exported:", f"{spec.name} with {weights}; logits differ by at most {difference:.1e} of the largest"),
        pointer("Written:", str(file)),
    )


def run_import(arguments: argparse.Namespace) -> None:
    """Import a spec."""
    document = read_yaml(arguments.file)
    try:
        architecture = import_architecture(document, arguments.format)
    except FieldError as error:
        raise MnasError(f"{arguments.file}: {error}") from None
    source = f"mnas import {arguments.file.name} (format {arguments.format})"
    spec = BaselineSpec(arguments.name, architecture, Provenance(source))
    file = own_file(spec.name)
    written = write_spec(spec, file)
    if arguments.json:
        print_json({**describe(spec), "file": str(file)})
        return
    show(spec_table(spec), *notes(spec), pointer("Written:" if written else "Already there:", str(file)))
