"""The evaluators by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import numpy as np

from nas.evaluators.base import Evaluator
from nas.evaluators.guard import GuardedEvaluator, is_foreign
from nas.evaluators.imagenet import ImageNetPredictor
from nas.evaluators.table import PREFIX, TableEvaluator
from search_spaces import SPACES, Architecture, FieldError, MnasError, Space, StageSpace, load_space
from search_spaces.errors import reason_of
from search_spaces.plugins import OBJECT, TRAIN_ON, load_plugin, located, made, name_object, object_named, portable
from search_spaces.registry import TABLE

TRAIN = TRAIN_ON
EVALUATORS: dict[str, Callable[[], Evaluator]] = {ImageNetPredictor.name: ImageNetPredictor}


def load_evaluator(name: str, space: str = "efficientnet") -> Evaluator:
    """An evaluator by name, made once.

    One of `EVALUATORS`, ``table:FILE``, ``train:DATA?…`` or a plug-in (`search_spaces.plugins`).

    Args:
        space: name of the space in whose choices a table is written; ``table`` for the table's own choices.

    Raises:
        MnasError: the name is unknown (with the nearest one), the table has a fault, or the plug-in gives no evaluator.
    """
    given = object_named("evaluator", name)
    return _guarded(given, name) if isinstance(given, Evaluator) else _load_evaluator(name, space, _state(name))


def _guarded(evaluator: Evaluator, name: str) -> Evaluator:
    """The evaluator, behind a guard if others wrote it. Raises `MnasError` if it does not say what it is."""
    ours = isinstance(evaluator, GuardedEvaluator) or not is_foreign(evaluator)
    return evaluator if ours else GuardedEvaluator(evaluator, name)


def _state(name: str) -> tuple[str, int, int] | None:
    """What a file's content may depend on: a table that was changed is read again."""
    if not name.startswith(PREFIX):
        return None
    file = Path(name.removeprefix(PREFIX))
    with suppress(OSError, ValueError):
        found = file.stat()
        return str(file.resolve()), found.st_mtime_ns, found.st_size
    return None


def evaluator_loader(name: str, space: str) -> Callable[[], Evaluator]:
    """A function that loads an evaluator by name in another process.

    Raises:
        MnasError: it was given as an object that cannot be sent to another process.
    """
    given = object_named("evaluator", name)
    if not isinstance(given, Evaluator):
        if space.startswith(OBJECT) and name.startswith(PREFIX):
            raise MnasError(
                f"space: trials cannot run in other processes: {name} needs the space, which was given as an object; "
                "put it into a file and use FILE.py:NAME, or remove workers and limits"
            )
        return partial(load_evaluator, name, space)
    kind, problem = type(given), None
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        problem = f"{kind.__qualname__} is defined where other processes cannot import it"
    else:
        try:
            pickle.dumps(given)
        except Exception as error:  # it may hold anything
            problem = f"{kind.__qualname__} cannot be sent to them ({reason_of(error)})"
    if problem:
        raise MnasError(
            f"evaluator: trials cannot run in other processes: {problem}; put it into a file and use FILE.py:NAME, or "
            "remove workers and limits"
        )
    return partial(_itself, given)


def _itself(evaluator: Evaluator) -> Evaluator:
    return _guarded(evaluator, type(evaluator).__qualname__)


def name_of_evaluator(given: str | Evaluator | type[Evaluator]) -> str:
    """The name under which `load_evaluator` finds an evaluator; a user's own is named as an object.

    Raises:
        TypeError: it is neither a name nor an evaluator.
    """
    if isinstance(given, str):
        return located(given)
    named = given.__qualname__ if isinstance(given, type) else type(given).__qualname__
    evaluator = made(given, "evaluator", named) if isinstance(given, type) else given
    if not isinstance(evaluator, Evaluator):
        raise TypeError(f"evaluator: expected a name or an Evaluator, got {type(given).__name__}")
    if isinstance(evaluator, GuardedEvaluator):
        evaluator = evaluator.inner
    if not is_foreign(evaluator):
        return evaluator.name
    _guarded(evaluator, named)  # raises if it does not say what it is
    return name_object("evaluator", evaluator, type(evaluator).__qualname__)


