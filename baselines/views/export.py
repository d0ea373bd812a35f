"""A network that was exported, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.exchange.runtimes import CONVERTED, TOLERANCE
from baselines.text import command, points, signed
from baselines.views.terminal import labelled, pointer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from baselines.training.export import Exported, Measured

# An accuracy that is lost beyond this needs an answer.
LARGE_LOSS = 0.01


def text(found: Exported) -> list[RenderableType]:
    """Lines with what was exported, how exactly the file reproduces it, what that costs, and how to use it."""
    source, file, precision = found.source, found.file, found.options.precision
    allowed = CONVERTED.get(precision, TOLERANCE)
    within = f"within {found.difference:.1e} of the largest ({allowed:.0e} is allowed)"
    exactly = within if found.difference else "exactly"
    format_text = "" if precision == "fp32" else f" in {precision}"
    about = f"{source.name} with {source.weights}{format_text}; the file reproduces the network's logits {exactly}"
    measured = found.measured
    return [
        labelled("Exported:", about),
        *([_measured_text(measured)] if measured else []),
        *([_advice(found)] if measured and (measured.loss or 0) > LARGE_LOSS else []),
        *found.notes,
        pointer("Written:", str(file)),
        *([pointer("Next:", f"{command('predict', file)} --images …")] if found.signature else []),
    ]


def _measured_text(measured: Measured) -> RenderableType:
    where = f"of {measured.images:,} images ({measured.part} part of {measured.source})"
    agreement = f"the same class in {points(measured.agreement)}"
    if measured.before is None or measured.after is None:
        return labelled("Measured:", f"{agreement} {where}")
    change = f"{signed(100 * (measured.after - measured.before))} points"
    return labelled(
        "Accuracy:", f"{points(measured.before)} before, {points(measured.after)} after: {change}; {agreement} {where}"
    )


def _advice(found: Exported) -> str:
    """What may help where a precision costs much."""
    if found.options.precision != "int8":
        return f"{found.options.precision} costs much here; use --precision fp32."
    weights = "Weights are quantised for each channel on its own already."
    if found.source.bounded:
        return f"{weights} --calibrate with other images, or --precision fp16, may lose less."
    return (
        f"{weights} Networks without squeeze-excite and with a bounded activation lose less: train efficientnet_lite0, "
        "or this one with --activation relu6; or use --precision fp16."
    )
