"""Everything about a single network: specs with provenance, the registry, training, export. Uses `search_spaces`."""

from baselines.registry import load, names
from baselines.spec import BaselineSpec, Figure, Provenance, ScalingRecord, SearchRecord, read_spec, write_spec

__all__ = [
    "BaselineSpec",
    "Figure",
    "Provenance",
    "ScalingRecord",
    "SearchRecord",
    "load",
    "names",
    "read_spec",
    "write_spec",
]
