"""The spaces by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from search_spaces.efficientnet import efficientnet_space
from search_spaces.errors import MnasError
from search_spaces.mnasnet import mnasnet_b0_space, mnasnet_space
from search_spaces.plugins import load_plugin, located, made, name_object, object_named
from search_spaces.space import Space
from search_spaces.stage_space import StageSpace

SPACES: dict[str, Callable[[], StageSpace]] = {
    "efficientnet": efficientnet_space,
    "mnasnet": mnasnet_space,
    "mnasnet:b0": mnasnet_b0_space,
}
# The name of the space that a table of measurements brings with it; see `nas.evaluators.table_space`.
TABLE = "table"


def load_space(name: str) -> Space:
    """The space of that name, created once; a name may also be that of a plug-in (`search_spaces.plugins`).

    Raises:
        MnasError: the name is unknown (with the nearest one), or the plug-in returns no space.
    """
    given = object_named("space", name)
    return given if isinstance(given, Space) else _load_space(name)


@cache
def _load_space(name: str) -> Space:
    if name in SPACES:
        return SPACES[name]()
    if name == TABLE:
        raise MnasError(
            f"space: {TABLE!r} is read from a table of measurements; "
            "use mnas search --space table --evaluator table:FILE"
        )
    found = load_plugin("space", name, (*SPACES, TABLE))
    space = made(found, "space", name)
    if not isinstance(space, Space):
        raise MnasError(f"space: {name} gives a {type(space).__name__}; it must be a Space, or return one")
    space.name = name
    return space


def name_of_space(given: str | Space) -> str:
    """The name under which `load_space` finds a space; a user's own is named as an object."""
    if isinstance(given, str):
        return located(given)
    if given.name in SPACES and load_space(given.name) is given:
        return given.name
    return name_object("space", given, given.name)


def load_stage_space(name: str) -> StageSpace:
    """The space of that name, which must have architectures.

    Raises:
        MnasError: as in `load_space`, or the space has no architectures.
    """
    return as_stage_space(load_space(name))


def as_stage_space(space: Space) -> StageSpace:
    """The space itself. Raises `MnasError` if it has no architectures."""
    if not isinstance(space, StageSpace):
        raise MnasError(f"space: {space.name!r} has choices and no architectures; use a space of stages instead")
    return space
