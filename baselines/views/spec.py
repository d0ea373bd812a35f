"""A spec as data and as text: a table like the paper's Table 1, totals, memory, and provenance."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from baselines.text import counted
from baselines.views.terminal import Table, pointer, print_json, show
from search_spaces import Architecture, ConvLayer, MBConv, Stage, architecture_cost, layer_costs, part_costs
from search_spaces.architecture import RGB, strided
from search_spaces.memory import layer_memory, network_memory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from baselines.counts import OtherCount
    from baselines.spec import BaselineSpec, Figure, SearchRecord


PART_COLUMNS = [
    ("part", "left"),
    ("operator", "left"),
    ("px in", "right"),
    ("ch", "right"),
    ("layers", "right"),
    ("stride", "right"),
    ("params", "right"),
    ("MACs", "right"),
]


def data(spec: BaselineSpec, *, per_layer: bool = False, counted_with: OtherCount | None = None) -> dict[str, Any]:
    """A spec and its costs as plain data; counts are exact, at the spec's own resolution."""
    cost = architecture_cost(spec.architecture)
    parts = part_costs(spec.architecture)
    found = {
        "name": spec.name,
        "digest": spec.digest,
        "resolution": spec.architecture.resolution,
        "macs": cost.macs,
        "params": cost.params,
        "activations": cost.activations,
        "memory": asdict(network_memory(spec.architecture)),
        "blocks": spec.architecture.num_blocks,
        "parts": [{"name": name, "macs": part.macs, "params": part.params} for name, part in parts],
        "spec": spec.as_dict(),
    }
    if per_layer:
        found["layers"] = [
            {
                "name": layer.name,
                "out_channels": layer.out_channels,
                "resolution": layer.resolution,
                "macs": layer.cost.macs,
                "params": layer.cost.params,
                "activations": layer.cost.activations,
                "memory": {"inference": memory.live, "training": memory.kept},
            }
            for layer, memory in zip(layer_costs(spec.architecture), layer_memory(spec.architecture), strict=True)
        ]
    if counted_with is not None:
        found["counted_with"] = {**asdict(counted_with), "total": counted_with.total}
    return found


def text(
    spec: BaselineSpec, *, per_layer: bool = False, counted_with: OtherCount | None = None
) -> list[RenderableType]:
    """A table of the network with its totals, memory, provenance and figures."""
    layers = [layer_table(spec)] if per_layer else []
    counts = [] if counted_with is None else [counts_table(spec.architecture, counted_with)]
    return [*layers, spec_table(spec), memory_line(spec.architecture), *notes(spec), *counts]


def show_written(
    spec: BaselineSpec,
    file: Path,
    *,
    new: bool,
    as_json: bool,
    extra: Sequence[RenderableType] = (),
    extra_data: Mapping[str, Any] | None = None,
) -> None:
    """Show a spec and its file.

    Args:
        spec: spec.
        file: its file.
        new: whether the file was written now, or already existed.
        as_json: whether to print JSON.
        extra: more to show, after the notes.
        extra_data: the same as plain data.
    """
    if as_json:
        print_json({**data(spec), "file": str(file), **(extra_data or {})})
        return
    show(spec_table(spec), *notes(spec), *extra, pointer("Written:" if new else "Already written:", str(file)))


def operator(stage: Stage) -> str:
    """A stage's block in the usual notation: ``MBConv6 k5x5 SE 0.25``, ``Conv k3x3 no skip``."""
    block = stage.block
    kind = f"MBConv{block.expand_ratio}" if isinstance(block, MBConv) else "Conv"
    squeeze = f" SE {block.se_ratio:g}" if block.se_ratio else ""
    skip = {"identity": "", "pool": " pool skip", "none": " no skip"}[block.skip]
    return f"{kind} k{block.kernel_size}x{block.kernel_size}{squeeze}{skip}"


def stage_text(stage: Stage) -> str:
    """A stage in one cell: ``MBConv6 k5x5 SE 0.25, 112 ch, ×3, stride 2``."""
    return f"{operator(stage)}, {stage.out_channels} ch, ×{stage.num_layers}, stride {stage.stride}"


def convolution_text(layer: ConvLayer) -> str:
    """Stem or head in one cell: ``Conv k3x3, 32 ch, stride 2``."""
    return f"{_convolution_operator(layer)}, {layer.out_channels} ch, stride {layer.stride}"


