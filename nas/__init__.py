"""How to find a network: searches, the evaluators that judge networks, and the controllers that choose them.

    >>> import nas
    >>> found = nas.search(target_macs=180e6)    # doctest: +SKIP
    >>> found.freeze("b180")                     # doctest: +SKIP

The functions do what the commands of the same names do, and take objects as well as names. Importing the package loads
neither torch nor NNI; they are loaded when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import search_spaces.lazily

if TYPE_CHECKING:
    from nas.api import SearchInterrupted, compare, load_run, resume, search
    from nas.controllers.base import Controller
    from nas.evaluators.base import Evaluator, Metrics
    from nas.evidence import Comparison
    from nas.executors.base import Execution
    from nas.found import Found
    from nas.objective import Objective
    from nas.trial import Trial

_HOMES = {
    "Comparison": "nas.evidence",
    "Controller": "nas.controllers.base",
    "Evaluator": "nas.evaluators.base",
    "Execution": "nas.executors.base",
    "Found": "nas.found",
    "Metrics": "nas.evaluators.base",
    "Objective": "nas.objective",
    "SearchInterrupted": "nas.api",
    "Trial": "nas.trial",
    "compare": "nas.api",
    "load_run": "nas.api",
    "resume": "nas.api",
    "search": "nas.api",
}

__all__ = [
    "Comparison",
    "Controller",
    "Evaluator",
    "Execution",
    "Found",
    "Metrics",
    "Objective",
    "SearchInterrupted",
    "Trial",
    "compare",
    "load_run",
    "resume",
    "search",
]

__getattr__, __dir__ = search_spaces.lazily.lazily(__name__, _HOMES)
