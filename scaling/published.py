"""The coefficients of the released EfficientNets.

Source: tensorflow/tpu efficientnet_builder.py, unchanged since its first commit. They are *not* powers of the paper's
alpha, beta and gamma (`scaling.rule`): B1 has width 1.0 and depth 1.1, where the rule says 1.1 and 1.2 for phi = 1.
"""

from __future__ import annotations

from scaling.compound import Coefficients
from search_spaces.errors import unknown_name

PRESETS: dict[str, Coefficients] = {
    name: Coefficients(width, depth, resolution, dropout)
    for name, width, depth, resolution, dropout in (
        ("b0", 1.0, 1.0, 224, 0.2),
        ("b1", 1.0, 1.1, 240, 0.2),
        ("b2", 1.1, 1.2, 260, 0.3),
        ("b3", 1.2, 1.4, 300, 0.3),
        ("b4", 1.4, 1.8, 380, 0.4),
        ("b5", 1.6, 2.2, 456, 0.4),
        ("b6", 1.8, 2.6, 528, 0.5),
        ("b7", 2.0, 3.1, 600, 0.5),
    )
}


def preset(name: str) -> Coefficients:
    """Released coefficients by the name of their network, ``b0`` to ``b7``. Raises `MnasError` for another name."""
    if name.lower() not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name.lower()]
