"""Figure 1 of the EfficientNet paper with the user's networks added: published accuracy against size.

A network with a published accuracy is a mark at that accuracy. For the others only the size can be shown, since their
accuracy here is that of a shortened schedule: they are marks on a strip below the axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baselines.comparators import PUBLISHED_POINTS, PUBLISHED_SOURCE, Mark, PublishedPoint
from baselines.registry import load
from baselines.views.labels import SIDES, Box, Label, Point, label_box, mark_box, place_labels
from baselines.views.page import (
    NARROW_BELOW,
    NARROWEST,
    WIDEST,
    Column,
    Key,
    Plot,
    Table,
    axis_title,
    log_axis,
    plot_lines,
)
from search_spaces.errors import one_line

FAMILY = tuple(f"efficientnet_b{number}" for number in range(8))
# Rows of the table (`PUBLISHED_POINTS`) that are networks of torchvision, at the same size of image.
TABLE_ROWS = {
    "torchvision:resnet50": "ResNet-50",
    "torchvision:resnet152": "ResNet-152",
    "torchvision:densenet169": "DenseNet-169",
    "torchvision:inception_v3": "Inception-v3",
}
SIZE_ONLY = "size only; its accuracy is from a shortened schedule or unknown, so it is not comparable"
TRIANGLES = (
    "Triangles below the axes show size only: any accuracy known here for those networks is from a shortened schedule, "
    "and cannot be compared with that of a full training."
)
LABEL_SIZE = 12
# Pixels: margins above and below, a row of the strip, and between the strip and the axes.
_TOP, _BOTTOM, _LANE, _GAP = 10, 46, 22, 10


@dataclass(frozen=True)
class _Axis:
    """One of the two sizes: name of the metric, unit, title for readers, and suffix of the unit."""

    metric: str
    unit: float
    title: str
    suffix: str
    low: float
    high: float


AXES = (
    _Axis("params", 1e6, "parameters in millions", "M", 3.5, 700),
    _Axis("macs", 1e9, "multiply-adds in billions", "G", 0.3, 60),
)


@dataclass(frozen=True)
class _Screen:
    """What differs between a wide and a narrow screen.

    Attributes:
        widths: widths of the axes in pixels: the narrowest, one between, and the widest.
        height: height of the axes, without the strip.
    """

    left: int
    right: int
    widths: tuple[float, ...]
    height: int


def _screen(left: int, right: int, low: float, high: float, height: int) -> _Screen:
    inside = (low - left - right, (low + high) / 2 - left - right, high - left - right)
    return _Screen(left, right, inside, height)


WIDE = _screen(58, 16, NARROW_BELOW, WIDEST, 400)
NARROW = _screen(46, 10, NARROWEST, NARROW_BELOW, 330)


def published_row(name: str) -> PublishedPoint | None:
    """The row of the paper's table for a comparator, such as ``torchvision:resnet50``; None if it has none."""
    row = TABLE_ROWS.get(name)
    return next((point for point in PUBLISHED_POINTS if point.name == row), None)


def published_figure(marks: Sequence[Mark]) -> list[Plot]:
    """Two figures, against parameters and against multiply-adds; with ``marks``, the networks that are compared."""
    return [_plot(axis, marks) for axis in AXES]


@dataclass(frozen=True)
class _Drawn:
    """A mark on the axes."""

    name: str
    kind: str
    size: float
    top1: float | None
    label: str

    def lines(self, axis: _Axis) -> list[str]:
        accuracy = SIZE_ONLY if self.top1 is None else f"{100 * self.top1:.1f} % top-1 (published)"
        return [self.name, accuracy, f"{self.size / axis.unit:.3g}{axis.suffix} {axis.metric.replace('macs', 'MACs')}"]