def check_judges(evaluator: Evaluator, space: Space) -> None:
    """Raise `MnasError` if an evaluator cannot judge the networks of a space; the message says which can."""
    problem = _problem(evaluator, space)
    if problem is None:
        return
    if not _has_architectures(space):
        raise problem
    others = [name for name in SPACES if name != space.name and _problem(evaluator, load_space(name)) is None]
    rule = f"judges networks of the space {' or '.join(others)} only, not of {portable(space.name)}"
    if not isinstance(space, StageSpace):  # which may scale networks of another space
        rule = f"{rule} ({problem})"
    if not others:
        rule = f"does not judge networks of the space {portable(space.name)} ({problem})"
    works = {TRAIN: "--evaluator train --data IMAGES", PREFIX: f"--evaluator {PREFIX}FILE"}
    advice = ", or ".join(option for prefix, option in works.items() if not evaluator.name.startswith(prefix))
    raise MnasError(f"evaluator: {evaluator.name} {rule}; use {advice}")


def _has_architectures(space: Space) -> bool:
    """Whether the networks of a space are architectures."""
    if isinstance(space, StageSpace):
        return True
    return isinstance(space.decode_indices(np.zeros((1, len(space.decisions)), dtype=np.int64))[0], Architecture)


def _problem(evaluator: Evaluator, space: Space) -> FieldError | None:
    """Why an evaluator cannot judge a network of a space, the first that it may know; None if it can."""
    known = evaluator.known_members(space)
    known = space.members if known is None else known
    first = np.zeros((1, len(space.decisions)), dtype=np.int64) if known is None else known[:1]
    try:
        evaluator.check(space.decode_indices(first)[0])
    except FieldError as error:
        return error
    except Exception as error:  # a user's code may fail in any way
        return FieldError("evaluator", f"{evaluator.name}: check failed ({reason_of(error)}); fix it")
    return None


def _no_table(evaluator: str) -> MnasError:
    return MnasError(
        f"evaluator: {evaluator} cannot be combined with the space {TABLE}, whose networks are the rows of a table; "
        f"use {PREFIX}FILE"
    )


@cache
def _load_evaluator(name: str, space: str, state: tuple[str, int, int] | None) -> Evaluator:
    if space == TABLE and not name.startswith(PREFIX):
        raise _no_table(name)
    if name in EVALUATORS:
        return _guarded(EVALUATORS[name](), name)
    if name.startswith(TRAIN):
        from nas.evaluators.proxy_training import ProxyTraining, proxy_of

        return ProxyTraining(proxy_of(name))
    if name.startswith(PREFIX):
        file = Path(name.removeprefix(PREFIX))
        return TableEvaluator(file, None if space == TABLE else load_space(space))
    found = load_plugin("evaluator", name, (*EVALUATORS, f"{PREFIX}FILE", f"{TRAIN}DATA"))
    evaluator = made(found, "evaluator", name) if not isinstance(found, Evaluator) else found
    if not isinstance(evaluator, Evaluator):
        raise MnasError(f"evaluator: {name} gives a {type(evaluator).__name__}; it must be an Evaluator, or return one")
    return _guarded(evaluator, name)


def space_of(space: str, evaluator: str) -> Space:
    """Return the space of a search by its two names; ``table`` is the space of the evaluator's table.

    Raises:
        MnasError: as in `load_evaluator` and `search_spaces.load_space`.
    """
    if space != TABLE:
        return load_space(space)
    found = load_evaluator(evaluator, space)
    if not isinstance(found, TableEvaluator):
        raise _no_table(found.name)
    return found.space
