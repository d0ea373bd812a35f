"""Everything about a single network: specs with provenance, the registry, training, export. Uses `search_spaces`.

`predict` and what it returns are imported when they are used, since they need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import search_spaces.lazily
from baselines.registry import load, names
from baselines.spec import BaselineSpec, Figure, Provenance, ScalingRecord, SearchRecord, read_spec, write_spec

if TYPE_CHECKING:
    from baselines.training.classify import Predictions, predict

__all__ = [
    "BaselineSpec",
    "Figure",
    "Predictions",
    "Provenance",
    "ScalingRecord",
    "SearchRecord",
    "load",
    "names",
    "predict",
    "read_spec",
    "write_spec",
]

__getattr__, _ = search_spaces.lazily.lazily(
    __name__, dict.fromkeys(("Predictions", "predict"), "baselines.training.classify")
)


def __dir__() -> list[str]:
    return sorted(__all__)
