"""How to grow a network: named rules, budgets, compound scaling and the released coefficients."""

from scaling.api import scale, solve
from scaling.budget import Budget, Solution
from scaling.coefficients import CoefficientSpace
from scaling.compound import Coefficients, compound_scale, round_repeats
from scaling.explanation import Explanation, explain
from scaling.families import Family, family
from scaling.published import PRESETS, preset
from scaling.rules import ALPHA, BETA, GAMMA, RULES, Rule
from scaling.studies.ablation import Ablation, AblationPlan, ablate
from scaling.studies.baseline import StudyOptions
from scaling.studies.candidates import Grid
from scaling.studies.coefficient_search import search_coefficients
from scaling.studies.family_training import FamilyPlan, TrainedFamily, train_family
from scaling.studies.racing import RacingRule
from scaling.studies.search_result import CoefficientSearch
from search_spaces.architecture import round_filters

__all__ = [
    "ALPHA",
    "BETA",
    "GAMMA",
    "PRESETS",
    "RULES",
    "Ablation",
    "AblationPlan",
    "Budget",
    "CoefficientSearch",
    "CoefficientSpace",
    "Coefficients",
    "Explanation",
    "Family",
    "FamilyPlan",
    "Grid",
    "RacingRule",
    "Rule",
    "Solution",
    "StudyOptions",
    "TrainedFamily",
    "ablate",
    "compound_scale",
    "explain",
    "family",
    "preset",
    "round_filters",
    "round_repeats",
    "scale",
    "search_coefficients",
    "solve",
    "train_family",
]
