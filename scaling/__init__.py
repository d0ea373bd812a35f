"""How to grow a network: named rules, budgets, compound scaling and the released coefficients.

Importing the package loads little; names are imported when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import search_spaces.lazily

if TYPE_CHECKING:
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
    from scaling.studies.folders import load_run, resume
    from scaling.studies.racing import RacingRule
    from scaling.studies.search_result import CoefficientSearch
    from search_spaces.architecture import round_filters

_HOMES = {
    "ALPHA": "scaling.rules",
    "Ablation": "scaling.studies.ablation",
    "AblationPlan": "scaling.studies.ablation",
    "BETA": "scaling.rules",
    "Budget": "scaling.budget",
    "CoefficientSearch": "scaling.studies.search_result",
    "CoefficientSpace": "scaling.coefficients",
    "Coefficients": "scaling.compound",
    "Explanation": "scaling.explanation",
    "Family": "scaling.families",
    "FamilyPlan": "scaling.studies.family_training",
    "GAMMA": "scaling.rules",
    "Grid": "scaling.studies.candidates",
    "PRESETS": "scaling.published",
    "RULES": "scaling.rules",
    "RacingRule": "scaling.studies.racing",
    "Rule": "scaling.rules",
    "Solution": "scaling.budget",
    "StudyOptions": "scaling.studies.baseline",
    "TrainedFamily": "scaling.studies.family_training",
    "ablate": "scaling.studies.ablation",
    "compound_scale": "scaling.compound",
    "explain": "scaling.explanation",
    "family": "scaling.families",
    "load_run": "scaling.studies.folders",
    "preset": "scaling.published",
    "resume": "scaling.studies.folders",
    "round_filters": "search_spaces.architecture",
    "round_repeats": "scaling.compound",
    "scale": "scaling.api",
    "search_coefficients": "scaling.studies.coefficient_search",
    "solve": "scaling.api",
    "train_family": "scaling.studies.family_training",
}

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
    "load_run",
    "preset",
    "resume",
    "round_filters",
    "round_repeats",
    "scale",
    "search_coefficients",
    "solve",
    "train_family",
]

__getattr__, __dir__ = search_spaces.lazily.lazily(__name__, _HOMES)