def _networks(axis: _Axis, marks: Sequence[Mark]) -> list[_Drawn]:
    """All networks of the figure, the most important first: compared ones, B0 to B7, and the paper's others."""
    compared = [
        _Drawn(mark.name, "compared", getattr(mark, axis.metric), mark.top1, one_line(mark.name, 28)) for mark in marks
    ]
    named = {mark.name for mark in marks}
    family = []
    for name in FAMILY:
        figures = {figure.metric: figure.value for figure in load(name).figures}
        short = name.removeprefix("efficientnet_").upper()
        label = "" if name in named else short
        family.append(_Drawn(f"EfficientNet-{short}", "EfficientNet", figures[axis.metric], figures["top1"], label))
    others = []
    for point in PUBLISHED_POINTS:
        size = getattr(point, axis.metric)
        is_named = any(row == point.name and name in named for name, row in TABLE_ROWS.items())
        if size is not None:
            others.append(_Drawn(point.name, "other", size, point.top1, "" if is_named else point.name))
    # Readers look for the ends of the family first; then for the most accurate networks.
    ends = [family[0], family[-1], *family[1:-1]]
    return [*compared, *ends, *sorted(others, key=lambda other: -(other.top1 or 0))]


def _plot(axis: _Axis, marks: Sequence[Mark]) -> Plot:
    networks = _networks(axis, marks)
    sizes = [network.size for network in networks]
    low = min(axis.low * axis.unit, *(0.8 * size for size in sizes))
    high = max(axis.high * axis.unit, *(1.25 * size for size in sizes))
    shown = [network for network in networks if network.top1 is not None]
    bottom = min(75.0, *(math.floor(100 * (network.top1 or 1)) - 1.0 for network in shown))
    scale = _Scale(low, high, bottom, 85.5)
    strip = [network for network in networks if network.top1 is None]
    below = [Point(scale.across(network.size), 0.0, network.label, 6.0) for network in strip]
    lanes = strip_lanes(below)
    traces = _traces(axis, shown, strip, lanes)
    keys = [Key("EfficientNet B0 to B7", "reference", "●"), Key("other published networks", "other", "●")]
    if any(network.kind == "compared" for network in shown):
        keys.append(Key("compared, at its published accuracy", "find", "◆"))
    if strip:
        keys.append(Key("compared, size only", "find", "▲"))
    return Plot(
        caption=f"Published ImageNet top-1 against {axis.title}",
        summary=_summary(axis, shown, strip),
        table=_table(axis, networks),
        traces=traces,
        layout=_layout(axis, scale, shown, WIDE, _Strip(strip, below, lanes)),
        narrow=_layout(axis, scale, shown, NARROW, _Strip(strip, below, lanes)),
        keys=tuple(keys),
    )


@dataclass(frozen=True)
class _Scale:
    """Ends of both axes: sizes, and percent of top-1."""

    low: float
    high: float
    bottom: float
    top: float

    def across(self, size: float) -> float:
        """A size as a share of the axis, which is logarithmic."""
        return math.log(size / self.low) / math.log(self.high / self.low)

    def down(self, top1: float, height: float) -> float:
        """Pixels from the top of the axes to an accuracy."""
        return height * (self.top - 100 * top1) / (self.top - self.bottom)


def placed(
    scale: _Scale, networks: Sequence[_Drawn], screen: _Screen
) -> tuple[list[Point], list[Label], list[tuple[float, float]]]:
    """Marks, places of their labels, and the line through B0 to B7."""
    points = [
        Point(
            scale.across(network.size),
            scale.down(network.top1 or 0, screen.height),
            network.label,
            7.0 if network.kind == "compared" else 4.5,
        )
        for network in networks
    ]
    family = sorted(
        (point.x, point.y) for point, network in zip(points, networks, strict=True) if network.kind == "EfficientNet"
    )
    return points, place_labels(points, screen.widths, screen.height, LABEL_SIZE, family), family


