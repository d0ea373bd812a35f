"""The coefficients of the released EfficientNets.

Source: tensorflow/tpu efficientnet_builder.py, unchanged since its first commit. They are *not* powers of the paper's
alpha, beta and gamma (`scaling.rules`): B1 has width 1.0 and depth 1.1, whereas the rule gives 1.1 and 1.2 for phi = 1.
"""

from __future__ import annotations

from scaling.compound import Coefficients
from search_spaces.errors import unknown_name

_LITE_KEEPS = ("stem", "head", "ends")

PRESETS: dict[str, Coefficients] = {
    name: Coefficients(width, depth, resolution, dropout, keep)
    for name, width, depth, resolution, dropout, keep in (
        ("b0", 1.0, 1.0, 224, 0.2, ()),
        ("b1", 1.0, 1.1, 240, 0.2, ()),
        ("b2", 1.1, 1.2, 260, 0.3, ()),
        ("b3", 1.2, 1.4, 300, 0.3, ()),
        ("b4", 1.4, 1.8, 380, 0.4, ()),
        ("b5", 1.6, 2.2, 456, 0.4, ()),
        ("b6", 1.8, 2.6, 528, 0.5, ()),
        ("b7", 2.0, 3.1, 600, 0.5, ()),
        ("b8", 2.2, 3.6, 672, 0.5, ()),
        ("l2", 4.3, 5.3, 800, 0.5, ()),
        # lite/efficientnet_lite_builder.py
        ("lite0", 1.0, 1.0, 224, 0.2, _LITE_KEEPS),
        ("lite1", 1.0, 1.1, 240, 0.2, _LITE_KEEPS),
        ("lite2", 1.1, 1.2, 260, 0.3, _LITE_KEEPS),
        ("lite3", 1.2, 1.4, 280, 0.3, _LITE_KEEPS),
        ("lite4", 1.4, 1.8, 300, 0.3, _LITE_KEEPS),
    )
}


def preset(name: str) -> Coefficients:
    """Return the released coefficients of a network, by name.

    Raises:
        MnasError: the name is not a key of `PRESETS`.
    """
    if name.lower() not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name.lower()]
