"""Scaled networks as specs, with their parents and coefficients in their provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baselines.spec import BaselineSpec, Figure, Provenance, ScalingRecord
from scaling.compound import Coefficients, compound_scale


def scaled_spec(
    parent: BaselineSpec,
    chosen: Coefficients,
    *,
    name: str,
    way: str,
    source: str,
    activation: str | None = None,
    figures: Sequence[Figure] = (),
) -> BaselineSpec:
    """Return a network scaled by coefficients as a spec.

    Args:
        parent: network to scale.
        chosen: coefficients.
        name: name of the new spec.
        way: the way of scaling in words.
        source: where the new network comes from.
        activation: activation function of the new network; the parent's own by default.
        figures: figures that were published for the new network; the parent's are not copied.

    Raises:
        FieldError: the result breaks a rule of architectures.
    """
    base = parent.architecture
    base = replace(base, activation=base.activation if activation is None else activation)
    record = ScalingRecord(parent.name, parent.digest, way, chosen.width, chosen.depth, chosen.resolution)
    return BaselineSpec(name, compound_scale(base, chosen), Provenance(source, scaling=record), tuple(figures))
