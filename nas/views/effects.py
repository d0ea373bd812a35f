"""What each choice of a space is worth, estimated from the trials of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from baselines.text import signed, signed_millions
from baselines.views.page import Cell, Column, Table
from baselines.views.terminal import Table as TerminalTable
from search_spaces.space import Choice, Indices, Value

Floats = NDArray[np.float64]
# Effects are estimated from at least this many different networks; values seen in fewer than FEW are marked.
MIN_NETWORKS = 10
FEW = 5
# Number of choices that the terminal shows; the page shows all.
TOP_CHOICES = 8
_ITERATIONS = 30


@dataclass(frozen=True)
class Effect:
    """What one value of a choice is worth.

    Attributes:
        label, value: choice and its value.
        networks: number of different networks of the run that have the value.
        accuracy: difference in accuracy from the mean of the choice's values, each weighted by its networks; None for a
            value that no network has.
        std: standard error of that difference.
        macs: the same difference in MACs.
        found: whether the found network has the value.
    """

    label: str
    value: Value
    networks: int
    accuracy: float | None
    std: float | None
    macs: float | None
    found: bool

    @property
    def few(self) -> bool:
        """Whether too few networks have the value to rely on its estimate."""
        return self.networks < FEW


@dataclass(frozen=True)
class Effects:
    """All values of all choices.

    Attributes:
        networks: number of different networks behind the estimate.
        explained: share of the variance of their accuracies that the effects predict together, of networks left out.
        items: effects, in the order of the space.
    """

    networks: int
    explained: float
    items: tuple[Effect, ...]

    @property
    def labels(self) -> list[str]:
        """Labels of the choices, largest difference between highest and lowest estimate first."""

        def at_stake(label: str) -> float:
            known = [item.accuracy for item in self.items if item.label == label and item.accuracy is not None]
            return max(known) - min(known)

        return sorted(dict.fromkeys(item.label for item in self.items), key=at_stake, reverse=True)

    def of(self, label: str) -> list[Effect]:
        """The values of one choice."""
        return [item for item in self.items if item.label == label]


def estimate_effects(
    choices: Sequence[Choice], rows: Indices, accuracy: Floats, macs: Floats, found: Sequence[Value]
) -> Effects | None:
    """Main effects by ridge regression of accuracy on the values of all choices together.

    The penalty assumes that effects have the spread of the accuracies themselves: it keeps effects that the trials
    cannot tell apart from growing, and vanishes if a sum of effects explains everything. Standard errors are those of
    the posterior, so they include what the penalty adds.

    Args:
        choices: choices of the space.
        rows: indices into the values of the choices, a row for each different network: shape (networks, choices).
        accuracy, macs: figures of the networks, each of shape (networks,).
        found: values of the found network, one for each choice.

    Returns:
        The effects; None for fewer than `MIN_NETWORKS` networks, or if all are equally accurate.
    """
    if len(rows) < MIN_NETWORKS or not np.ptp(accuracy) > 0:
        return None
    counts = [np.bincount(rows[:, column], minlength=len(choice.values)) for column, choice in enumerate(choices)]
    design = np.concatenate([_centred(rows[:, column], count) for column, count in enumerate(counts)], axis=1)
    worth, covariance, explained = _ridge(design, accuracy)
    price, _, _ = _ridge(design, macs)
    items, start = [], 0
    for choice, count, own in zip(choices, counts, found, strict=True):
        contrasts = _contrasts(count)
        block = slice(start, start + len(count))
        effect, cost = contrasts @ worth[block], contrasts @ price[block]
        std = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", contrasts, covariance[block, block], contrasts), 0))
        for place, value in enumerate(choice.values):
            seen = int(count[place])
            known = [float(of[place]) if seen else None for of in (effect, std, cost)]
            items.append(Effect(choice.label, value, seen, known[0], known[1], known[2], value == own))
        start += len(count)
    return Effects(len(rows), explained, tuple(items))


def _centred(column: Indices, counts: NDArray[np.int64]) -> Floats:
    """One column for each value, 1 if a network has it, minus the column's mean."""
    indicators = (column[:, None] == np.arange(len(counts))).astype(np.float64)
    centred: Floats = indicators - indicators.mean(axis=0)
    return centred


