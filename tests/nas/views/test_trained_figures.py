"""Figures of trainings: their axes."""

from __future__ import annotations

from typing import Any

import pytest

from nas.views.trained_figures import Trained, cost_figure, curve_figure, interval_figure


def trained(**values: Any) -> Trained:
    return Trained(**{"name": "net", "label": "net", "accuracies": (0.5,), "costs": {"MACs": 1e6}, **values})


@pytest.mark.parametrize("accuracy", [0.0, 0.02, 0.5, 0.99, 1.0])
def test_accuracies_end_at_0_and_100_per_cent(accuracy: float) -> None:
    wide = trained(name="other", label="other", accuracies=(0.1, 0.9), costs={"MACs": 2e6})
    nets = [trained(accuracies=(accuracy,)), wide]
    assert cost_figure(nets, "MACs").layout["yaxis"]["range"] == [0, 100]
    low, high = cost_figure(nets[:1], "MACs").layout["yaxis"]["range"]
    assert 0 <= low <= 100 * accuracy <= high <= 100
    assert interval_figure(nets[:1], "a").layout["xaxis"]["range"] == [low, high]


@pytest.mark.parametrize(("last", "step"), [(2, 1), (3, 1), (10, 1), (15, 2), (100, 10)])
def test_epochs_are_whole(last: int, step: int) -> None:
    curve = tuple((epoch, 0.5) for epoch in range(1, last + 1))
    axis = curve_figure([trained(curve=curve)]).layout["xaxis"]
    assert (axis["tick0"], axis["dtick"]) == (1, step)


def test_an_interval_of_the_mean() -> None:
    """Student's t for 95 % and two degrees of freedom is 4.303, so that half is 4.303 · 1 / √3 = 2.48 points."""
    three = trained(accuracies=(0.39, 0.40, 0.41))
    assert three.interval == "[37.52, 42.48]"
    for figure in (interval_figure([three], "a"), cost_figure([three], "MACs")):
        assert figure.table is not None
        assert figure.table.rows[0][-1] == "[37.52, 42.48]"
    assert trained(accuracies=(0.99, 1.0, 0.99)).interval.endswith(", 100.00]")
    assert trained(accuracies=(0.2, 0.2)).interval == "[20.00, 20.00]"
    assert trained(accuracies=(0.2,)).interval == "–"
