"""Arguments of the Python front door are of the types that its annotations say."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from search_spaces.errors import unknown_name

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

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


def made(kind: type[T], given: T | Mapping[str, Any] | None) -> T:
    """Return an object of a dataclass, from itself or from some of its fields. Raises `MnasError` for others."""
    if isinstance(given, kind):
        return given
    values = dict(given) if isinstance(given, Mapping) else {}
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise unknown_name("field", str(name), known)
    return kind(**values)


def fields_of(given: object) -> dict[str, Any]:
    """Return the fields of a dataclass, or those that a mapping gives; none for None."""
    if isinstance(given, Mapping):
        return dict(given)
    return {} if given is None else {field.name: getattr(given, field.name) for field in fields(given)}  # type: ignore[arg-type]


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
