"""Recipes by name, from a TOML file and with changes: the one place where what a person writes becomes a `Recipe`.

A file has fields of `Recipe`. ``base`` names the packaged recipe (`DEFAULT` if it is absent) that the other fields are
taken from. ``own`` stands for the network's own value of dropout, drop-connect and batch norm's momentum.
"""

from __future__ import annotations

import os
import textwrap
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baselines.text import OWN, integer, number, numbers
from baselines.training.recipe import ARCHITECTURE_FIELDS, RECIPES, Recipe, load_recipe
from search_spaces.errors import FieldError, MnasError, shorten, unknown_name
from search_spaces.serialization import from_dict, read_text

DEFAULT = "cifar"
BASE = "base"
# Largest size of a recipe file in bytes.
MAX_BYTES = 100_000
COMMENT_WIDTH = 100


def chosen_recipe(name: str, changes: Sequence[str] = (), options: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of a name or of a TOML file, with changes.

    Args:
        name: name of a packaged recipe, or path of a file: it ends in .toml or has a folder.
        changes: texts of the form ``key=value``.
        options: values of fields that have options of their own; those that are None are ignored.

    Raises:
        MnasError: the name is unknown, the file cannot be read, or a field is unknown, given twice or breaks its rule.
    """
    values = {field: value for field, value in (options or {}).items() if value is not None}
    for text in changes:
        field, value = _change(text)
        if field in values:
            raise MnasError(f"set: {field} is given twice, by --set or by its own option; remove one")
        values[field] = value
    return _changed(read_recipe(Path(name)) if _is_file(name) else load_recipe(name), values)


def read_recipe(file: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        MnasError: the file cannot be read, or a field is unknown or breaks its rule; the message names file and field.
    """
    text = read_text(file, MAX_BYTES, "recipe").removeprefix("\ufeff")  # Windows' editors begin files with this mark
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise MnasError(f"{file}: not TOML ({shorten(str(error), 120)}); mnas recipes NAME prints an example") from None
    base = values.pop(BASE, DEFAULT)
    if not isinstance(base, str) or base not in RECIPES:
        raise MnasError(f"{file}: {BASE}: {unknown_name('recipe', base, RECIPES)}")
    try:
        return _changed(RECIPES[base], values)
    except FieldError as error:
        raise MnasError(f"{file}: {error}") from None


def changes_of(recipe: Recipe, base: str) -> tuple[str, ...]:
    """Changes with which `chosen_recipe` makes a recipe of a packaged one."""
    own, other = asdict(recipe), asdict(RECIPES[base])
    names = [name for name in own if own[name] != other[name]]
    if "epochs" in names and "warmup_epochs" not in names:
        names.append("warmup_epochs")  # which a change of the epochs alone may drop
    return tuple(f"{name}={value_text(own[name])}" for name in names)


def recipe_text(recipe: Recipe, comments: Mapping[str, str]) -> str:
    """A recipe as a TOML file with all fields, below their comments."""
    lines: list[str] = []
    comment = ""
    for name, value in asdict(recipe).items():
        if comments[name] != comment:
            comment = comments[name]
            lines += textwrap.wrap(comment, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"{name} = {_as_toml(value)}")
    return "\n".join(lines) + "\n"


def recipe_options(recipe: Recipe) -> tuple[str, ...]:
    """Words of a command that trains with a recipe: the packaged one with the fewest changes, and these."""
    base, changes = min(((name, changes_of(recipe, name)) for name in RECIPES), key=lambda pair: len(pair[1]))
    return ("--recipe", base, *(word for change in changes for word in ("--set", change)))


def is_packaged(name: str) -> bool:
    """Whether a recipe is known by its name alone, so that no file is read."""
    return name in RECIPES


def _is_file(name: str) -> bool:
    return not is_packaged(name) and (name.endswith(".toml") or os.sep in name)


def _changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with new values; as with `Recipe.shortened`, a warm-up that would fill the epochs is dropped."""
    values = {name: None if name in ARCHITECTURE_FIELDS and value == OWN else value for name, value in values.items()}
    epochs = values.get("epochs")
    if isinstance(epochs, int) and not isinstance(epochs, bool) and "warmup_epochs" not in values:
        recipe = recipe.shortened(epochs)
    return from_dict(Recipe, {**asdict(recipe), **values})


def _change(text: str) -> tuple[str, Any]:
    """The field and the value of a text ``key=value``."""
    name, equals, value = text.partition("=")
    name, hints = name.strip().replace("-", "_"), typing.get_type_hints(Recipe)
    if not equals:
        raise MnasError(f"set: {shorten(text)}: expected KEY=VALUE, such as mixup=0.2 (mnas recipes shows the keys)")
    if name not in hints:
        raise MnasError(f"set: {unknown_name('field of a recipe', name, hints)}")
    if name in ARCHITECTURE_FIELDS and value.strip() == OWN:
        return name, None
    try:
        return name, _READERS.get(hints[name], number)(value.strip())
    except MnasError as error:
        raise MnasError(f"set: {name}: {error}") from None


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise MnasError(f"{shorten(text)}: expected true or false")
    return text == "true"


_READERS: dict[Any, Callable[[str], Any]] = {
    int: integer,
    str: str,
    bool: _flag,
    tuple[float, ...]: lambda text: numbers(text.removeprefix("[").removesuffix("]")),
}


def value_text(value: Any) -> str:
    """A value of a recipe as `chosen_recipe` reads it."""
    return ",".join(map(repr, value)) if isinstance(value, tuple) else _as_toml(value).strip('"')


def _as_toml(value: Any) -> str:
    if value is None:
        return f'"{OWN}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(repr, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
