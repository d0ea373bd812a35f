"""What can be built: architectures, their exact cost, their networks, and spaces of them.

Imports none of the other packages, and neither torch nor NNI until a network or NNI's choices are asked for.
"""

from search_spaces.architecture import Architecture, BlockShape, ConvBlock, ConvLayer, MBConv, Stage
from search_spaces.cost import Cost, LayerCost, architecture_cost, layer_costs, part_costs
from search_spaces.errors import FieldError, MnasError
from search_spaces.registry import SPACES, load_space
from search_spaces.serialization import architecture_from_dict, architecture_to_dict, digest
from search_spaces.space import Choice, Genotype, SearchSpace, StageChoices

__all__ = [
    "SPACES",
    "Architecture",
    "BlockShape",
    "Choice",
    "ConvBlock",
    "ConvLayer",
    "Cost",
    "FieldError",
    "Genotype",
    "LayerCost",
    "MBConv",
    "MnasError",
    "SearchSpace",
    "Stage",
    "StageChoices",
    "architecture_cost",
    "architecture_from_dict",
    "architecture_to_dict",
    "digest",
    "layer_costs",
    "load_space",
    "part_costs",
]
