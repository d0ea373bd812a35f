"""The name of a run's evaluator, and the meaning of its accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.evaluators.proxy_training import ProxyTraining, proxy_of
from nas.evaluators.registry import EVALUATORS
from nas.evaluators.table import PREFIX
from search_spaces import MnasError
from search_spaces.errors import one_line
from search_spaces.plugins import OBJECT


def evaluator_name(settings: Mapping[str, Any] | None) -> str:
    """The evaluator that a run's settings name, on one line."""
    return one_line(str((settings or {}).get("evaluator", "")))


def evaluator_label(name: str, limit: int) -> str:
    """An evaluator's name for a person, in at most ``limit`` characters."""
    return one_line(name.removeprefix(OBJECT), limit)


def meaning_of(evaluator: str) -> str:
    """The meaning of an evaluator's accuracy, without loading a plug-in."""
    if evaluator.startswith(OBJECT):
        return "defined by a Python object, which is known only where the search was started"
    if evaluator in EVALUATORS:
        return EVALUATORS[evaluator]().meaning
    if evaluator.startswith(PREFIX):
        return f"top-1 as given in the table {Path(evaluator.removeprefix(PREFIX)).name}"
    with suppress(MnasError):
        return ProxyTraining(proxy_of(evaluator)).meaning
    return "defined by the plug-in, which is not loaded here"
