from __future__ import annotations

import numpy as np
import pytest

from baselines.views.labels import Point, place_labels, text_width

SIZE, HEIGHT = 12, 300.0


def boxes(points: list[Point], width: float) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each label, computed from what plotly is given."""
    found = []
    for label in place_labels(points, (250.0, 400.0, 900.0), HEIGHT, SIZE):
        point = points[label.point]
        drawn = label.annotation(point, point.x, point.y, SIZE)
        x, y = point.x * width + drawn["xshift"], point.y - drawn["yshift"]
        across, high = text_width(point.text, SIZE), 1.2 * SIZE
        left = x - across * {"left": 0, "center": 0.5, "right": 1}[drawn["xanchor"]]
        top = y - high * {"top": 0, "middle": 0.5, "bottom": 1}[drawn["yanchor"]]
        found.append((left, top, left + across, top + high))
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("width", [250, 400, 900])
def test_labels_keep_apart_and_inside(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    points = [
        Point(float(x), HEIGHT * float(y), f"network {place}") for place, (x, y) in enumerate(rng.random((25, 2)))
    ]
    found = boxes(points, width)
    assert len(found) >= 5
    for place, (left, top, right, bottom) in enumerate(found):
        assert left >= 0
        assert right <= width
        assert top >= 0
        assert bottom <= HEIGHT
        for other in found[:place]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_the_first_is_placed_first_and_beside_its_mark() -> None:
    points = [Point(0.5, 150, "first"), Point(0.5, 150, "second"), Point(0.5, 150, "")]
    labels = place_labels(points, (400.0,), HEIGHT, SIZE)
    assert [label.point for label in labels] == [0, 1]
    assert labels[0].side.xanchor == "left"
    assert labels[1].side.xanchor == "right"


def test_a_label_crosses_a_line_rather_than_be_missing() -> None:
    point = [Point(0.5, 150, "label")]
    (beside,) = place_labels(point, (400.0,), HEIGHT, SIZE, [(0.5, 150), (1.0, 150)])
    assert beside.side.xanchor == "right"
    everywhere = [(x / 20, y) for x in range(21) for y in (0, 300)]
    assert len(place_labels(point, (400.0,), HEIGHT, SIZE, everywhere)) == 1


def test_widths_of_texts_are_not_too_narrow() -> None:
    # DejaVu Sans, the widest of the common fonts, in ems: "Inception-ResNet-v2" is 10.77, "B0" 1.32
    assert text_width("Inception-ResNet-v2", 1) >= 10.77 * 0.95
    assert text_width("B0", 1) >= 1.32 * 0.95
