"""Where the labels of a figure's points go, so that none is cut off, covers a mark or covers another label.

A figure is as wide as the screen lets it be, while letters and marks keep their size. So places are tried at the
narrowest, a middle and the widest width of a figure: every distance is linear in the width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from baselines.views.page import plot_text

# Advance widths of letters in ems, those of the widest of the common sans-serif fonts (DejaVu Sans, Verdana).
_NARROW, _WIDE = set("fijlrtI.,:;'|!()[]-/ "), set("mwMW@%")
_HALO = 1.0


class Box(NamedTuple):
    """A rectangle in pixels, y downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)


@dataclass(frozen=True)
class Point:
    """A mark that may have a label.

    Attributes:
        x: position along the axis, from 0 to 1.
        y: pixels below the top of the axes.
        text: label; empty for a mark without one.
        radius: radius of the mark, in pixels.
    """

    x: float
    y: float
    text: str = ""
    radius: float = 5.0


class Side(NamedTuple):
    """A place of a label beside its mark: anchors as plotly names them, and the shift in units of the offset."""

    xanchor: str
    yanchor: str
    dx: float
    dy: float


# In order of preference.
SIDES = (
    Side("left", "middle", 1, 0),
    Side("right", "middle", -1, 0),
    Side("left", "top", 0.7, 0.5),
    Side("right", "bottom", -0.7, -0.5),
    Side("right", "top", -0.7, 0.5),
    Side("left", "bottom", 0.7, -0.5),
    Side("center", "top", 0, 1),
    Side("center", "bottom", 0, -1),
)


@dataclass(frozen=True)
class Label:
    """A label in its place.

    Attributes:
        point: index of its mark among the given points.
        side: side of the mark.
    """

    point: int
    side: Side

    def annotation(self, point: Point, x: float, y: float, size: int, **options: Any) -> dict[str, Any]:
        """The label as an annotation of plotly; ``x`` and ``y`` are the position of the mark on the axes."""
        offset = point.radius + 3
        return {
            "text": plot_text(point.text),
            "x": x,
            "y": y,
            "xanchor": self.side.xanchor,
            "yanchor": self.side.yanchor,
            "xshift": offset * self.side.dx,
            "yshift": -offset * self.side.dy,
            "showarrow": False,
            "borderpad": 0,
            "font": {"size": size},
            **options,
        }


def text_width(text: str, size: float) -> float:
    """Width of a line in pixels, an estimate on the wide side."""
    ems = sum(
        0.38 if letter in _NARROW else 0.95 if letter in _WIDE else 0.72 if letter.isupper() else 0.63
        for letter in text
    )
    return size * ems


def label_box(point: Point, side: Side, width: float, size: float) -> Box:
    """The rectangle of a label on axes of the given width, in pixels."""
    across, high, offset = text_width(point.text, size), 1.3 * size, point.radius + 3
    x, y = point.x * width + offset * side.dx, point.y + offset * side.dy
    left = x - {"left": 0.0, "center": across / 2, "right": across}[side.xanchor]
    top = y - {"top": 0.0, "middle": high / 2, "bottom": high}[side.yanchor]
    return Box(left, top, left + across, top + high)


def mark_box(point: Point, width: float) -> Box:
    """The rectangle of a mark."""
    x, reach = point.x * width, point.radius + _HALO
    return Box(x - reach, point.y - reach, x + reach, point.y + reach)


def place_labels(
    points: Sequence[Point],
    widths: Sequence[float],
    height: float,
    size: float,
    line: Sequence[tuple[float, float]] = (),
    sides: Sequence[Side] = SIDES,
) -> list[Label]:
    """Places for labels, the first points first; labels without room are left out.

    Args:
        points: marks, the most important first.
        widths: widths of the axes at which a label must have room, in pixels.
        height: height of the axes, in pixels.
        size: size of the letters, in pixels.
        line: points (as x and y of `Point`) of a line that labels avoid if they can.
        sides: places of a label beside its mark, the best first.
    """
    strokes = [Point(x, y, radius=1) for x, y in _filled(line)]
    drawn = {width: [mark_box(stroke, width) for stroke in strokes] for width in widths}
    taken: dict[float, list[Box]] = {width: [] for width in widths}
    labels = []
    for index, point in enumerate(points):
        others = [other for other in points if other is not point]
        # A label across the line is better than none.
        for side, lines in ((side, lines) for lines in (drawn, {}) for side in sides if point.text):
            boxes = {width: label_box(point, side, width, size) for width in widths}
            if all(
                _is_free(box, width, height, [*taken[width], *(mark_box(other, width) for other in others)])
                and not any(box.overlaps(stroke) for stroke in lines.get(width, ()))
                for width, box in boxes.items()
            ):
                labels.append(Label(index, side))
                for width, box in boxes.items():
                    taken[width].append(box)
                break
    return labels


def _is_free(box: Box, width: float, height: float, others: Iterable[Box]) -> bool:
    inside = box.left >= 0 and box.right <= width and box.top >= 0 and box.bottom <= height
    return inside and not any(box.overlaps(other) for other in others)


def _filled(line: Sequence[tuple[float, float]], steps: int = 60) -> Iterable[tuple[float, float]]:
    """Points along a line, close enough that no label fits between two."""
    for (x0, y0), (x1, y1) in pairwise(line):
        for step in range(steps):
            yield x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
