"""The evaluators by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from nas.evaluators.base import Evaluator
from nas.evaluators.imagenet_predictor import ImageNetPredictor
from nas.evaluators.table import PREFIX, TableEvaluator
from search_spaces import MnasError, load_space
from search_spaces.errors import shorten
from search_spaces.plugins import load_plugin, made

TRAIN = "train:"
EVALUATORS: dict[str, Callable[[], Evaluator]] = {ImageNetPredictor.name: ImageNetPredictor}


@cache
def load_evaluator(name: str, space: str = "efficientnet") -> Evaluator:
    """An evaluator by name, made once.

    One of `EVALUATORS`, ``table:FILE``, ``train:DATA?…`` or a plug-in (`search_spaces.plugins`).

    Args:
        space: in whose choices a table is written.

    Raises:
        MnasError: the name is unknown (with the nearest one), the table has a fault, or the plug-in gives no evaluator.
    """
    if name in EVALUATORS:
        return EVALUATORS[name]()
    if name.startswith(TRAIN):
        from nas.evaluators.proxy_training import ProxyTraining, proxy_of

        return ProxyTraining(proxy_of(name))
    if name.startswith(PREFIX):
        return TableEvaluator(Path(name.removeprefix(PREFIX)), load_space(space))
    found = load_plugin("evaluator", name, (*EVALUATORS, f"{PREFIX}FILE", f"{TRAIN}DATA"))
    evaluator = made(found, "evaluator", name) if not isinstance(found, Evaluator) else found
    if not isinstance(evaluator, Evaluator):
        raise MnasError(f"evaluator: {name} gives a {type(evaluator).__name__}; it must be an Evaluator, or make one")
    for attribute in ("name", "meaning"):
        text = getattr(evaluator, attribute, None)
        if not isinstance(text, str) or not text.strip():
            raise MnasError(f"evaluator: {name}: its {attribute!r} is not a text; say what its accuracy means")
    if evaluator.kind not in ("predicted", "measured"):
        raise MnasError(f"evaluator: {name}: its 'kind' {shorten(evaluator.kind)} is neither predicted nor measured")
    return evaluator
