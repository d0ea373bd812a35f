"""The evaluators by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from nas.evaluators.base import Evaluator
from nas.evaluators.imagenet_predictor import ImageNetPredictor
from search_spaces.errors import unknown_name

EVALUATORS: dict[str, Callable[[], Evaluator]] = {ImageNetPredictor.name: ImageNetPredictor}


@cache
def load_evaluator(name: str) -> Evaluator:
    """An evaluator by name, made once. Raises `MnasError` for an unknown name, with the nearest one."""
    if name not in EVALUATORS:
        raise unknown_name("evaluator", name, EVALUATORS)
    return EVALUATORS[name]()