def strip_lanes(points: Sequence[Point]) -> list[tuple[int, Label]]:
    """For each mark of the strip the lane (from 0) and the side of its label, so that none overlap on any screen.

    ``y`` of the points is ignored.
    """
    widths = sorted({*WIDE.widths, *NARROW.widths})
    lanes: list[list[list[Box]]] = []
    result = []
    for index, point in enumerate(points):
        fits = [side for side in SIDES[:2] if all(_is_inside(label_box(point, side, w, LABEL_SIZE), w) for w in widths)]
        side = fits[0] if fits else SIDES[0 if point.x < 0.5 else 1]
        own = [[label_box(point, side, width, LABEL_SIZE), mark_box(point, width)] for width in widths]
        lane = next((number for number, taken in enumerate(lanes) if not _meet(own, taken)), len(lanes))
        if lane == len(lanes):
            lanes.append([[] for _ in widths])
        lanes[lane] = [[*taken, *boxes] for taken, boxes in zip(lanes[lane], own, strict=True)]
        result.append((lane, Label(index, side)))
    return result


def _is_inside(box: Box, width: float) -> bool:
    return box.left >= 0 and box.right <= width


def _meet(some: Sequence[Sequence[Box]], others: Sequence[Sequence[Box]]) -> bool:
    """Whether any two overlap, at any of the widths."""
    return any(box.overlaps(other) for own, taken in zip(some, others, strict=True) for box in own for other in taken)


@dataclass(frozen=True)
class _Strip:
    """The strip below the axes: networks, their marks, and lane and label of each."""

    networks: Sequence[_Drawn]
    points: Sequence[Point]
    lanes: Sequence[tuple[int, Label]]

    @property
    def rows(self) -> int:
        """Number of lanes, and a row of words above them; 0 if the strip is empty."""
        return max((lane + 2 for lane, _ in self.lanes), default=0)


def _layout(axis: _Axis, scale: _Scale, shown: Sequence[_Drawn], screen: _Screen, strip: _Strip) -> dict[str, Any]:
    points, labels, _ = placed(scale, shown, screen)
    inside = screen.height + (strip.rows * _LANE + _GAP if strip.rows else 0)
    annotations = []
    for label in labels:
        network = shown[label.point]
        x, y = math.log10(network.size / axis.unit), 100 * (network.top1 or 0)
        font = {"size": LABEL_SIZE, "color": _label_colour(network)}
        annotations.append(label.annotation(points[label.point], x, y, LABEL_SIZE, font=font))
    layout: dict[str, Any] = {
        "height": _TOP + inside + _BOTTOM,
        "margin": {"l": screen.left, "r": screen.right, "t": _TOP, "b": _BOTTOM},
        "xaxis": {
            **log_axis(scale.low / axis.unit, scale.high / axis.unit, axis.title),
            "anchor": "y2" if strip.rows else "y",
        },
        "yaxis": {
            "domain": [1 - screen.height / inside, 1],
            "range": [scale.bottom, scale.top],
            "dtick": 2 if scale.top - scale.bottom < 16 else 5,
            "title": axis_title("published top-1, %"),
        },
        "annotations": annotations,
    }
    return layout if not strip.rows else {**layout, **_strip_layout(axis, strip, inside, annotations)}


