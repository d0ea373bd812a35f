"""A scaled network beside the one that it was scaled from, as text."""

from __future__ import annotations

from baselines.spec import BaselineSpec
from search_spaces import architecture_cost


def growth_text(parent: BaselineSpec, scaled: BaselineSpec) -> str:
    """How MACs and parameters grew."""
    before, after = architecture_cost(parent.architecture), architecture_cost(scaled.architecture)
    macs = f"MACs {before.macs:,} → {after.macs:,} (×{after.macs / before.macs:.2f})"
    return f"Growth: {macs}, params {before.params:,} → {after.params:,} (×{after.params / before.params:.2f})"
