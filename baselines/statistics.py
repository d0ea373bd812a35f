"""Confidence intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion observed in ``count`` draws (Wilson)."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - spread), min(1.0, centre + spread)


def half_of_student(values: NDArray[np.float64]) -> float:
    """Half the width of the 95 % confidence interval of the mean of two or more values (Student's t)."""
    from scipy.stats import t

    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
