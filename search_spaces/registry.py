"""The spaces by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from search_spaces.efficientnet import efficientnet_space
from search_spaces.errors import MnasError
from search_spaces.mnasnet import mnasnet_b0_space, mnasnet_space
from search_spaces.plugins import load_plugin, made
from search_spaces.space import SearchSpace

SPACES: dict[str, Callable[[], SearchSpace]] = {
    "efficientnet": efficientnet_space,
    "mnasnet": mnasnet_space,
    "mnasnet:b0": mnasnet_b0_space,
}


@cache
def load_space(name: str) -> SearchSpace:
    """The space of that name, made once; a name may also be that of a plug-in (`search_spaces.plugins`).

    Raises:
        MnasError: the name is unknown (with the nearest one), or the plug-in gives no space.
    """
    if name in SPACES:
        return SPACES[name]()
    found = load_plugin("space", name, SPACES)
    space = made(found, "space", name)
    if not isinstance(space, SearchSpace):
        raise MnasError(f"space: {name} gives a {type(space).__name__}; it must be a SearchSpace, or make one")
    space.name = name
    return space
