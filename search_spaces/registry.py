"""The spaces by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from search_spaces.efficientnet import efficientnet_space
from search_spaces.errors import unknown_name
from search_spaces.mnasnet import mnasnet_b0_space, mnasnet_space
from search_spaces.space import SearchSpace

SPACES: dict[str, Callable[[], SearchSpace]] = {
    "efficientnet": efficientnet_space,
    "mnasnet": mnasnet_space,
    "mnasnet:b0": mnasnet_b0_space,
}


@cache
def load_space(name: str) -> SearchSpace:
    """The space of that name, made once. Raises `MnasError` for an unknown name, with the nearest one."""
    if name not in SPACES:
        raise unknown_name("space", name, SPACES)
    return SPACES[name]()