def part_rows(spec: BaselineSpec) -> list[list[str]]:
    """One row for the stem, each stage, the head and the classifier, in the columns of `PART_COLUMNS`."""
    net = spec.architecture
    costs = dict(part_costs(net))
    stage_inputs = [block.in_resolution for block in net.blocks if block.layer == 0]
    last = net.blocks[-1].out_resolution
    rows: list[tuple[str, list[object]]] = [("stem", _convolution_cells(net.stem, net.resolution))]
    for index, (stage, resolution) in enumerate(zip(net.stages, stage_inputs, strict=True)):
        cells = [operator(stage), resolution, stage.out_channels, stage.num_layers, stage.stride]
        rows.append((f"stages.{index}", cells))
    rows.append(("head", _convolution_cells(net.head, last)))
    rows.append(("classifier", ["Pool, Linear", strided(last, net.head.stride), net.num_classes, 1, ""]))
    return [[part, *map(str, cells), f"{costs[part].params:,}", f"{costs[part].macs:,}"] for part, cells in rows]


def _convolution_cells(layer: ConvLayer, resolution: int) -> list[object]:
    return [_convolution_operator(layer), resolution, layer.out_channels, 1, layer.stride]


def _convolution_operator(layer: ConvLayer) -> str:
    return f"Conv k{layer.kernel_size}x{layer.kernel_size}"


def spec_table(spec: BaselineSpec) -> Table:
    """The table of a spec; the last row holds the totals."""
    cost = architecture_cost(spec.architecture)
    table = Table(f"{spec.name} at {spec.architecture.resolution} px", PART_COLUMNS)
    for row in part_rows(spec):
        table.add_row(*row)
    table.add_section()
    table.add_row("total", "", "", "", "", "", f"{cost.params:,}", f"{cost.macs:,}", style="bold")
    return table


def layer_table(spec: BaselineSpec) -> Table:
    """Every convolution and linear layer of a spec."""
    names = ("ch", "px", "params", "MACs", "live", "kept")
    table = Table("Layers", [("layer", "left"), *((name, "right") for name in names)])
    for layer, memory in zip(layer_costs(spec.architecture), layer_memory(spec.architecture), strict=True):
        counts = (layer.cost.params, layer.cost.macs, memory.live, memory.kept)
        cells = (str(layer.out_channels), str(layer.resolution), *(f"{count:,}" for count in counts))
        table.add_row(layer.name, *cells)
    return table


def memory_line(architecture: Architecture) -> str:
    """Activation memory of a network as a line of text."""
    memory = network_memory(architecture)
    parts = (("inference", "at the peak of inference"), ("training", "kept for the backward pass"))
    texts = [f"{4 * getattr(memory, name) / 2**20:,.1f} MiB {text}" for name, text in parts]
    return f"Memory: activations of one image in float32: {', '.join(texts)}"


def counts_table(architecture: Architecture, other: OtherCount) -> Table:
    """The count of another tool beside our MACs."""
    macs = architecture_cost(architecture).macs
    table = Table(f"Counted with {other.tool}", [("counted", "left"), ("count", "right")])
    for name, count in sorted(other.items.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}")
    table.add_section()
    table.add_row("its total", f"{other.total:,}", style="bold")
    table.add_row("our MACs: convolutions and linear layers", f"{macs:,}", style="bold")
    table.add_row("its total over our MACs", f"{other.total / macs:.4f}")
    table.add_row("its unit", other.unit)
    return table


def notes(spec: BaselineSpec) -> list[str]:
    """Lines with the provenance of a spec, and its figures with their sources."""
    lines = [f"Source: {spec.provenance.source}", f"Digest: {spec.digest}"]
    if spec.architecture.in_channels != RGB:
        lines.insert(0, f"Input:  {counted(spec.architecture.in_channels, 'channel')} (not RGB, which has 3)")
    search, scaling = spec.provenance.search, spec.provenance.scaling
    if search:
        lines.append(
            f"Found:  trial {search.trial} of {search.trials}, controller {search.controller}, seed {search.seed}, "
            f"{_objective_text(search)}, evaluator {search.evaluator}"
        )
    if scaling:
        lines.append(
            f"Scaled: from {scaling.parent} ({scaling.parent_digest}) by {scaling.rule}: width {scaling.width:.4g}, "
            f"depth {scaling.depth:.4g}, {scaling.resolution} px"
        )
    return lines + [f"{figure.kind.capitalize()}: {_figure_text(figure)} [{figure.source}]" for figure in spec.figures]


def _objective_text(search: SearchRecord) -> str:
    if not search.targets:
        return "the most accurate, whatever it costs"
    return f"{search.objective} objective at {', '.join(target.text() for target in search.targets)}"


def _figure_text(figure: Figure) -> str:
    if figure.metric.startswith("top"):
        spread = "" if figure.std is None else f" ± {100 * figure.std:.2f}"
        return f"{figure.metric} {100 * figure.value:.4g}{spread} %"
    return f"{figure.metric} {figure.value:,.0f}"
