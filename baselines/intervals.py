"""Confidence intervals."""

from __future__ import annotations

import math


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share that was seen in ``count`` draws (Wilson)."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - spread), min(1.0, centre + spread)