def _contrasts(counts: NDArray[np.int64]) -> Floats:
    """Each value minus the mean of all values, weighted by their networks: shape (values, values)."""
    contrasts: Floats = np.eye(len(counts)) - counts / counts.sum()
    return contrasts


def _ridge(design: Floats, target: Floats) -> tuple[Floats, Floats, float]:
    """Weights of a centred design, their posterior covariance, and the share of the variance that they predict.

    The noise is that of the evidence framework (MacKay 1992, "Bayesian Interpolation"). The share is that of networks
    left out one by one: with more values than networks, a fit in the sample explains everything and says nothing.
    """
    centred = target - target.mean()
    values, vectors = np.linalg.eigh(design.T @ design)
    values = np.maximum(values, 0.0)
    projected = vectors.T @ (design.T @ centred)
    spread = float(centred.var())
    if np.ptp(target) == 0:
        return np.zeros(len(values)), np.zeros_like(vectors), 0.0
    noise = spread
    for _ in range(_ITERATIONS):
        penalty = max(noise / spread, 1e-9)
        weights = vectors @ (projected / (values + penalty))
        residuals = centred - design @ weights
        free = max(len(target) - 1 - float((values / (values + penalty)).sum()), 1e-9)
        noise = float(residuals @ residuals) / free
    # Where the design has no information, the prior remains: the spread of the accuracies.
    covariance = (vectors * (spread * penalty / (values + penalty))) @ vectors.T
    rotated = design @ vectors
    leverage = 1 / len(target) + (rotated**2 / (values + penalty)).sum(axis=1)
    left_out = residuals / np.maximum(1 - leverage, 1e-9)
    return weights, covariance, max(0.0, 1 - float((left_out**2).mean() / spread))


# --- output -----------------------------------------------------------------------------------------------------------


def effect_text(effect: Effect) -> str:
    """An effect in points of accuracy with its standard error: ``+0.31 ± 0.05``."""
    if effect.accuracy is None or effect.std is None:
        return "not tried"
    return f"{signed(100 * effect.accuracy)} ± {100 * effect.std:.2f}"


def effects_note(effects: Effects | None) -> str:
    """How the effects are estimated, or why they are not."""
    if effects is None:
        return f"Fewer than {MIN_NETWORKS} different networks succeeded, or all are equally accurate: too few to tell."
    return (
        f"Estimated from {effects.networks:,} different networks of this run by a linear model (ridge regression) of "
        "accuracy on all choices at once: a value's difference from the average of its choice among those networks, "
        f"all else being equal, with its standard error. The model explains {100 * effects.explained:.0f} % of the "
        "variance of networks left out of the fit. It holds for the region that the search sampled (mostly near its "
        f"target, if it has one), not for the whole space. Values seen in fewer than {FEW} networks are marked."
    )


def terminal_table(effects: Effects) -> TerminalTable:
    """The choices that matter most, each with its best and its worst value."""
    labels = effects.labels[:TOP_CHOICES]
    title = (
        f"What choices are worth, in points of accuracy: the {len(labels)} of {len(effects.labels)} that matter most"
    )
    columns = [("choice", "left"), ("found", "left"), ("best", "left"), ("worst", "left")]
    table = TerminalTable(title, columns)
    for label in labels:
        values = sorted(
            (item for item in effects.of(label) if item.accuracy is not None), key=lambda item: -(item.accuracy or 0)
        )
        own = next(item for item in effects.of(label) if item.found)
        table.add_row(
            label, str(own.value), *(f"{item.value}: {effect_text(item)}" for item in (values[0], values[-1]))
        )
    return table


def page_table(effects: Effects) -> Table:
    """Every value of every choice, the choices that matter most first."""
    rows = []
    for label in effects.labels:
        for item in effects.of(label):
            marks = ("found" if item.found else "", f"few ({item.networks})" if 0 < item.networks < FEW else "")
            rows.append(
                (
                    label,
                    str(item.value),
                    str(item.networks),
                    effect_text(item),
                    "" if item.macs is None else signed_millions(item.macs),
                    Cell("found") if item.found and not marks[1] else ", ".join(filter(None, marks)),
                )
            )
    columns = (
        Column("choice"),
        Column("value"),
        Column("networks", True),
        Column("accuracy, points", True),
        Column("MACs", True),
        Column("note"),
    )
    return Table("Worth of each value: difference from the average of its choice", columns, tuple(rows))
