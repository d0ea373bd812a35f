"""What can be built: architectures, their exact cost, their networks, and search spaces.

Imports none of the other packages. Loads torch only to build a network, and NNI only for a space's NNI choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import search_spaces.lazily
from search_spaces.architecture import Architecture, BlockShape, ConvBlock, ConvLayer, MBConv, Stage
from search_spaces.cost import Cost, LayerCost, architecture_cost, layer_costs, part_costs
from search_spaces.errors import FieldError, MnasError
from search_spaces.serialization import architecture_from_dict, architecture_to_dict, digest

if TYPE_CHECKING:
    from search_spaces.choice_space import ChoiceSpace, Selection
    from search_spaces.registry import SPACES, load_space, load_stage_space
    from search_spaces.space import Choice, Genotype, Space
    from search_spaces.stage_space import StageChoice, StageChoices, StageSpace

# Spaces import numpy, which a network and its cost do without.
_HOMES = {
    **dict.fromkeys(("ChoiceSpace", "Selection"), "search_spaces.choice_space"),
    **dict.fromkeys(("SPACES", "load_space", "load_stage_space"), "search_spaces.registry"),
    **dict.fromkeys(("Choice", "Genotype", "Space"), "search_spaces.space"),
    **dict.fromkeys(("StageChoice", "StageChoices", "StageSpace"), "search_spaces.stage_space"),
}

__all__ = [
    "SPACES",
    "Architecture",
    "BlockShape",
    "Choice",
    "ChoiceSpace",
    "ConvBlock",
    "ConvLayer",
    "Cost",
    "FieldError",
    "Genotype",
    "LayerCost",
    "MBConv",
    "MnasError",
    "Selection",
    "Space",
    "Stage",
    "StageChoice",
    "StageChoices",
    "StageSpace",
    "architecture_cost",
    "architecture_from_dict",
    "architecture_to_dict",
    "digest",
    "layer_costs",
    "load_space",
    "load_stage_space",
    "part_costs",
]

__getattr__, _ = search_spaces.lazily.lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
