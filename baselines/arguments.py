"""Arguments of the Python front door are of the types that its annotations say."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Numbers of numpy are numbers too.
_NUMBERS: dict[Any, type] = {int: Integral, float: Real}


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function refuse arguments of other types than its annotations name; of containers, the contents are free.

    Raises:
        TypeError: from the function, in one line with the argument, what it may be, and what it was.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = typing.get_type_hints(function)
        for name, value in inspect.signature(function).bind(*args, **kwargs).arguments.items():
            options = _options(hints.get(name, object))  # ``self`` has no annotation
            if not any(_permits(option, value) for option in options):
                expected = " or ".join(dict.fromkeys(map(_text, options)))
                raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
        return function(*args, **kwargs)

    return call


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def _permits(hint: Any, value: object) -> bool:
    origin = typing.get_origin(hint) or hint
    if origin in _NUMBERS:
        return isinstance(value, _NUMBERS[origin]) and not isinstance(value, bool)
    if origin is type:
        return isinstance(value, type) and issubclass(value, typing.get_args(hint))
    # A text is a sequence of texts, which is never meant.
    return isinstance(value, origin) and not (isinstance(value, str) and origin is not str)


def _text(hint: Any) -> str:
    if typing.get_origin(hint) is type:
        return f"a class of {typing.get_args(hint)[0].__name__}"
    return "None" if hint is types.NoneType else (typing.get_origin(hint) or hint).__name__
