"""`mnas recipes`: the packaged recipes, and one of them as a file to edit."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from baselines.commands.options import add_json, documented
from baselines.training.recipe import RECIPES, Recipe
from baselines.training.recipe_files import chosen_recipe, recipe_text, value_text
from baselines.views.terminal import Table, pointer, print_json, show


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        "Show the recipes that come with the package. With a name, print one as a TOML file with all fields, to edit "
        "and to give to --recipe."
    )
    parser.add_argument("recipe", metavar="NAME", nargs="?", help=f"one of {', '.join(RECIPES)}, or a recipe file")
    add_json(parser)


def run(arguments: argparse.Namespace) -> None:
    """Show the recipes, or print one."""
    named = {arguments.recipe: chosen_recipe(arguments.recipe)} if arguments.recipe else RECIPES
    if arguments.json:
        print_json({"recipes": {name: asdict(recipe) for name, recipe in named.items()}})
    elif arguments.recipe:
        print(recipe_text(named[arguments.recipe], documented(Recipe)), end="")
    else:
        table = Table("Recipes", [("", "left"), *((name, "right") for name in RECIPES)])
        values = {name: asdict(recipe) for name, recipe in RECIPES.items()}
        for field in values[next(iter(values))]:
            table.add_row(field, *(_cell(own[field]) for own in values.values()))
        example = "mnas recipes cifar > mine.toml; mnas train SPEC --data IMAGES --recipe mine.toml"
        show(table, "own: the network's own value.", pointer("Edit one:", example))


def _cell(value: Any) -> str:
    return ", ".join(f"{part:.4g}" for part in value) if isinstance(value, tuple) else value_text(value)
