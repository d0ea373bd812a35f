"""Published accuracy against parameters and multiply-adds, as Figure 1 of the EfficientNet paper, as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from baselines.comparators import PUBLISHED_POINTS, PUBLISHED_SOURCE, Mark
from baselines.files import write_new_text
from baselines.registry import load
from search_spaces.errors import MnasError

FAMILY = tuple(f"efficientnet_b{number}" for number in range(8))
_AXES = (("params", 1e6, "parameters in millions"), ("macs", 1e9, "multiply-adds in billions"))


def write_figure(marks: Sequence[Mark], file: Path) -> None:
    """Draw the published figures, and where on the axes some networks lie.

    A network's own accuracy is not drawn: what is predicted here is that of a shortened schedule, and does not belong
    on an axis with fully trained networks.

    Raises:
        MnasError: plotly is missing, or the file is there already or cannot be written.
    """
    try:
        from plotly.graph_objects import Scatter
        from plotly.subplots import make_subplots
    except ImportError:
        raise MnasError("html: plotly is not installed; pip install 'mnas[html]'") from None

    figure = make_subplots(cols=2, rows=1, shared_yaxes=True, horizontal_spacing=0.03)
    family = [{figure.metric: figure.value for figure in load(name).figures} for name in FAMILY]
    for column, (metric, unit, title) in enumerate(_AXES, start=1):
        points = [(getattr(point, metric), point) for point in PUBLISHED_POINTS if getattr(point, metric) is not None]
        traces: list[Any] = [
            Scatter(
                x=[member[metric] / unit for member in family],
                y=[100 * member["top1"] for member in family],
                text=[name.removeprefix("efficientnet_").upper() for name in FAMILY],
                mode="lines+markers+text",
                textposition="top left",
                name="EfficientNet",
                line={"color": "#c0392b", "width": 3},
                showlegend=column == 1,
            ),
            Scatter(
                x=[value / unit for value, _ in points],
                y=[100 * point.top1 for _, point in points],
                text=[point.name for _, point in points],
                mode="markers+text",
                textposition=[("bottom right", "middle right", "top right")[index % 3] for index in range(len(points))],
                textfont={"size": 10},
                name="others",
                marker={"color": "#34495e", "size": 8},
                showlegend=column == 1,
            ),
        ]
        for trace in traces:
            figure.add_trace(trace, row=1, col=column)
        for index, mark in enumerate(marks):
            x = getattr(mark, metric) / unit
            figure.add_vline(x=x, line={"dash": "dot", "color": "#7f8c8d"}, row=1, col=column)
            # Unlike lines, annotations take the logarithm on a logarithmic axis; low on the page, one below the other.
            place = {"x": math.log10(x), "y": 72.2 + 1.1 * (index % 3), "xanchor": "left", "showarrow": False}
            figure.add_annotation(text=mark.name, **place, row=1, col=column)
        figure.update_xaxes(type="log", title_text=title, row=1, col=column)
    figure.update_yaxes(range=(71.5, 85), row=1)
    figure.update_yaxes(title_text="published ImageNet top-1, %", row=1, col=1)
    source = (
        f"Published figures: {PUBLISHED_SOURCE}. Dotted: size of the compared networks, whose accuracy is not drawn."
    )
    figure.update_layout(title={"text": source, "font": {"size": 14}}, template="plotly_white", height=640)
    write_new_text(file, figure.to_html(include_plotlyjs=True, full_html=True), field="html")
