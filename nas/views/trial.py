"""A trial as text: its outcome, and a table of its choices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from baselines.views.terminal import Table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas.trial import Trial


def text(trial: Trial) -> list[RenderableType]:
    """A row for each choice, below the outcome."""
    table = Table("Choices", [("choice", "left"), ("value", "right")])
    for label, value in trial.genotype.items():
        table.add_row(label, str(value))
    return [repr(trial), *([trial.failure.error] if trial.failure else []), "", table]
