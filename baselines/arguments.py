"""Arguments of the Python front door are of the types that its annotations say.

Where the command line reads a list from a text, such as ``b0..b3`` or ``1:1.4:0.05``, these functions and dataclasses
take that text too, and read it in the same way.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from numbers import Integral, Real
from typing import Annotated, Any, ParamSpec, TypeVar

from search_spaces.errors import MnasError, unknown_name

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Numbers of numpy are numbers too.
_NUMBERS: dict[Any, type] = {int: Integral, float: Real}


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function refuse arguments of other types than its annotations name; of containers, the contents are free.

    A text for a list is read first, where the annotation has a function that reads it.

    Raises:
        MnasError: from the function, where such a text is no list.
        TypeError: from the function, in one line with the argument, what it may be, and what it was.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints, readers = typing.get_type_hints(function), _list_readers(function)
        given = inspect.signature(function).bind(*args, **kwargs)
        for name, value in given.arguments.items():
            if isinstance(value, str) and name in readers:
                given.arguments[name] = _read(name, value, readers[name])
                continue
            options = _options(hints.get(name, object))  # ``self`` has no annotation
            if not any(_permits(option, value) for option in options):
                expected = " or ".join(dict.fromkeys(map(_text, options)))
                raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
        return function(*given.args, **given.kwargs)

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


def freeze_lists(owner: object) -> None:
    """Make the lists among the fields of a frozen dataclass tuples; a text is read as the command line reads it.

    Raises:
        MnasError: a text is no such list.
        TypeError: a value is neither a text nor a list.
    """
    for name, read in _list_readers(type(owner)).items():
        value = getattr(owner, name)
        if isinstance(value, str):
            object.__setattr__(owner, name, _read(name, value, read))
        elif isinstance(value, Iterable):
            object.__setattr__(owner, name, tuple(value))
        elif value is not None:
            raise TypeError(f"{name}: expected a list or a text, got {type(value).__name__}")


def _read(name: str, text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text)
    except MnasError as error:
        raise MnasError(f"{name}: {error}") from None


def _list_readers(source: Callable[..., Any]) -> dict[str, Callable[[str], Any]]:
    """Functions that read a text as a list, by the names of the arguments or fields whose annotations have one."""
    found: dict[str, Callable[[str], Any]] = {}
    for name, hint in typing.get_type_hints(source, include_extras=True).items():
        for option in _options(hint):
            if option == tuple[str, ...]:  # on the command line, it is given once for each text
                found[name] = lambda text: (text,)
            elif typing.get_origin(option) is Annotated:
                kind, read = typing.get_args(option)
                if typing.get_origin(kind) in (tuple, Sequence):
                    found[name] = read
    return found


def _options(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def _permits(hint: Any, value: object) -> bool:
    origin = typing.get_origin(hint) or hint
    if origin in _NUMBERS:
        return isinstance(value, _NUMBERS[origin]) and not isinstance(value, bool)
    if origin is type:
        return isinstance(value, type) and issubclass(value, typing.get_args(hint))
    # A text is a sequence of texts, which is meant only where a function reads it.
    return isinstance(value, origin) and not (isinstance(value, str) and origin is not str)


def _text(hint: Any) -> str:
    if typing.get_origin(hint) is type:
        return f"a class of {typing.get_args(hint)[0].__name__}"
    return "None" if hint is types.NoneType else (typing.get_origin(hint) or hint).__name__
