"""How to grow a network: rounding rules, compound scaling, the released coefficients and the paper's rule."""

from scaling.api import scale
from scaling.compound import Coefficients, compound_scale, round_repeats
from scaling.published import PRESETS, preset
from scaling.rules import ALPHA, BETA, GAMMA, coefficients
from search_spaces.architecture import round_filters

__all__ = [
    "ALPHA",
    "BETA",
    "GAMMA",
    "PRESETS",
    "Coefficients",
    "coefficients",
    "compound_scale",
    "preset",
    "round_filters",
    "round_repeats",
    "scale",
]