def _strip_layout(axis: _Axis, strip: _Strip, inside: float, annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    share = strip.rows * _LANE / inside
    words = {
        "text": "size only, accuracy not comparable",
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "xshift": 6,
        "yref": "y2",
        "y": 0.5,
        "yanchor": "middle",
        "showarrow": False,
        "font": {"size": LABEL_SIZE, "color": "var(--muted)"},
    }
    labels = [
        label.annotation(
            strip.points[label.point],
            math.log10(strip.networks[label.point].size / axis.unit),
            lane + 1.5,
            LABEL_SIZE,
            yref="y2",
            font={"size": LABEL_SIZE, "color": "var(--find)"},
        )
        for lane, label in strip.lanes
    ]
    ground = {
        "type": "rect",
        "xref": "paper",
        "yref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": 0,
        "y1": share,
        "fillcolor": "var(--surface)",
        "line": {"width": 0},
        "layer": "below",
    }
    bare = {"domain": [0, share], "range": [strip.rows, 0], "showticklabels": False, "ticks": "", "showgrid": False}
    return {"yaxis2": bare, "shapes": [ground], "annotations": [*annotations, words, *labels]}


def _label_colour(network: _Drawn) -> str:
    return {"compared": "var(--find)", "EfficientNet": "var(--reference)"}.get(network.kind, "var(--muted)")


def _traces(
    axis: _Axis, shown: Sequence[_Drawn], strip: Sequence[_Drawn], lanes: Sequence[tuple[int, Label]]
) -> list[dict[str, Any]]:
    def trace(networks: Sequence[_Drawn], **style: Any) -> dict[str, Any]:
        return {
            "type": "scatter",
            "x": [network.size / axis.unit for network in networks],
            "y": [100 * (network.top1 or 0) for network in networks],
            "hovertext": [plot_lines(network.lines(axis)) for network in networks],
            "hoverinfo": "text",
            "cliponaxis": False,
            **style,
        }

    def kind(name: str) -> list[_Drawn]:
        return sorted((network for network in shown if network.kind == name), key=lambda network: network.size)

    edge = {"width": 1.5, "color": "var(--back)"}
    diamond = {"color": "var(--find)", "size": 13, "symbol": "diamond", "line": edge}
    traces = [
        trace(kind("other"), mode="markers", marker={"color": "var(--other)", "size": 8}),
        trace(
            kind("EfficientNet"),
            mode="lines+markers",
            line={"color": "var(--reference)", "width": 2},
            marker={"size": 9},
        ),
        trace(kind("compared"), mode="markers", marker=diamond),
    ]
    if strip:
        triangle = {"color": "var(--find)", "size": 11, "symbol": "triangle-up"}
        heights = [lane + 1.5 for lane, _ in lanes]
        traces.append({**trace(strip, mode="markers", marker=triangle), "y": heights, "yaxis": "y2"})
    return traces


def _summary(axis: _Axis, shown: Sequence[_Drawn], strip: Sequence[_Drawn]) -> str:
    def kind(name: str) -> list[_Drawn]:
        return sorted((network for network in shown if network.kind == name), key=lambda network: network.size)

    family, others = kind("EfficientNet"), kind("other")
    first, last = family[0], family[-1]
    text = (
        f"Scatter of published ImageNet top-1 against {axis.title}, on a logarithmic axis. EfficientNet goes from "
        f"{first.size / axis.unit:.3g}{axis.suffix} and {100 * (first.top1 or 0):.1f} % (B0) to "
        f"{last.size / axis.unit:.3g}{axis.suffix} and {100 * (last.top1 or 0):.1f} % (B7), above and to the left of "
        f"{len(others)} other networks."
    )
    for network in kind("compared"):
        text += (
            f" {network.name} is at {network.size / axis.unit:.3g}{axis.suffix} and {100 * (network.top1 or 0):.1f} %."
        )
    for network in strip:
        text += f" {network.name} is at {network.size / axis.unit:.3g}{axis.suffix}, without a comparable accuracy."
    return text


def _table(axis: _Axis, networks: Sequence[_Drawn]) -> Table:
    kinds = {"compared": "compared", "EfficientNet": "EfficientNet", "other": "published"}
    metric = axis.metric.replace("macs", "MACs")
    rows = tuple(
        (
            network.name,
            kinds[network.kind],
            "not comparable" if network.top1 is None else f"{100 * network.top1:.1f}",
            f"{network.size / axis.unit:.4g}{axis.suffix}",
        )
        for network in networks
    )
    columns = (Column("network"), Column("what it is"), Column("published top-1, %", True), Column(metric, True))
    return Table(f"Published top-1 and {metric} ({PUBLISHED_SOURCE})", columns, rows)
